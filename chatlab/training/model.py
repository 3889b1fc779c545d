"""A base model with a LoRA adapter on it: forward, gradient, optimizer step, reset, save.

`peft` decides where the low-rank pairs sit, and how they are scaled, saved and loaded; all of them are views of one
vector, `LoraModel.flat`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from accelerate import Accelerator
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora import Linear as LoraLayer
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from chatlab.errors import BaseRefused, TrainingError
from chatlab.models.network import load_network
from chatlab.records import TrainSettings
from chatlab.system.files import private_folder
from chatlab.system.malloc import return_freed
from chatlab.training.fast import attention
from chatlab.training.fast.decoder import FastDecoder, supports
from chatlab.training.fast.lora_linear import ADAPTER, lora_pair
from chatlab.training.fast.threads import Workers
from chatlab.training.forward import Forward, PeftForward
from chatlab.training.packing import Batch
from chatlab.training.self_check import CHECKED_TO, SelfCheck, ordinary

WEIGHTS = "adapter_model.safetensors"


class LoraModel:
    """Owns the model, the one vector of trainable parameters, and the optimizer over it.

    `accelerator` says where it computes and sums gradients over processes, once a step and as one vector; wrapping the
    model for it would cost every forward pass something and give nothing more.
    """

    def __init__(
        self,
        base: Path,
        settings: TrainSettings,
        accelerator: Accelerator,
        bf16: bool,
        *,
        workers: int = 1,
        fast: bool = True,
        sample: Sequence[int] = (),
    ) -> None:
        """`workers` micro-batches are computed at once. Without `fast` even a Llama goes through transformers."""
        attention.register()
        self.folder, self.accelerator = base, accelerator
        self.workers = Workers(workers)
        self.lora_shape, self.layers = lora_shape(settings), settings.layers
        self._dtype = torch.bfloat16 if bf16 else torch.float32
        self._load(settings)
        check = SelfCheck(self, sample or ordinary(len(self.head)))
        if fast and supports(self.causal):
            self.forward: Forward = FastDecoder(self.causal, self.flat, self._dtype)
            self.reset(settings)
            if check.passes(CHECKED_TO[bf16]):
                return_freed()
                return
            self._load(settings)  # the written-out layers have taken the matrices
        self.forward = PeftForward(self.causal, self.peft, self._dtype)
        self.reset(settings)
        if not check.passes(CHECKED_TO[bf16]):
            raise BaseRefused("This base model computes in a way that cannot be trained here.", "Choose another.")

    def _load(self, settings: TrainSettings) -> None:
        causal: Any = load_network(self.folder, torch.float32, attention.NAME)
        causal = causal.to(self.accelerator.device)
        scale, head = _logit_scale(causal.config), causal.get_output_embeddings().weight.detach()
        self.head = (head if scale == 1 else head * scale).to(self._dtype)  # as a rule the embedding itself, no copy
        self.causal = causal
        self.peft = attach_lora(causal, settings)
        self.peft.train(settings.dropout > 0)
        self.flat = flatten(self.peft)

    def reset(self, settings: TrainSettings) -> None:
        """As before the first step: a fresh adapter that changes nothing yet, an optimizer without state."""
        reset_lora(self.peft, settings.seed)
        self.optimizer = torch.optim.AdamW(
            [self.flat],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            eps=settings.adam_epsilon,
            fused=True,
        )
        assert self.flat.grad is not None
        self.flat.grad.zero_()
        self.sync_weights()

    def sync_weights(self) -> None:
        """To be called whenever `flat` has been written to."""
        self.forward.sync_weights()

    def hidden(self, batch: Batch) -> Tensor:
        """Hidden states of the last layer, (N, H)."""
        device = self.accelerator.device
        return self.forward.hidden(batch._replace(ids=batch.ids.to(device), positions=batch.positions.to(device)))

    def prepare(self, batches: Sequence[Batch]) -> None:
        """Compute ahead what does not depend on the adapter, where such things are kept."""
        list(self.workers.map(self.forward.prepare, batches))

    def backward(self, loss: Tensor) -> Tensor:
        """The gradient of `loss` by `flat`, for `accumulate`. Several threads may call this at once."""
        parameters = self.forward.parameters
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        own = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
        return own[0].flatten() if len(own) == 1 else torch.cat([grad.flatten() for grad in own])

    def accumulate(self, grad: Tensor) -> None:
        """Add to the gradient that the next `step` follows."""
        assert self.flat.grad is not None
        self.flat.grad.add_(grad)

    def step(self, lr: float, max_grad_norm: float) -> None:
        """One optimizer step on the gradients accumulated so far, by all processes; they are zero afterwards."""
        grad = self.flat.grad
        assert grad is not None
        if self.accelerator.num_processes > 1:
            grad.copy_(self.accelerator.reduce(grad, "sum"))
        if max_grad_norm > 0:
            grad.mul_((max_grad_norm / (grad.norm() + 1e-6)).clamp_max(1.0))
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.step()
        grad.zero_()
        self.sync_weights()

    def state_dict(self) -> dict[str, Tensor]:
        """All that a later step depends on, but for the settings and its number."""
        state = self.optimizer.state[self.flat]
        return {"weights": self.flat.data, **{k: state[k] for k in ("exp_avg", "exp_avg_sq", "step")}}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Back to where `state` was taken."""
        self.flat.data.copy_(state["weights"])
        self.sync_weights()
        self.optimizer.state[self.flat] = {k: v.clone() for k, v in state.items() if k != "weights"}

    def load(self, folder: Path) -> None:
        """Go on from the adapter in a PEFT folder, whose scale is this one's; matrices and ranks that it lacks are as
        before the first step. Raises TrainingError for one that has no place here.
        """
        found = safetensors.torch.load((folder / WEIGHTS).read_bytes())
        own = get_peft_model_state_dict(self.peft, save_embedding_layers=False)
        if any(
            n not in own or any(x > y for x, y in zip(t.shape, own[n].shape, strict=True)) for n, t in found.items()
        ):
            raise TrainingError(
                "The live adapter has other layers or another rank than adapters made here.",
                "Retrain on all demonstrations instead.",
            )
        for name, tensor in found.items():  # views of `flat`
            own[name][: len(tensor), : tensor.shape[1]].copy_(tensor)
        self.sync_weights()

    def adapter_disabled(self) -> AbstractContextManager[None]:
        """Base model, computed by the very operations that the adapter will be."""
        return self.with_weights(torch.zeros_like(self.flat))

    @contextmanager
    def with_weights(self, weights: Tensor) -> Iterator[None]:
        """Another adapter of this shape, its vector as `flat` is."""
        kept = self.flat.data.clone()
        self.flat.data.copy_(weights)
        self.sync_weights()
        try:
            yield
        finally:
            self.flat.data.copy_(kept)
            self.sync_weights()

    def merged(self) -> AbstractContextManager[None]:
        """Within it, each adapted matrix may be computed as one. For evaluation only."""
        return self.forward.merged()

    def save(self, folder: Path, base_name: str) -> str:
        """Write a PEFT folder; the sha256 of its weights."""
        private_folder(folder)
        own = get_peft_model_state_dict(self.peft, save_embedding_layers=False)
        tensors = {name: tensor.detach().cpu().clone() for name, tensor in own.items()}
        data = safetensors.torch.save(tensors, metadata={"format": "pt"})
        config = self.peft.peft_config[ADAPTER]
        config.base_model_name_or_path, config.inference_mode = base_name, True
        config.save_pretrained(str(folder))
        (folder / WEIGHTS).write_bytes(data)
        return hashlib.sha256(data).hexdigest()


def attach_lora(model: nn.Module, settings: TrainSettings) -> PeftModel:
    """`model` with a low-rank pair on every linear layer but the output head, or on those of the uppermost layers."""
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        task_type="CAUSAL_LM",
        **_targets(model, settings.layers),
    )
    return get_peft_model(model, config, autocast_adapter_dtype=True)


def _targets(model: Any, share: float) -> dict[str, Any]:
    """Arguments of LoraConfig that choose the matrices: all, or those in the uppermost `share` of the layers."""
    count = model.config.get_text_config().num_hidden_layers
    first = count - max(1, round(share * count))
    if first <= 0:
        return {"target_modules": "all-linear"}
    inner = model.base_model.named_modules()
    names = {name.rpartition(".")[2] for name, module in inner if isinstance(module, (nn.Linear, Conv1D))}
    return {"target_modules": sorted(names), "layers_to_transform": list(range(first, count))}


def lora_layers(model: nn.Module) -> Iterator[LoraLayer]:
    """The adapted linear layers, always in the same order."""
    return (module for module in model.modules() if isinstance(module, LoraLayer))


def reset_lora(model: nn.Module, seed: int) -> None:
    """As before any training: A as peft initialises it (Kaiming uniform, a = sqrt 5), B zero."""
    generator = torch.Generator().manual_seed(seed)
    for layer in lora_layers(model):
        a, b = lora_pair(layer)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)
        nn.init.zeros_(b)


def flatten(model: nn.Module) -> nn.Parameter:
    """One vector that all trainable parameters of `model` are views of, with a gradient to add to.

    A norm, an optimizer step or a checkpoint is then one operation in place of one for each of many small matrices.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    flat = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
    flat.grad = torch.zeros_like(flat)
    start = 0
    for parameter in parameters:
        end = start + parameter.numel()
        parameter.data = flat.data[start:end].view_as(parameter)
        start = end
    return flat


def lora_shape(settings: TrainSettings) -> tuple[float, ...]:
    """What peft has to be set up anew for; `LoraModel.reset` resets everything else."""
    return settings.rank, settings.alpha, settings.dropout, settings.layers


def _logit_scale(config: Any) -> float:
    """By what a network multiplies its logits: Granite divides by `logits_scaling`, Cohere has `logit_scale`."""
    if divided := getattr(config, "logits_scaling", None):
        return 1 / float(divided)
    return float(getattr(config, "logit_scale", None) or 1.0)

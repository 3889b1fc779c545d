"""A base with an adapter on it that can be read with, nudged, put back to its start, and saved."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import safetensors.torch
import torch
from accelerate import Accelerator
from peft import get_peft_model_state_dict
from torch import Tensor
from transformers import AutoModelForCausalLM

from chatlab.errors import BaseRefused
from chatlab.records import TrainSettings
from chatlab.training import attention, lora
from chatlab.training.batches import Batch, Row, collate
from chatlab.training.hands import Hands
from chatlab.training.llama import Llama, fits
from chatlab.training.loss import logits_of
from chatlab.training.stack import NAME

WEIGHTS = "adapter_model.safetensors"


class Learner:
    """Owns the model, the one vector of trainable numbers, and the optimizer over it.

    `accelerate` says where it computes and sums gradients over processes, once a step and as one vector; wrapping the
    model for it would cost every forward pass something and give nothing more.
    """

    def __init__(
        self, base: Path, settings: TrainSettings, accelerator: Accelerator, bf16: bool, *, hands: int = 1,
        written_out: bool = True,
    ) -> None:  # fmt: skip
        attention.offer()
        self.accelerator = accelerator
        self.hands = Hands(hands)
        self.shape = shape_of(settings)
        causal = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation=attention.NAME)
        causal.to(accelerator.device)
        dtype = torch.bfloat16 if bf16 else torch.float32
        self.head = causal.get_output_embeddings().weight.detach().to(dtype)
        self.causal = causal
        self.model = lora.attach(causal, settings)
        self.model.train(settings.dropout > 0)
        self.decoder = causal.base_model
        self._parts = [p for p in self.model.parameters() if p.requires_grad]
        self.flat = lora.flatten(self.model)
        self.llama = Llama(causal, self.flat, dtype) if written_out and fits(causal) else None
        self.stacks = [] if self.llama else lora.quicken(self.model, dtype)
        self.begin(settings)
        self._check()

    def begin(self, settings: TrainSettings) -> None:
        """As before the first step: a fresh adapter that changes nothing yet, an optimizer without memory."""
        lora.reset(self.model, settings.seed)
        self.optimizer = torch.optim.AdamW(
            [self.flat], lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        assert self.flat.grad is not None
        self.flat.grad.zero_()
        self.refresh()

    def refresh(self) -> None:
        """To be called whenever `flat` has been written to."""
        for part in [self.llama] if self.llama else self.stacks:
            part.refresh()

    def hidden(self, batch: Batch) -> Tensor:
        """What the last layer makes of each place, (N, H)."""
        device = self.accelerator.device
        if self.llama:
            return self.llama.hidden(Batch(batch.ids.to(device), batch.positions.to(device), *batch[2:]))
        result: Tensor = self.decoder(
            input_ids=batch.ids[None].to(device), position_ids=batch.positions[None].to(device), use_cache=False,
            blocks=batch.blocks, dtype=self.head.dtype,
        ).last_hidden_state[0]  # fmt: skip
        return result

    def gradient(self, loss: Tensor) -> Tensor:
        """Of `loss`, by the numbers in `flat`; for `add`. Several threads may ask at once."""
        parts = [self.flat] if self.llama else self._parts
        found = torch.autograd.grad(loss, parts, allow_unused=True)
        own = (torch.zeros_like(p) if g is None else g for p, g in zip(parts, found, strict=True))
        return torch.cat([grad.flatten() for grad in own])

    def add(self, grad: Tensor) -> None:
        """To the gradient that the next `update` follows."""
        assert self.flat.grad is not None
        self.flat.grad.add_(grad)

    def update(self, rate: float, clip: float) -> None:
        """One optimizer step on the gradients gathered so far, by all processes; they are zero afterwards."""
        grad = self.flat.grad
        assert grad is not None
        if self.accelerator.num_processes > 1:
            grad.copy_(self.accelerator.reduce(grad, "sum"))
        if clip > 0:
            grad.mul_((clip / (grad.norm() + 1e-6)).clamp_max(1.0))
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        grad.zero_()
        self.refresh()

    def state(self) -> dict[str, Tensor]:
        """All that a later step depends on, but for the settings and its number."""
        memory = self.optimizer.state[self.flat]
        return {"weights": self.flat.data, **{k: memory[k] for k in ("exp_avg", "exp_avg_sq", "step")}}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Back to where `state` was taken."""
        self.flat.data.copy_(state["weights"])
        self.refresh()
        self.optimizer.state[self.flat] = {k: v.clone() for k, v in state.items() if k != "weights"}

    @torch.no_grad()
    def _check(self) -> None:
        """Two short texts in one line have to give the logits that transformers gives each alone.

        Raises BaseRefused for a network whose attention or output does more than is done here (windows, soft caps).
        """
        rows = [Row(demonstration=0, ids=tuple(range(3, 3 + n)), labels=()) for n in (12, 7)]
        with self.asleep():
            mine = logits_of(self.hidden(collate(rows)), self.head)
            theirs = [self._alone(row) for row in rows]
        for own, other in zip((mine[:12], mine[12:19]), theirs, strict=True):
            if (own - other).abs().mean() > 0.02 * other.std():
                raise BaseRefused("This base model computes in a way that cannot be trained here.", "Choose another.")

    def _alone(self, row: Row) -> Tensor:
        """Logits of one text, as transformers computes them."""
        self.causal.set_attn_implementation("eager")
        try:
            ids = torch.tensor([row.ids], device=self.accelerator.device)
            logits: Tensor = self.causal(input_ids=ids, use_cache=False).logits[0].float()
            return logits
        finally:
            self.causal.set_attn_implementation(attention.NAME)

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """The base alone, computed on the very path that the adapter will be."""
        kept = self.flat.data.clone()
        self.flat.data.zero_()
        self.refresh()
        try:
            yield
        finally:
            self.flat.data.copy_(kept)
            self.refresh()

    @contextmanager
    def added_up(self) -> Iterator[None]:
        """Each adapted matrix as one, for reading only: a seventh quicker. In bfloat16 the sum would lose the small
        part, so there nothing changes.
        """
        stacks = self.llama.stacks if self.llama and self.head.dtype == torch.float32 else ()
        try:
            for stack in stacks:
                stack.add_up(True)
            yield
        finally:
            for stack in stacks:
                stack.add_up(False)

    def save(self, folder: Path, base_name: str) -> str:
        """A PEFT folder; returns the sha256 of its weights."""
        folder.mkdir(parents=True, exist_ok=True)
        own = get_peft_model_state_dict(self.model, save_embedding_layers=False)
        tensors = {name: tensor.detach().cpu().clone() for name, tensor in own.items()}
        data = safetensors.torch.save(tensors, metadata={"format": "pt"})
        config = self.model.peft_config[NAME]
        config.base_model_name_or_path, config.inference_mode = base_name, True
        config.save_pretrained(str(folder))
        (folder / WEIGHTS).write_bytes(data)
        return hashlib.sha256(data).hexdigest()


def shape_of(settings: TrainSettings) -> tuple[int, float, float]:
    """What peft has to be set up anew for; everything else is reset by `begin`."""
    return settings.rank, settings.alpha, settings.dropout


def bf16_pays() -> bool:
    """Whether this processor multiplies bfloat16 natively: then frozen matrices take a quarter of float32's time."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())

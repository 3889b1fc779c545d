"""`LoraModel` on any device and in chosen layers, for benches that make hundreds of runs.

Losses, schedules, optimizer and measurements are the app's own; only the forward pass is plain transformers and peft,
padded, under autocast.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from bench.trials.greedy import greedy_replies
from chatlab.records import TrainSettings
from chatlab.training.fast.lora_linear import lora_pair
from chatlab.training.fast.threads import Workers
from chatlab.training.kl import NUM_TEXTS, TOP_K, KLReference
from chatlab.training.loss import logits_of
from chatlab.training.model import LoraModel, flatten, lora_layers, lora_shape
from chatlab.training.packing import Batch

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
KL_TOKENS = 64


class PaddedForward:
    """Packed sequences laid out as rows of one width; padding follows its sequence, where nothing attends to it."""

    def __init__(self, causal: Any, model: PeftModel, dtype: torch.dtype) -> None:
        self._decoder, self._dtype = causal.base_model, dtype
        self.parameters = [p for p in model.parameters() if p.requires_grad]

    def hidden(self, batch: Batch) -> Tensor:
        device = batch.ids.device
        widths = torch.tensor([w for rows, w in batch.blocks for _ in range(rows)], device=device)
        starts = widths.cumsum(0) - widths
        within = torch.arange(int(widths.max()), device=device)
        index = (starts[:, None] + within).clamp_max(len(batch.ids) - 1)
        out = self.decode(batch.ids[index])
        return out[within < widths[:, None]]

    def decode(self, ids: Tensor, **more: Any) -> Any:
        """Hidden states (B, T, H), float32; with a cache, what transformers gives."""
        bf16 = self._dtype == torch.bfloat16
        with torch.autocast(ids.device.type, torch.bfloat16) if bf16 else nullcontext():
            out = self._decoder(input_ids=ids, **({"use_cache": False} | more))
        return out if more else out.last_hidden_state.float()

    def sync_weights(self) -> None:
        """Nothing is kept of the weights."""

    @contextmanager
    def merged(self) -> Iterator[None]:
        yield


class DeviceLora(LoraModel):
    """A base with a fresh adapter in the upper `layers` (a part, 0 to 1) of its layers."""

    def __init__(
        self, folder: Path, settings: TrainSettings, device: str, *, layers: float = 1.0, bf16: bool = True
    ) -> None:
        self.accelerator: Any = SimpleNamespace(num_processes=1, process_index=0, device=torch.device(device))
        self.workers = Workers(1)
        self.lora_shape = lora_shape(settings)
        causal: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
        causal.to(device)
        dtype = torch.bfloat16 if bf16 else torch.float32
        self.head = causal.get_output_embeddings().weight.detach().to(dtype)
        self.causal = causal
        count = causal.config.num_hidden_layers
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,  # type: ignore[arg-type]
            target_modules=TARGETS,
            layers_to_transform=list(range(count - round(count * layers), count)) if layers < 1 else None,
            layers_pattern=["layers"] if layers < 1 else None,
            task_type="CAUSAL_LM",
        )
        self.peft = get_peft_model(causal, config)
        self.peft.eval()
        for layer in lora_layers(self.peft):  # autocast would turn them into bfloat16 again in every pass
            layer.get_base_layer().weight.data = layer.get_base_layer().weight.data.to(dtype)
        self.flat = flatten(self.peft)
        self.padded = PaddedForward(causal, self.peft, dtype)
        self.forward = self.padded
        self.reset(settings)

    def reset(self, settings: TrainSettings) -> None:
        """As LoraModel's, and to the same numbers whatever the device: they are drawn on the CPU."""
        generator = torch.Generator(device="cpu").manual_seed(settings.seed)
        for layer in lora_layers(self.peft):
            a, b = lora_pair(layer)
            drawn = torch.empty(a.shape, device="cpu")
            nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
            a.data.copy_(drawn)
            b.data.zero_()
        self.optimizer = torch.optim.AdamW(
            [self.flat], lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        assert self.flat.grad is not None
        self.flat.grad.zero_()

    @torch.no_grad()
    def kl_reference(self, start: int, texts: int = NUM_TEXTS) -> KLReference:
        """As `training.kl` makes it: texts that the base samples after `start`, and its distributions on them."""
        device, generator = self.accelerator.device, torch.Generator(device="cpu").manual_seed(0)
        with self.adapter_disabled():
            ids = torch.full((texts, 1), start, device=device)
            out = self.padded.decode(ids, use_cache=True)
            while ids.shape[1] < KL_TOKENS:
                probs = logits_of(out.last_hidden_state[:, -1].float(), self.head).softmax(-1).cpu()
                new = torch.multinomial(probs, 1, generator=generator).to(device)
                ids = torch.cat((ids, new), 1)
                out = self.padded.decode(new, past_key_values=out.past_key_values, use_cache=True)
            kept = [logits_of(self.padded.decode(text[None])[0], self.head).softmax(-1).topk(TOP_K) for text in ids]
        return KLReference(ids, torch.stack([k.indices for k in kept]), torch.stack([k.values for k in kept]))

    def replies(self, prompts: Sequence[Sequence[int]], stop: Sequence[int], tokens: int) -> list[list[int]]:
        """Greedy replies to all prompts at once, each with its stop token where it came to one."""
        return greedy_replies(self.padded.decode, self.head, prompts, stop, tokens)

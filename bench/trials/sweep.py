"""Several adapters side by side on one base, each with settings of its own, for machines with few cores.

A row of the batch belongs to one adapter; the base's products are computed for all rows at once, so that what a small
base costs, starting thousands of operations, is paid once for all of them. Rates, KL weights and layers may differ;
data, seed, epochs, batch and rank are one and the same. Each adapter's numbers are those of a run of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from peft import LoraConfig
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from bench.trials.device_lora import TARGETS
from bench.trials.greedy import greedy_replies
from bench.trials.job import Job
from chatlab.training.data import IGNORED, Example
from chatlab.training.kl import NUM_TEXTS, TOP_K, KLReference
from chatlab.training.loss import logits_of, next_token_loss, topk_kl_loss
from chatlab.training.metrics import NLL

KL_TOKENS = 64
ROWS_AT_ONCE = 96


class SideBySide(nn.Module):
    """A frozen linear layer and K low-rank pairs; row n of K x R belongs to pair n // R."""

    def __init__(self, base: nn.Linear, count: int, rank: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = base.weight.detach().to(dtype)
        self.bias = base.bias
        self.a = nn.Parameter(torch.zeros(count, rank, base.in_features))
        self.b = nn.Parameter(torch.zeros(count, base.out_features, rank))
        self.scale = torch.ones(count, 1, 1)
        self.strength = 1.0

    def forward(self, x: Tensor) -> Tensor:
        own = x.to(self.weight.dtype)
        out = F.linear(own, self.weight, self.bias)
        if not self.strength:
            return out
        each = own.reshape(len(self.a), -1, own.shape[-1])
        low = torch.bmm(each, self.a.to(own.dtype).transpose(1, 2)) * self.scale.to(own.dtype)
        return out + torch.bmm(low, self.b.to(own.dtype).transpose(1, 2)).view_as(out)


class Sweep:
    """K adapters on one base."""

    def __init__(self, folder: Path, jobs: Sequence[Job], bf16: bool) -> None:
        causal: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
        dtype = torch.bfloat16 if bf16 else torch.float32
        self.jobs, self.count, self.decoder = jobs, len(jobs), causal.base_model
        self.head = causal.get_output_embeddings().weight.detach().to(dtype)
        self.pairs: list[SideBySide] = []
        settings, layers = jobs[0].train_settings, causal.config.num_hidden_layers
        generator = torch.Generator().manual_seed(settings.seed)
        causal.requires_grad_(False)
        for number, layer in enumerate(self.decoder.layers):
            for parent in (layer.self_attn, layer.mlp):
                for name in [n for n, _ in parent.named_children() if n in TARGETS]:
                    pair = SideBySide(getattr(parent, name), self.count, settings.rank, dtype)
                    with torch.no_grad():
                        nn.init.kaiming_uniform_(pair.a[0], a=math.sqrt(5), generator=generator)
                        pair.a.copy_(pair.a[0].expand_as(pair.a).clone())
                    scale = settings.alpha / settings.rank
                    lowest = [layers - round(layers * job.layers) for job in jobs]
                    pair.scale = torch.tensor([scale * (number >= low) for low in lowest])[:, None, None]
                    setattr(parent, name, pair)
                    self.pairs.append(pair)
        self.parameters = [p for pair in self.pairs for p in (pair.a, pair.b)]
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.parameters]
        self.steps = 0

    def hidden(self, ids: Tensor, **more: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.head.dtype == torch.bfloat16):
            out = self.decoder(input_ids=ids, **({"use_cache": False} | more))
        return out if more else out.last_hidden_state.float()

    @contextmanager
    def base(self) -> Iterator[None]:
        for pair in self.pairs:
            pair.strength = 0.0
        yield
        for pair in self.pairs:
            pair.strength = 1.0

    def step(
        self, examples: Sequence[Example], kl: KLReference, texts: Sequence[int], rates: Sequence[float]
    ) -> Tensor:
        """One optimizer step of every adapter; their losses (K,)."""
        rows = [e.ids for e in examples] + [tuple(kl.ids[t].tolist()) for t in texts if kl]
        ids = _padded(rows).repeat(self.count, 1)
        hidden = self.hidden(ids).unflatten(0, (self.count, len(rows)))
        labels = _padded([e.labels[1:] for e in examples], IGNORED)
        where = (labels != IGNORED).nonzero(as_tuple=True)
        total, losses = torch.zeros(()), []
        for k, job in enumerate(self.jobs):
            settings = job.train_settings
            loss = next_token_loss(hidden[k][where], self.head, labels[where]) / len(where[0])
            losses.append(loss.detach())
            total = total + loss
            if settings.kl_weight and kl and texts:
                own = hidden[k, len(examples) :, : kl.width].flatten(0, 1)
                ids_, probs = kl.topk_ids[list(texts)].flatten(0, 1), kl.topk_probs[list(texts)].flatten(0, 1)
                total = total + settings.kl_weight * topk_kl_loss(own, self.head, ids_, probs) / len(own)
        grads = torch.autograd.grad(total, self.parameters)
        self._adam(grads, torch.tensor(rates))
        return torch.stack(losses)

    @torch.no_grad()
    def _adam(self, grads: Sequence[Tensor], rates: Tensor) -> None:
        """AdamW without decay, each adapter's gradient clipped by its own norm."""
        self.steps += 1
        norm = torch.stack([g.flatten(1).square().sum(1) for g in grads]).sum(0).sqrt()
        clip = (1.0 / (norm + 1e-6)).clamp_max(1.0)[:, None, None]
        lr = (rates / (1 - 0.9**self.steps))[:, None, None]
        for p, g, (m, v) in zip(self.parameters, grads, self.moments, strict=True):
            g = g * clip
            m.mul_(0.9).add_(g, alpha=0.1)
            v.mul_(0.999).addcmul_(g, g, value=0.001)
            p.sub_(lr * m / ((v / (1 - 0.999**self.steps)).sqrt_().add_(1e-8)))

    def save(self, number: int, folder: Path) -> None:
        """One of the adapters as a PEFT folder."""
        job, own = self.jobs[number], self.jobs[number].train_settings
        layers = len(self.decoder.layers)
        used = list(range(layers - round(layers * job.layers), layers))
        config = LoraConfig(
            r=own.rank,
            lora_alpha=own.alpha,  # type: ignore[arg-type]
            target_modules=TARGETS,
            layers_to_transform=used if len(used) < layers else None,
            layers_pattern=["layers"] if len(used) < layers else None,
            task_type="CAUSAL_LM",
            base_model_name_or_path=job.model,
            inference_mode=True,
        )
        tensors = {}
        for name, module in self.decoder.named_modules():
            if isinstance(module, SideBySide) and int(name.split(".")[1]) in used:
                prefix = f"base_model.model.model.{name}"
                tensors[f"{prefix}.lora_A.weight"] = module.a[number].detach().clone()
                tensors[f"{prefix}.lora_B.weight"] = module.b[number].detach().clone()
        folder.mkdir(parents=True, exist_ok=True)
        config.save_pretrained(str(folder))
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})

    @torch.no_grad()
    def kl_reference(self, start: int, texts: Path) -> KLReference:
        """As `training.kl` makes it; what the base wrote is kept in `texts`, for other files of the same model too."""
        with self.base():
            if texts.exists():
                ids = torch.tensor(json.loads(texts.read_text(encoding="utf-8")))
            else:
                ids = self._sampled(start)
                texts.write_text(json.dumps(ids.tolist()), encoding="utf-8")
            kept = [logits_of(self.hidden(t[None])[0], self.head).softmax(-1).topk(TOP_K) for t in ids]
        return KLReference(ids, torch.stack([k.indices for k in kept]), torch.stack([k.values for k in kept]))

    def _sampled(self, start: int) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        ids = torch.full((NUM_TEXTS, 1), start)
        out = self.hidden(ids, use_cache=True)
        while ids.shape[1] < KL_TOKENS:
            probs = logits_of(out.last_hidden_state[:, -1].float(), self.head).softmax(-1)
            new = torch.multinomial(probs, 1, generator=generator)
            ids = torch.cat((ids, new), 1)
            out = self.hidden(new, past_key_values=out.past_key_values, use_cache=True)
        return ids

    @torch.no_grad()
    def log_probs(self, example: Example, base: bool = False) -> Tensor:
        """(K, L, V), or (1, L, V) of the base, where a label is predicted."""
        where = torch.tensor([n for n, label in enumerate(example.labels[1:]) if label != IGNORED])
        ids = torch.tensor([example.ids])
        if base:
            with self.base():
                return logits_of(self.hidden(ids)[:, where], self.head).log_softmax(-1)
        return logits_of(self.hidden(ids.repeat(self.count, 1))[:, where], self.head).log_softmax(-1)

    def nll(self, examples: Sequence[Example], base: bool = False) -> list[NLL]:
        sums, tokens = [], []
        for example in examples:
            labels = torch.tensor([label for label in example.labels[1:] if label != IGNORED])
            found = self.log_probs(example, base)
            sums.append(-found.gather(2, labels.expand(len(found), -1)[..., None]).sum((1, 2)))
            tokens.append(float(len(labels)))
        columns = torch.stack(sums).double().numpy().T
        return [NLL(column, np.array(tokens)) for column in columns]

    @torch.no_grad()
    def replies(self, prompts: Sequence[Sequence[int]], stop: Sequence[int], tokens: int) -> list[list[list[int]]]:
        """Greedy replies of each adapter to all prompts."""
        found: list[list[list[int]]] = [[] for _ in self.jobs]
        size = max(1, ROWS_AT_ONCE // self.count)
        for first in range(0, len(prompts), size):
            some = prompts[first : first + size]
            rows = greedy_replies(self.hidden, self.head, list(some) * self.count, stop, tokens)
            for k in range(self.count):
                found[k] += rows[k * len(some) : (k + 1) * len(some)]
        return found

    def base_replies(self, prompts: Sequence[Sequence[int]], stop: Sequence[int], tokens: int) -> list[list[int]]:
        parts = [prompts[n : n + 32] for n in range(0, len(prompts), 32)]
        with self.base():
            return [r for part in parts for r in greedy_replies(self.hidden, self.head, part, stop, tokens)]


def _padded(rows: Sequence[Sequence[int]], fill: int = 0) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])

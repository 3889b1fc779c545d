"""Pre-train: `python -m scripts.pretrain.run --until 09:25`, then again with `--cool-down --until 09:55`.

The stable phase keeps one learning rate, so it can go on for as long as anyone likes, on this machine or
another. The cool-down is a branch of it: it starts from the stable checkpoint, lowers the rate to nothing
and leaves that checkpoint as it was.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import torch
from tokenizers import Tokenizer

from scripts.pretrain import checkpoint, measure, mix
from scripts.pretrain.model import Llama
from scripts.pretrain.muon import Muon
from scripts.pretrain.precision import fastest, products_in

WARM_UP = 60
"""Steps over which the rate grows from nothing."""
BATCH = 8192
"""Tokens a step."""
MICRO = 2048
"""Tokens that go through the network at once; more do not fit the processor's cache."""
LONG = 0.7
"""Share of the cool-down after which rows have the full context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """How far this call goes: to a number of steps or to a time of day (seconds since 1970)."""

    steps: int | None
    until: float | None
    cool_down: bool

    def done(self, progress: checkpoint.Progress) -> float:
        """Share of the stretch that lies behind, counted from where it branched or began."""
        first, began = progress.branched or 0, progress.started or time.time()
        if self.steps is not None:
            return (progress.step - first) / self.steps
        assert self.until is not None
        return (time.time() - began) / max(1.0, self.until - began)

    def rate(self, progress: checkpoint.Progress) -> float:
        """Factor of the learning rates: warm-up, then one, then (in a cool-down) a line to nothing."""
        warm = min(1.0, (progress.step - progress.warmed + 1) / WARM_UP)
        return warm * max(0.0, 1 - self.done(progress)) if self.cool_down else warm


def optimizers(model: Llama, dtype: torch.dtype = torch.bfloat16) -> list[torch.optim.Optimizer]:
    """Muon, in `dtype`, for the matrices of the layers; AdamW for the embedding and the norms."""
    named = list(model.named_parameters())
    matrices = [weight for name, weight in named if weight.ndim == 2 and "embed" not in name]
    rest = [weight for name, weight in named if weight.ndim < 2 or "embed" in name]
    return [
        Muon(matrices, lr=0.02, dtype=dtype),
        torch.optim.AdamW(rest, lr=4e-3, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def step(model: Llama, data: mix.Mix, length: int, dtype: torch.dtype) -> float:
    """Gradients of one batch, its products in `dtype`; its mean loss in nats a token."""
    total = 0.0
    for _ in range(BATCH // MICRO):
        ids, targets = data.rows(MICRO // length, length)
        with products_in(dtype):
            loss = model.losses(ids, targets).sum() / BATCH
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total


def train(
    model: Llama,
    movers: list[torch.optim.Optimizer],
    data: mix.Mix,
    progress: checkpoint.Progress,
    stretch: Stretch,
    dtype: torch.dtype = torch.bfloat16,
) -> Iterator[float]:
    """Train to the end of `stretch`, yielding the loss after each step; `progress` is kept up to date."""
    full = [mover.param_groups[0]["lr"] for mover in movers]
    while (done := stretch.done(progress)) < 1:
        length = 1024 if stretch.cool_down and done > LONG else 512
        loss = step(model, data, length, dtype)
        for mover, rate in zip(movers, full, strict=True):
            mover.param_groups[0]["lr"] = rate * stretch.rate(progress)
            mover.step()
            mover.zero_grad()
        progress.step += 1
        progress.tokens += BATCH
        yield loss


def quick_bits(model: Llama, cache: Path, tokens: int = 8193) -> dict[str, float]:
    """Held-out bits per byte by source, on the first few thousand tokens of each."""
    tokenizer = Tokenizer.from_file(str(cache / "tokenizer.json"))
    texts = measure.held_out(cache)
    return {name: round(measure.bits_per_byte(model, tokenizer, t, 512, tokens), 4) for name, t in texts.items()}


def record(path: Path, **row: object) -> None:
    """Append one JSON line."""
    with path.open("a") as log:
        log.write(json.dumps(row) + "\n")


def clock(text: str) -> float:
    """The next time the clock shows HH:MM, in seconds since 1970."""
    now = datetime.now()
    at = now.replace(hour=int(text[:2]), minute=int(text[3:]), second=0, microsecond=0)
    return (at if at > now else at + timedelta(days=1)).timestamp()


def main(given: argparse.Namespace) -> None:
    """One call of the command: resume or branch, train, measure and save as it goes."""
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    dtype = fastest()
    model = Llama(mix.shape(given.recipe))
    movers = optimizers(model, dtype)
    data = mix.load(given.cache, "cool_down" if given.cool_down else "stable", given.recipe)
    stable, cooled = given.cache / "stable.safetensors", given.cache / "cool_down.safetensors"
    path = cooled if given.cool_down else stable
    source = path if path.exists() else stable
    progress = checkpoint.load(source, model, movers, data) if source.exists() else checkpoint.Progress()
    if given.cool_down and progress.branched is None:
        progress.branched, progress.started = progress.step, time.time()
    elif not given.cool_down:
        progress.started = time.time()
    stretch = Stretch(steps=given.steps, until=given.until and clock(given.until), cool_down=given.cool_down)
    log, began, first = given.cache / "log.jsonl", time.time(), progress.tokens
    for loss in train(model, movers, data, progress, stretch, dtype):
        ended = stretch.done(progress) >= 1
        if progress.step % given.every == 0 or ended:
            checkpoint.save(path, model, movers, data, progress)
        if progress.step % 10 == 0:
            speed = (progress.tokens - first) / (time.time() - began)
            record(log, step=progress.step, tokens=progress.tokens, loss=round(loss, 4), speed=round(speed))
        if progress.step % given.measure == 0 or ended:
            bits = quick_bits(model, given.cache)
            record(log, step=progress.step, tokens=progress.tokens, cool_down=given.cool_down, bits=bits)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path(".cache/pretrain"), help="made by prepare")
    parser.add_argument("--recipe", type=Path, default=mix.RECIPE)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cool-down", action="store_true")
    parser.add_argument("--every", type=int, default=50, help="steps between checkpoints")
    parser.add_argument("--measure", type=int, default=100, help="steps between held-out measurements")
    end = parser.add_mutually_exclusive_group(required=True)
    end.add_argument("--until", help="HH:MM")
    end.add_argument("--steps", type=int, help="how many steps; those of an earlier stable call included")
    main(parser.parse_args())

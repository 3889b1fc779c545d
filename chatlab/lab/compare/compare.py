"""Comparing: several variants answer one prompt, side by side."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from chatlab.engines.base import ReplyChunk, Sampling, Variant
from chatlab.errors import ChatlabError, InputError
from chatlab.lab.models import LoadedModel, ModelHost
from chatlab.lab.variants import Variants
from chatlab.records import Message, Provenance

log = logging.getLogger("chatlab.lab")

MOST = 6
"""Variants in one comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pane:
    """One variant's answer as far as it has come."""

    variant: str
    """Who was asked."""
    text: str = ""
    provenance: Provenance | None = None
    """Who spoke, by the engine's own word; None before the first token."""
    done: bool = False
    error: str = ""


@dataclass(slots=True)
class _Pane:
    """One variant at work."""

    pane: Pane
    variant: Variant | None = None
    chunks: Iterator[ReplyChunk] | None = None
    seconds: float = 0.0
    """That this variant has taken; the others wait meanwhile."""


class Compare:
    """The same prompt, id for id, to several variants. Their answers grow a token each in turn."""

    def __init__(self, machine: ModelHost, variants: Variants) -> None:
        self._machine = machine
        self._variants = variants

    def ask(self, prompt: str, variants: Sequence[str], sampling: Sampling, system: str = "") -> Iterator[list[Pane]]:
        """The panes, in the order of `variants`, after every round. A variant that fails says so in its own pane."""
        if not prompt.strip():
            raise InputError("The prompt is empty.", "Write a prompt first.")
        if not 1 <= len(variants) <= MOST:
            raise InputError(
                f"Compare takes 1 to {MOST} adapters, not {len(variants)}.", "Choose fewer, or at least one."
            )
        model = self._machine.current
        return self._run(model, model.base.template.prompt(messages(prompt, system)), variants, sampling)

    def _run(
        self, model: LoadedModel, prompt: list[int], variants: Sequence[str], sampling: Sampling
    ) -> Iterator[list[Pane]]:
        with self._machine.lease(model):
            lanes = [self._start(model, prompt, name, sampling) for name in variants]
            try:
                yield [lane.pane for lane in lanes]
                while any(not lane.pane.done for lane in lanes):
                    for lane in lanes:
                        self._advance(model, lane)
                    yield [lane.pane for lane in lanes]
            finally:
                for lane in lanes:
                    getattr(lane.chunks, "close", lambda: None)()

    def _start(self, model: LoadedModel, prompt: list[int], name: str, sampling: Sampling) -> _Pane:
        lane = _Pane(pane=Pane(variant=name))
        with _error_in_pane(lane):
            lane.variant = self._variants.get(name, model=model)
            lane.chunks = model.engine.stream(prompt, sampling, lane.variant, model.base.template.stop_ids)
        return lane

    def _advance(self, model: LoadedModel, lane: _Pane) -> None:
        """One more piece into the lane's pane."""
        if lane.pane.done or lane.chunks is None or lane.variant is None:
            return
        began = perf_counter()
        with _error_in_pane(lane):
            chunk = next(lane.chunks, None)
            lane.seconds += perf_counter() - began
            lane.pane = replace(lane.pane, done=True) if chunk is None else _extended(model, lane, lane.variant, chunk)


def _extended(model: LoadedModel, lane: _Pane, variant: Variant, chunk: ReplyChunk) -> Pane:
    provenance = Provenance(
        adapter=variant.name,
        sha256=chunk.sha256,
        base=model.base.fingerprint,
        base_name=model.base.name,
        strength=variant.strength,
        tokens=chunk.tokens,
        seconds=lane.seconds,
    )
    text, done = lane.pane.text + chunk.text, chunk.stop is not None
    said = model.base.template.content(text) if done else text
    return replace(lane.pane, text=said, provenance=provenance, done=done)


@contextlib.contextmanager
def _error_in_pane(lane: _Pane) -> Iterator[None]:
    """What goes wrong with one variant stays in its pane."""
    try:
        yield
    except ChatlabError as error:
        lane.pane = replace(lane.pane, error=f"{error} {error.hint}".strip(), done=True)
    except Exception:
        log.exception("An adapter failed in a comparison")
        lane.pane = replace(lane.pane, error="Something went wrong inside Chatlab. The log has details.", done=True)


def messages(prompt: str, system: str = "") -> tuple[Message, ...]:
    """One question, under a system message if there is one."""
    heading = (Message(role="system", content=system.strip()),) if system.strip() else ()
    return (*heading, Message(role="user", content=prompt))

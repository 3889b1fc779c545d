"""A thought and its answer: the thought as long as its budget lasts, closed by the template's own mark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, cast

from chatlab.engines.base import Engine, ReplyChunk, Sampling, Variant
from chatlab.records import Message
from chatlab.template import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class ThoughtPiece(ReplyChunk):
    """A bit of what is thought before the answer."""


def thinks(template: Template, sampling: Sampling) -> bool:
    """Whether an answer is to be thought about: the template has a place for it, and there is a budget."""
    return sampling.thinking > 0 and template.thinking is not None


def thought_and_answer(
    engine: Engine, template: Template, messages: Sequence[Message], sampling: Sampling, variant: Variant
) -> Iterator[ReplyChunk]:
    """Bits of the thought, then of the answer, tokens counted through.

    The answer is asked for after the thought as training will spell it, so that both read the same ids. A thought of
    nothing is none, and the answer is then asked for without. Raises what `Engine.stream` raises.
    """
    assert template.thinking is not None
    prompt = template.prompt(messages, thinks=True)
    budget = min(sampling.thinking, max(1, (engine.context - len(prompt)) // 2))
    text, tokens, end = "", 0, template.thinking.end
    pieces = engine.stream(prompt, replace(sampling, max_tokens=budget), variant, template.stop_ids)
    with closing(cast(Any, pieces)):
        for piece in pieces:
            said = _sure(text, end)
            text, tokens = text + piece.text, piece.tokens
            yield ThoughtPiece(text=_sure(text, end)[len(said) :], tokens=tokens, sha256=piece.sha256)
            if end in text:
                break
    thought = text.partition(end)[0].strip()
    ids = template.thought(messages, thought) if thought else template.prompt(messages)
    for piece in engine.stream(ids, sampling, variant, template.stop_ids):
        yield replace(piece, tokens=tokens + piece.tokens)


def _sure(text: str, end: str) -> str:
    """The thought as far as it cannot be the beginning of its end."""
    thought, closed, _ = text.partition(end)
    if closed:
        return thought
    held = next((k for k in range(min(len(end) - 1, len(text)), 0, -1) if text.endswith(end[:k])), 0)
    return text[: len(text) - held]

"""Prompts that no demonstration pack holds, put to a voice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from chatlab.engines.base import Engine, ReplyChunk, Sampling, Variant
from chatlab.evaluation.replies import Form, form
from chatlab.models.base import Base
from chatlab.records import Message, Role
from chatlab.settings import PACKAGE
from chatlab.template import Template

DATA = PACKAGE / "data"
FIRST = 24
"""Prompts of the default evaluation."""

CALM = Sampling(temperature=0.0, max_tokens=96)
"""The same answers every time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A prompt, what a voice said to it, and in what form."""

    prompt: str
    text: str
    sha256: str
    """Of the adapter that spoke."""
    tokens: int
    form: Form


def unseen(kind: str = "", count: int | None = FIRST, folder: Path = DATA) -> list[str]:
    """Prompts that are in no pack, the first `count`. `kind` names a pack that has prompts of its own."""
    file = folder / (f"unseen_{kind}.jsonl" if kind else "unseen.jsonl")
    lines = file.read_text(encoding="utf-8").splitlines()
    return [str(json.loads(line)["prompt"]) for line in lines][:count]


def ask(
    engine: Engine, base: Base, variant: Variant, prompts: Sequence[str], sampling: Sampling = CALM, system: str = ""
) -> Iterator[Reply]:
    """The voice's reply to each prompt in order, each in a conversation of its own."""
    markers = role_markers(base.template)
    for prompt in prompts:
        chunks = engine.stream(_asked(base, prompt, system), sampling, variant, base.template.stop_ids)
        yield _heard(prompt, list(chunks), markers)


def ask_all(
    engine: Engine, base: Base, variant: Variant, prompts: Sequence[str], sampling: Sampling = CALM, system: str = ""
) -> list[Reply]:
    """The same, all of them, several at once where the engine can."""
    asked = [_asked(base, prompt, system) for prompt in prompts]
    heard: list[list[ReplyChunk]] = [[] for _ in prompts]
    for number, chunk in engine.stream_batch(asked, sampling, variant, base.template.stop_ids):
        heard[number].append(chunk)
    markers = role_markers(base.template)
    return [_heard(prompt, chunks, markers) for prompt, chunks in zip(prompts, heard, strict=True)]


def _asked(base: Base, prompt: str, system: str) -> list[int]:
    said = [Message(role="system", content=system)] if system else []
    return base.template.prompt([*said, Message(role="user", content=prompt)])


def _heard(prompt: str, chunks: Sequence[ReplyChunk], markers: Sequence[str]) -> Reply:
    text, last = "".join(chunk.text for chunk in chunks), chunks[-1]
    return Reply(
        prompt=prompt, text=text, sha256=last.sha256, tokens=last.tokens, form=form(prompt, text, last.stop, markers)
    )


def role_markers(template: Template) -> list[str]:
    """The control tokens that a conversation is written with; others, such as padding, open nobody's turn."""
    roles: tuple[Role, ...] = ("system", "user", "assistant", "user")
    talk = [Message(role=role, content="x") for role in roles]
    written = template.text(template.prompt(talk))
    return [token for token in template.control_tokens if token in written]

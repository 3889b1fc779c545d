"""Prompts that no demonstration pack holds, and a model's replies to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from chatlab.engines.base import Engine, ReplyChunk, Sampling, Variant
from chatlab.evaluation.replies import ReplyForm, form
from chatlab.models.base import Base
from chatlab.records import Message, Role
from chatlab.settings import PACKAGE
from chatlab.system.lines import json_rows
from chatlab.template import Template

DATA = PACKAGE / "data"
FIRST = 24
"""Prompts of the default evaluation."""

GREEDY = Sampling(temperature=0.0, max_tokens=96)
"""Greedy decoding: the same replies every time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A prompt, a model's reply to it, and the reply's format checks."""

    prompt: str
    text: str
    sha256: str
    """sha256 of the adapter weights that gave it; empty for the base."""
    tokens: int
    form: ReplyForm


def unseen(kind: str = "", count: int | None = FIRST, folder: Path = DATA) -> list[str]:
    """Prompts that are in no pack, the first `count`. `kind` names a pack that has prompts of its own."""
    file = folder / (f"unseen_{kind}.jsonl" if kind else "unseen.jsonl")
    return [str(row["prompt"]) for row in json_rows(file)][:count]


def ask(
    engine: Engine, base: Base, variant: Variant, prompts: Sequence[str], sampling: Sampling = GREEDY, system: str = ""
) -> Iterator[Reply]:
    """The reply to each prompt in order, each in a conversation of its own."""
    markers = role_markers(base.template)
    for prompt in prompts:
        chunks = engine.stream(_prompt_ids(base, prompt, system), sampling, variant, base.template.stop_ids)
        yield _reply(prompt, list(chunks), markers)


def ask_all(
    engine: Engine,
    base: Base,
    variant: Variant,
    prompts: Sequence[str],
    sampling: Sampling = GREEDY,
    system: str = "",
    between: Callable[[], None] = lambda: None,
) -> list[Reply]:
    """All replies at once, batched where the engine can. `between` is called between two tokens."""
    prompt_ids = [_prompt_ids(base, prompt, system) for prompt in prompts]
    chunks: list[list[ReplyChunk]] = [[] for _ in prompts]
    for number, chunk in engine.stream_batch(prompt_ids, sampling, variant, base.template.stop_ids):
        chunks[number].append(chunk)
        between()
    markers = role_markers(base.template)
    return [_reply(prompt, chunks, markers) for prompt, chunks in zip(prompts, chunks, strict=True)]


def _prompt_ids(base: Base, prompt: str, system: str) -> list[int]:
    said = [Message(role="system", content=system)] if system else []
    return base.template.prompt([*said, Message(role="user", content=prompt)])


def _reply(prompt: str, chunks: Sequence[ReplyChunk], markers: Sequence[str]) -> Reply:
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

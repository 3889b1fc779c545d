"""The protocol of every engine. An engine knows token ids and adapters; it knows nothing of chats or templates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from chatlab.errors import EngineError, PromptTooLong
from chatlab.records import BASE, StopReason
from chatlab.tool_calls import Call, ToolStep

BLOCK = 64
"""Prompt tokens read at a time. Closing a reply waits for no more than that; and as blocks begin at multiples, one is
computed the same way, to the bit, whether the tokens before it were read just now or cached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is sampled."""

    temperature: float = 0.4
    """0 always takes the most probable token."""
    top_p: float = 0.9
    top_k: int = 0
    """0 keeps all."""
    repetition_penalty: float = 1.1
    max_tokens: int = 256
    """Most tokens of one reply."""
    thinking: int = 0
    """Most tokens of reasoning before it, for templates that have a place for it; 0 asks for none."""
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """The base alone, or an adapter on it at some strength."""

    name: str = BASE
    folder: Path | None = None
    """An adapter's folder; None for the base."""
    strength: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyChunk:
    """What is new in a reply, from the engine to the page: one token as a rule. Only the last chunk has `stop` set.

    Engines fill in `text`, `tokens`, `sha256` and `stop`; the chat adds reasoning and tools.
    """

    text: str = ""
    """New text only. Empty for a token that only begins a character; so a reply can be closed at every token."""
    tokens: int
    """Tokens sampled so far in this reply, the end token not counted."""
    sha256: str
    """Hash of the adapter weights that computed them, taken by the engine from what it loaded; empty for the base."""
    stop: StopReason | None = None
    reasoning: str = ""
    """New text of the reasoning before the answer."""
    call: Call | None = None
    """A tool call that is running."""
    step: ToolStep | None = None
    """A tool call that has ended, with its result."""


class Engine(Protocol):
    """Anything that can continue a prompt, chunk by chunk.

    `stream` keeps to the variant it was called with even if another goes live meanwhile. Closing the iterator stops
    the computation within a token. It may be called from several threads.
    """

    @property
    def name(self) -> str:
        """Which engine this is, in a word or two for the screen."""
        ...

    @property
    def context(self) -> int:
        """Most tokens that prompt and reply can have together."""
        ...

    def stream(
        self, prompt: Sequence[int], sampling: Sampling, variant: Variant, stop_ids: frozenset[int]
    ) -> Iterator[ReplyChunk]:
        """New text as it is sampled.

        Raises PromptTooLong, AdapterMissing, AdapterDamaged or WrongBase before the first chunk.
        """
        ...

    def stream_batch(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, variant: Variant, stop_ids: frozenset[int]
    ) -> Iterator[tuple[int, ReplyChunk]]:
        """Replies of one variant to many prompts, batched where the engine can: each chunk with its prompt's index.

        Meant for evaluation: whoever chats meanwhile comes first.
        """
        ...

    def load(self, variant: Variant) -> None:
        """Load an adapter so that its first reply does not wait for it."""
        ...

    def unload(self, folder: Path) -> None:
        """Drop an adapter from memory, once no reply uses it."""
        ...

    def forget_prompts(self) -> None:
        """Clear the prefix caches, so that the next reply reads its prompt from the beginning.

        A prompt of which a reply is under way is dropped with the end of the reply.
        """
        ...

    def yield_cores(self, on: bool) -> None:
        """Leave a core to training while `on`, or take all cores again."""
        ...

    def close(self) -> None: ...


def one_by_one(
    engine: Engine, prompts: Sequence[Sequence[int]], sampling: Sampling, variant: Variant, stop_ids: frozenset[int]
) -> Iterator[tuple[int, ReplyChunk]]:
    """`stream_batch` for an engine that cannot batch."""
    for number, prompt in enumerate(prompts):
        for chunk in engine.stream(prompt, sampling, variant, stop_ids):
            yield number, chunk


def check_prompt(prompt: Sequence[int], context: int) -> None:
    """Raises EngineError for an empty prompt, PromptTooLong for one that leaves no room for a reply."""
    if not prompt:
        raise EngineError("There is no message to answer.", "Write a message first.")
    if len(prompt) >= context:
        raise PromptTooLong(
            f"The conversation has {len(prompt)} tokens; the context is {context}.",
            "Start a new conversation, or shorten this one.",
        )


def common_prefix(prompt: Sequence[int], ids: Sequence[int]) -> int:
    """Tokens of the whole blocks with which both begin. At least one token of the prompt is left to be read."""
    most = min(len(prompt) - 1, len(ids)) // BLOCK
    same = 0
    while same < most and list(prompt[same * BLOCK : (same + 1) * BLOCK]) == ids[same * BLOCK : (same + 1) * BLOCK]:
        same += 1
    return same * BLOCK

"""What every engine promises. An engine knows token ids and adapters; it knows nothing of chats or templates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from chatlab.errors import EngineError, PromptTooLong
from chatlab.records import BASE, StopReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is drawn."""

    temperature: float = 0.7
    """0 always takes the likeliest token."""
    top_p: float = 0.9
    top_k: int = 0
    """0 keeps all."""
    repetition_penalty: float = 1.1
    max_tokens: int = 256
    """The budget of one reply."""
    thinking: int = 0
    """The budget of a thought before it, for templates that have a place for one; 0 asks for none."""
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """Who is asked to speak: the base alone, or an adapter on it at some strength."""

    name: str = BASE
    folder: Path | None = None
    """An adapter's folder; None for the base."""
    strength: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A bit of a reply: new text only. The last piece of a reply, and only it, has `stop` set."""

    text: str
    """Empty for a token that only begins a character; so a reply can be closed at every token."""
    tokens: int
    """Tokens drawn so far in this reply, the end token not counted."""
    sha256: str
    """Of the adapter weights that drew them, taken by the engine from what it loaded; empty for the base."""
    stop: StopReason | None = None


class Engine(Protocol):
    """Anything that can go on from a prompt, piece by piece.

    `stream` keeps to the voice it was called with even if another goes live meanwhile. Closing the iterator
    stops the computation within a token. It may be called from several threads.
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
        self, prompt: Sequence[int], sampling: Sampling, voice: Voice, stop_ids: frozenset[int]
    ) -> Iterator[Piece]:
        """New text as it is drawn.

        Raises PromptTooLong, AdapterMissing, AdapterDamaged or WrongBase before the first piece.
        """
        ...

    def together(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, voice: Voice, stop_ids: frozenset[int]
    ) -> Iterator[tuple[int, Piece]]:
        """Replies of one voice to many prompts, several of them growing at once where the engine can: each piece with
        the number of its prompt. For measuring: whoever chats meanwhile comes first.
        """
        ...

    def prepare(self, voice: Voice) -> None:
        """Load an adapter so that its first reply does not wait for it."""
        ...

    def forget(self, folder: Path) -> None:
        """Drop an adapter from memory, once no reply uses it."""
        ...

    def forget_prompts(self) -> None:
        """Drop what is remembered of prompts, so that the next reply reads its own from the beginning.

        A prompt of which a reply is under way is dropped with the end of the reply.
        """
        ...

    def ease(self, on: bool) -> None:
        """Leave a core to training while `on`, or take all cores again."""
        ...

    def close(self) -> None: ...


def one_by_one(
    engine: Engine, prompts: Sequence[Sequence[int]], sampling: Sampling, voice: Voice, stop_ids: frozenset[int]
) -> Iterator[tuple[int, Piece]]:
    """`together` for an engine that has no quicker way."""
    for number, prompt in enumerate(prompts):
        for piece in engine.stream(prompt, sampling, voice, stop_ids):
            yield number, piece


def check_prompt(prompt: Sequence[int], context: int) -> None:
    """Raises EngineError for a prompt of nothing, PromptTooLong for one that leaves no room for a reply."""
    if not prompt:
        raise EngineError("There is no message to answer.", "Write a message first.")
    if len(prompt) >= context:
        raise PromptTooLong(
            f"The conversation has {len(prompt)} tokens; the context is {context}.",
            "Start a new conversation, or shorten this one.",
        )

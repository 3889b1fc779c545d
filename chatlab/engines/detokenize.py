"""Token ids to text, incrementally.

`tokenizers.decoders.DecodeStream` gives the same text, but only for a Tokenizer in this process. A tokenizer that may
be hostile runs in a process of its own and is asked through `Codec.decode`, so this works on any decode function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from chatlab.template.codec import codec_of

if TYPE_CHECKING:
    from chatlab.models.base import Base

BROKEN = "\N{REPLACEMENT CHARACTER}"
_LOOK_BACK = 4
"""Tokens kept to decode the next one with. A character has four bytes at most, so none reaches further back; and
some tokenizers join a word to what stands before it."""


def decoder(base: Base) -> Callable[[list[int]], str]:
    """The base's decode function. Role tokens are shown as they are written: a base that runs on should be seen to.

    The tokenizer's backend is called directly, which takes a fifth of the time: it is called for every token.
    """
    return codec_of(base.tokenizer.backend_tokenizer).decode


class Detokenizer:
    """The text of a growing reply, given out in whole characters.

    A character may be spread over several tokens; its beginning is held back until the rest has come, and bytes that
    never become a character are left out. All the texts together are the text of all the tokens.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []
        self._emitted = 0
        """Characters of the window's text that were given out, or left out as broken."""

    def add(self, token: int) -> str:
        """The text that this token completes."""
        self._window.append(token)
        whole = self._whole()
        new, self._emitted = whole[self._emitted :], max(self._emitted, len(whole))
        if len(self._window) > 2 * _LOOK_BACK:
            self._window = self._window[-_LOOK_BACK:]
            self._emitted = len(self._whole())
        return new.replace(BROKEN, "")

    def _whole(self) -> str:
        """The window's text up to its last whole character."""
        return self._decode(self._window).rstrip(BROKEN)

"""Token ids -> text while they arrive."""

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
    """A base's ids as text. Role tokens are shown as they are written: a base that runs on should be seen to.

    The tokenizer's core is asked directly, which takes a fifth of the time: it is asked for every token.
    """
    return codec_of(base.tokenizer.backend_tokenizer).decode


class Detokenizer:
    """The text of a growing reply, given out in whole characters.

    A character may be spread over several tokens; its beginning is held back until the rest has come, and bytes that
    never become a character are left out. All the pieces together are the text of all the tokens.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []
        self._said = 0
        """Characters of the window's text that were given out, or left out as broken."""

    def add(self, token: int) -> str:
        """What can be said now that was not said before."""
        self._window.append(token)
        whole = self._whole()
        new, self._said = whole[self._said :], max(self._said, len(whole))
        if len(self._window) > 2 * _LOOK_BACK:
            self._window = self._window[-_LOOK_BACK:]
            self._said = len(self._whole())
        return new.replace(BROKEN, "")

    def _whole(self) -> str:
        """The window's text up to its last whole character."""
        return self._decode(self._window).rstrip(BROKEN)

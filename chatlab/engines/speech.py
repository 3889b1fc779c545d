"""Token ids -> text while they arrive."""

from __future__ import annotations

from typing import Protocol

BROKEN = "\N{REPLACEMENT CHARACTER}"
_LOOK_BACK = 4
"""Tokens kept to decode the next one with. A character has four bytes at most, so none reaches further back; and
some tokenizers join a word to what stands before it."""


class Decodes(Protocol):
    """The part of a tokenizer that is needed to speak."""

    def decode(
        self, token_ids: list[int], /, *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool
    ) -> str: ...


class Speech:
    """The text of a growing reply, given out in whole characters.

    A character may be spread over several tokens; its beginning is held back until the rest has come, and bytes that
    never become a character are left out. All the pieces together are the text of all the tokens.
    """

    def __init__(self, tokenizer: Decodes) -> None:
        self._tokenizer = tokenizer
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
        text = self._tokenizer.decode(self._window, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text.rstrip(BROKEN)

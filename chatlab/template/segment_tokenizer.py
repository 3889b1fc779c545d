"""Text to ids, piece by piece, such that a person's words never become a control token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tokenizers import Tokenizer

from chatlab.errors import TemplateRefused
from chatlab.template.codec import Codec, codec_of

MOST, LONGEST = 20_000, 500
"""Control tokens, and characters of one. Those that are known have 6,000 and 60."""
_NEAR = 16
"""Characters of the text before that decide how the next piece is spelt."""


@dataclass(frozen=True, slots=True)
class Said:
    """A stretch of text and whether it is a message's content rather than the template's own words."""

    text: str
    content: bool


class SegmentTokenizer:
    """Spells pieces of a prompt with a tokenizer of its own copy, so that nobody's truncation settings reach it.

    A piece is spelt as the tokenizer would spell it in place, as far as no token spans its border with the piece
    before. So the ids of a text do not change when more text follows.
    """

    def __init__(self, tokenizer: Tokenizer | Codec, control: Iterable[str]) -> None:
        """Raises TemplateRefused for more control tokens than can be looked for, or longer ones."""
        self._codec = codec_of(tokenizer, copied=True)
        ids = {text: self._codec.token_to_id(text) for text in control if text}
        if len(ids) > MOST or any(len(text) > LONGEST for text in ids):
            raise TemplateRefused(
                f"The tokenizer has {len(ids):,} control tokens, the longest of {max(map(len, ids)):,} characters.",
                "Choose a model with another tokenizer.",
            )
        self.control = {text: id for text, id in ids.items() if id is not None}
        self.control_ids = frozenset(self.control.values())
        self._cuts: dict[str, int] = {}

    def spell(self, before: str, piece: Sequence[Said], exact: bool = False) -> list[int]:
        """Ids of `piece` as it stands after the text `before`.

        With `exact`, spelt such that decoding gives the text back, wherever the tokenizer can say it at all.
        """
        ids: list[int] = []
        for atom in self._atoms(piece):
            ids += self._continue(before, atom, exact)
            before = (before + atom)[-4 * _NEAR :]
        return ids

    def text(self, ids: Sequence[int]) -> str:
        return self._codec.decode(ids)

    def first_control(self, text: str) -> int | None:
        """Where in a template's words the first control token ends."""
        found = min(((text.find(token), -len(token)) for token in self.control if token in text), default=None)
        return None if found is None else found[0] - found[1]

    def _encode(self, text: str) -> list[int]:
        return self._codec.encode(text)

    def _continue(self, before: str, atom: str, exact: bool) -> list[int]:
        """Spelt after the end of `before`; where a token would span the border, after some neutral text."""
        alone = self._encode(atom)
        if not before:
            return alone
        near = self._near(before)
        context = self._encode(near)
        found: list[list[int]] = []
        for ids in self._spellings(near, atom, self._controls(alone)):
            if not exact or self._says(context, ids, atom):
                return ids
            # SentencePiece puts a space after a control token, and drops the first of a text that is decoded alone.
            if not found and self.text(ids) == atom:
                return ids
            found.append(ids)
        # What the tokenizer cannot say, it should at least say as it would elsewhere.
        sayable = self.text(alone)
        return next((ids for ids in found if self._says(context, ids, sayable)), [*found, alone][0])

    def _spellings(self, near: str, atom: str, controls: Sequence[int]) -> Iterator[list[int]]:
        """Ids of the atom after several texts, the true one first, that keep those texts' ids as they are."""
        for anchor in (near, "\n", "a", ":", ""):
            head = self._encode(anchor)
            whole = self._encode(anchor + atom)
            if whole[: len(head)] == head and self._controls(whole[len(head) :]) == controls:
                yield whole[len(head) :]

    def _says(self, context: Sequence[int], ids: Sequence[int], text: str) -> bool:
        return self.text([*context, *ids]) == self.text(context) + text

    def _controls(self, ids: Iterable[int]) -> list[int]:
        return [i for i in ids if i in self.control_ids]

    def _near(self, before: str) -> str:
        """The end of the text before, from its last control token where that is close."""
        tail = before[-4 * _NEAR :]
        starts = [tail.rfind(token) for token in self.control]
        return tail[max(starts) :] if max(starts, default=-1) >= 0 else tail[-_NEAR:]

    def _atoms(self, piece: Sequence[Said]) -> list[str]:
        """The piece's text, cut inside everything in its contents that looks like a control token."""
        text = "".join(s.text for s in piece)
        if not any(s.content for s in piece):
            return [text] if text else []
        own = [not s.content for s in piece for _ in s.text]
        return self._cut(text, own) if text else []

    def _cut(self, text: str, own: Sequence[bool]) -> list[str]:
        found = self._codec.locate(text)
        cuts = [
            cut
            for id, (start, end) in zip(found.ids, found.offsets, strict=True)
            if id in self.control_ids and (cut := self._place(text, own, start, end))
        ]
        if not cuts:
            return [text]
        bounds = [0, *cuts, len(text)]
        return [
            atom
            for a, b in pairwise(bounds)
            for atom in (self._cut(text[a:b], own[a:b]) if b - a < len(text) else [text[a:b]])
        ]

    def _place(self, text: str, own: Sequence[bool], start: int, end: int) -> int | None:
        """Where to cut a token that holds content; None if it is all the template's own but for white space."""
        look = text[start:end]
        start += len(look) - len(look.lstrip())
        look = look.strip()
        if len(look) < 2 or all(own[start : start + len(look)]):
            return None
        if look not in self._cuts:
            sizes = [(len(self._encode(look[:k])) + len(self._encode(look[k:])), k) for k in range(1, len(look))]
            self._cuts[look] = min(sizes)[1]
        return start + self._cuts[look]

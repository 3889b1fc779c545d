"""Text to ids, segment by segment, such that a person's words never become a control token; and what else a tokenizer
brings to its chat template: the template itself, its special tokens, and which tokens steer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from chatlab.errors import TemplateRefused
from chatlab.template.codec import Codec, codec_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from chatlab.models.tokenizer.isolated import IsolatedTokenizer

MOST, LONGEST = 20_000, 500
"""Control tokens, and characters of one. Those that are known have 6,000 and 60."""
MARK = "\ufeff"
"""A byte order mark."""
_NEAR = 16
"""Characters of the text before that decide how the next turn is tokenized."""
Known = dict[tuple[str, tuple["Segment", ...], bool], list[int]]
"""Ids that were found before: by what stood before, the segments, and whether they had to be exact."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of text and whether it is a message's content rather than the template's own words."""

    text: str
    is_content: bool


class SegmentTokenizer:
    """Tokenizes turns with a copy of a tokenizer, so that nobody's truncation settings reach it.

    A turn is tokenized as the tokenizer would do it in place, as far as no token spans its border with the turn
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

    def tokenize(
        self, before: str, segments: Sequence[Segment], exact: bool = False, known: Known | None = None
    ) -> list[int]:
        """Ids of `segments` as they stand after the text `before`.

        With `exact`, such that decoding gives the text back, wherever the tokenizer can say it at all. What is found
        is kept in `known`, for a caller that asks for the same again.
        """
        before = before[-4 * _NEAR :]
        key = before, tuple(segments), exact
        if known is not None and key in known:
            return known[key]
        ids: list[int] = []
        for atom in self._atoms(segments):
            ids += self._continue(before, atom, exact)
            before = (before + atom)[-4 * _NEAR :]
        if known is not None:
            known[key] = ids
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
        """Ids after the end of `before`; where a token would span the border, after some neutral text."""
        alone = self._encode(atom)
        if not before:
            return alone
        near = self._near(before)
        context = self._encode(near)
        found: list[list[int]] = []
        for ids in self._candidates(near, atom, self._controls(alone)):
            if not exact or self._says(context, ids, atom):
                return ids
            # SentencePiece puts a space after a control token, and drops the first of a text that is decoded alone.
            if not found and self.text(ids) == atom:
                return ids
            found.append(ids)
        # What the tokenizer cannot say, it should at least say as it would elsewhere.
        sayable = self.text(alone)
        return next((ids for ids in found if self._says(context, ids, sayable)), [*found, alone][0])

    def _candidates(self, near: str, atom: str, controls: Sequence[int]) -> Iterator[list[int]]:
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

    def _atoms(self, segments: Sequence[Segment]) -> list[str]:
        """The text, cut inside everything in its contents that looks like a control token."""
        text = "".join(s.text for s in segments)
        if not any(s.is_content for s in segments):
            return [text] if text else []
        own = [not s.is_content for s in segments for _ in s.text]
        return self._cut(text, own) if text else []

    def _cut(self, text: str, own: Sequence[bool]) -> list[str]:
        found = self._codec.encode_with_offsets(text)
        cuts = [
            cut
            for id, (start, end) in zip(found.ids, found.offsets, strict=True)
            if id in self.control_ids and (cut := self._index_of(text, own, start, end))
        ]
        if not cuts:
            return [text]
        bounds = [0, *cuts, len(text)]
        return [
            atom
            for a, b in pairwise(bounds)
            for atom in (self._cut(text[a:b], own[a:b]) if b - a < len(text) else [text[a:b]])
        ]

    def _index_of(self, text: str, own: Sequence[bool], start: int, end: int) -> int | None:
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


def own_source(tokenizer: PreTrainedTokenizerFast | IsolatedTokenizer) -> str:
    """The chat template that a tokenizer brings, without a byte order mark: an editor put that there.

    Raises TemplateRefused where it brings none, or several of which none is the default.
    """
    source = tokenizer.chat_template
    if isinstance(source, Mapping):
        if len(source) > 1 and "default" not in source:
            raise TemplateRefused(
                f"The model brings {len(source)} chat templates and does not say which one is the default: "
                f"{', '.join(sorted(map(str, source)))[:200]}.",
                "Put the one to use into its folder as chat_template.jinja.",
            )
        source = source.get("default") or next(iter(source.values()), None)
    if not source:
        raise TemplateRefused(
            "The model brings no chat template.", "Choose a model made for chat, or give it a chat_template.jinja."
        )
    return str(source).removeprefix(MARK)


def special_tokens(tokenizer: PreTrainedTokenizerFast | IsolatedTokenizer) -> dict[str, Any]:
    """The names of special tokens, as transformers gives them to templates."""
    named = {name: str(text) for name, text in tokenizer.special_tokens_map.items() if isinstance(text, str)}
    return named | {"additional_special_tokens": [str(text) for text in tokenizer.extra_special_tokens]}


def control_tokens(tokenizer: PreTrainedTokenizerFast | IsolatedTokenizer, source: str) -> Iterator[str]:
    """Added tokens that steer: the special ones, and those that the template writes."""
    for token in tokenizer.added_tokens_decoder.values():
        if token.special or (token.content in source and not token.content.isspace()):
            yield token.content

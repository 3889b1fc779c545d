"""The mask as a person sees it: which words are read, which are learned, which do not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

Kind = Literal["read", "learned", "cut"]


@dataclass(frozen=True, slots=True)
class Span:
    """Neighbouring tokens that fare alike, as text."""

    text: str
    kind: Kind
    sequence: int = 0
    """Which training sequence it belongs to: some templates need one for every answer."""


def spans(
    ids: Sequence[int], learned: Sequence[bool], room: int, text: Callable[[Sequence[int]], str], sequence: int
) -> Iterator[Span]:
    """One sequence, token for token. Tokens past `room` are cut."""
    kinds: list[Kind] = ["cut" if k >= room else "learned" if known else "read" for k, known in enumerate(learned)]
    said = ""
    end = 0
    for kind, group in groupby(kinds):
        end += len(list(group))
        # Decoded from the start each time: a decoder may treat a first token unlike a later one.
        so_far = text(ids[:end])
        yield Span(so_far[len(said) :], kind, sequence)
        said = so_far

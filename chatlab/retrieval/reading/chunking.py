"""A text cut into passages of about 200 tokens that overlap by about 40, at ends of sentences where it can."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from semantic_text_splitter import MarkdownSplitter, TextSplitter

from chatlab.retrieval.document import Kind, Span, indexed_text, key_of

TOKENS = 200
OVERLAP = 40
LETTERS = 4.25
"""Characters of a token in languages written in Latin letters; elsewhere a character is a token or nearly."""
BLOCK = 40_000
_SAMPLE = 200_000
_DENSE = re.compile(r"[^\x00-\u024f\u1e00-\u1eff\u2000-\u206f]")


def spans(text: str, kind: Kind, title: str = "") -> tuple[Span, ...]:
    """Each passage's place in `text`. Blank passages are left out."""
    capacity = _capacity(text)
    splitter = MarkdownSplitter if kind == "markdown" else TextSplitter
    cut = splitter(capacity, overlap=capacity * OVERLAP // TOKENS)
    chunks = (
        (begin + start, chunk) for begin, end in _blocks(text) for start, chunk in cut.chunk_indices(text[begin:end])
    )
    return tuple(_placed(text, chunks, title))


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Stretches that are cut one by one: the time that cutting takes grows with the square of an unbroken line."""
    begin = 0
    while begin < len(text):
        end = begin + BLOCK
        if end < len(text):
            breaks = (text.rfind(mark, begin + BLOCK // 2, end) for mark in ("\n\n", "\n", " "))
            end = next((found + 1 for found in breaks if found >= 0), end)
        yield begin, end
        begin = end


def _placed(text: str, chunks: Iterable[tuple[int, str]], title: str) -> Iterator[Span]:
    done = at = 0
    for start, chunk in chunks:
        if chunk.strip():
            at += len(text[done:start].encode())
            done = start
            yield Span(start, start + len(chunk), key_of(indexed_text(title, chunk)), at)


def _capacity(text: str) -> int:
    """Characters that make about `TOKENS` tokens in this text, told from its letters."""
    sample = text[:_SAMPLE]
    dense = len(_DENSE.findall(sample))
    tokens = dense + (len(sample) - dense) / LETTERS
    return max(TOKENS, round(TOKENS * len(sample) / max(1.0, tokens)))

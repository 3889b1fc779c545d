"""A text cut into passages of about 200 tokens that overlap by about 40, at ends of sentences where it can."""

from __future__ import annotations

import re
from collections.abc import Iterator

from semantic_text_splitter import MarkdownSplitter, TextSplitter

from chatlab.retrieval.document import Kind, Span, indexed_text, key_of

TOKENS = 200
OVERLAP = 40
LETTERS = 4.25
"""Characters of a token in languages written in Latin letters; elsewhere a character is a token or nearly."""
_SAMPLE = 200_000
_DENSE = re.compile(r"[^\x00-\u024f\u1e00-\u1eff\u2000-\u206f]")


def spans(text: str, kind: Kind, title: str = "") -> tuple[Span, ...]:
    """Each passage's place in `text`. Blank passages are left out."""
    capacity = _capacity(text)
    splitter = MarkdownSplitter if kind == "markdown" else TextSplitter
    chunks = splitter(capacity, overlap=capacity * OVERLAP // TOKENS).chunk_indices(text)
    return tuple(_placed(text, chunks, title))


def _placed(text: str, chunks: list[tuple[int, str]], title: str) -> Iterator[Span]:
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

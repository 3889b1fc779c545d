"""A document as it is kept, and the passages that it is cut into."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

Kind = Literal["pdf", "docx", "html", "markdown", "text", "table"]

LABELS: dict[Kind, str] = {
    "pdf": "PDF",
    "docx": "Word",
    "html": "HTML",
    "markdown": "Markdown",
    "text": "Text",
    "table": "Table",
}
_KEY = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Span:
    """Where a passage lies in its document's text, and the key under which the index knows its words."""

    start: int
    """First character, from 0."""
    end: int
    """One past the last."""
    key: int
    at: int
    """Where it begins in the text as UTF-8, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentInfo:
    """What is known of a document beside its text."""

    id: str
    """sha256 of the file's bytes; so one file is one document, however often it is given."""
    name: str
    """Name of the file."""
    title: str
    kind: Kind
    size: int
    """Bytes of the file."""
    pages: int = 0
    """Pages of a PDF; rows of a table; 0 where there is no such thing."""
    characters: int = 0
    text_sha256: str = ""
    problems: tuple[str, ...] = ()
    """What of the file could not be read, in words."""
    added: str = ""
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A piece of a document, with all that is needed to cite it and to find it again."""

    document: str
    """The document's id."""
    title: str
    start: int
    end: int
    text: str

    @property
    def sha256(self) -> str:
        """Hex digest of its text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def indexed_text(title: str, text: str) -> str:
    """What the word index holds. The title stands first, even where the passage begins with it: it weighs more."""
    return f"{title}\n{text}" if title else text


def embedded_text(title: str, text: str) -> str:
    """What a passage's vector is made from: with its title, once."""
    return text if not title or text.startswith(title) else f"{title}\n{text}"


def key_of(indexed: str) -> int:
    """A passage's key by its `indexed_text`: a positive number of 63 bits, equal for equal words."""
    return int.from_bytes(hashlib.sha256(indexed.encode()).digest()[:8], "big") & _KEY

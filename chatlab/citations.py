"""Passages that an answer was given to go by, and the plain form in which a prompt holds them.

    Sources:

    [1] Harbour rules
    > Boats longer than nine metres moor at the outer pier.

    Answer the question by the sources alone and cite them as [1]. If they ... say: Not in the sources.

    Question: Where does a boat of ten metres moor?

Every line of a source stands behind `> `, so that none can pass for a line of the form; whatever a source says, it is
quoted. What looks like a control token in it is plain text, as it is in everything that a message says: see `template`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from chatlab.records import Message

NOT_THERE = "Not in the sources."
TASK = (
    f"Answer the question by the sources alone and cite them as [1]. If they do not hold the answer, say: {NOT_THERE}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievedPassage:
    """A passage as an answer was given it, kept with the answer: it can be shown when its document is gone."""

    document: str
    """sha256 of the file that it comes from."""
    title: str
    start: int
    """In characters of the document's text."""
    end: int
    text: str
    sha256: str
    """Of `text`."""

    @classmethod
    def of(cls, document: str, title: str, start: int, end: int, text: str) -> RetrievedPassage:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return cls(document=document, title=title, start=start, end=end, text=text, sha256=digest)


def with_sources(messages: Sequence[Message], given: Sequence[RetrievedPassage]) -> tuple[Message, ...]:
    """The same messages, the last question put together with its sources; as they are where there is none."""
    asked = max((at for at, message in enumerate(messages) if message.role == "user"), default=None)
    if not given or asked is None:
        return tuple(messages)
    said = replace(messages[asked], content=question(messages[asked].content, given))
    return (*messages[:asked], said, *messages[asked + 1 :])


def question(text: str, given: Sequence[RetrievedPassage]) -> str:
    """What the model is asked."""
    sources = "\n\n".join(f"[{number}] {_line(one.title)}\n{_quoted(one.text)}" for number, one in enumerate(given, 1))
    return f"Sources:\n\n{sources}\n\n{TASK}\n\nQuestion: {text}"


def _line(title: str) -> str:
    return " ".join(title.split())


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines())

"""Retrieved passages that an answer may cite, and the plain form in which a prompt holds them.

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
    """A passage as it stood in the prompt, kept with the answer: it can be shown when its document is gone."""

    document: str
    """The sha256 of the file that it comes from."""
    title: str
    start: int
    """Index of its first character in the document's text."""
    end: int
    text: str
    sha256: str
    """Hash of `text`."""

    @classmethod
    def of(cls, document: str, title: str, start: int, end: int, text: str) -> RetrievedPassage:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return cls(document=document, title=title, start=start, end=end, text=text, sha256=digest)


def with_sources(messages: Sequence[Message], sources: Sequence[RetrievedPassage]) -> tuple[Message, ...]:
    """The messages, the last question with its sources before it; unchanged where there are none."""
    last = max((at for at, message in enumerate(messages) if message.role == "user"), default=None)
    if not sources or last is None:
        return tuple(messages)
    asked = replace(messages[last], content=question(messages[last].content, sources))
    return (*messages[:last], asked, *messages[last + 1 :])


def question(text: str, sources: Sequence[RetrievedPassage]) -> str:
    """A question with its sources before it, as the model reads it."""
    numbered = (f"[{number}] {_line(one.title)}\n{_quoted(one.text)}" for number, one in enumerate(sources, 1))
    listed = "\n\n".join(numbered)
    return f"Sources:\n\n{listed}\n\n{TASK}\n\nQuestion: {text}"


def _line(title: str) -> str:
    return " ".join(title.split())


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines())

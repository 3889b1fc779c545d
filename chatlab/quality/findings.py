"""A finding: which demonstrations, what about them, why, and what can be done."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from chatlab.records import Demonstration, Message

Kind = Literal[
    "duplicate",
    "near-duplicate",
    "contradiction",
    "role marker",
    "truncated",
    "refusal",
    "markup",
    "language",
    "length",
    "personal data",
]
ORDER: tuple[Kind, ...] = get_args(Kind)
"""The most harmful first: what teaches one thing twice or two things at once, then form, then the rest."""

Deed = Literal["discard", "edit", "mask", "keep"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing that can be done about a finding, with all of `demonstrations` at once."""

    deed: Deed
    label: str
    demonstrations: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that a person should look at."""

    kind: Kind
    demonstrations: tuple[int, ...]
    """Ids, the one to keep first where there is one."""
    why: str
    """One plain sentence that quotes the evidence."""
    actions: tuple[Action, ...]
    key: str
    """Key of a finding: equal for the same kind of fault in the same words, so an edit makes it another finding."""


@dataclass(frozen=True, slots=True)
class Case:
    """A demonstration under examination."""

    id: int
    demonstration: Demonstration

    @property
    def answer(self) -> str:
        return self.demonstration.answer

    @property
    def reasoning(self) -> str:
        """What was thought before the answer."""
        messages = self.demonstration.messages
        return messages[-1].reasoning if messages else ""

    @property
    def asked(self) -> str:
        """All that stands before the answer, system message included: it is part of the question."""
        return "\n".join(message.content for message in self.demonstration.prompt)

    @property
    def question(self) -> str:
        """What the user said last."""
        return next((m.content for m in reversed(self.demonstration.prompt) if m.role == "user"), "")


def content_hash(messages: Sequence[Message]) -> str:
    """sha256 of roles, reasoning and words: changes with every edit, and with nothing else."""
    digest = hashlib.sha256()
    for message in messages:
        reasoning = f"\0{message.reasoning}" if message.reasoning else ""
        digest.update(f"{message.role}\0{message.content}{reasoning}\0\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def finding(kind: Kind, cases: Sequence[Case], why: str, *actions: Action) -> Finding:
    """A finding with "fine as it is" offered last, always."""
    fine = Action(deed="keep", label="Keep" if len(cases) == 1 else "Keep them all")
    return Finding(
        kind=kind,
        demonstrations=tuple(case.id for case in cases),
        why=why,
        actions=(*actions, fine),
        key=key_of(kind, cases),
    )


def about_one(kind: Kind, case: Case, why: str, *first: Action) -> Finding:
    """A finding on a single demonstration, which can be edited or discarded."""
    edit = Action(deed="edit", label="Edit", demonstrations=(case.id,))
    discard = Action(deed="discard", label="Discard", demonstrations=(case.id,))
    return finding(kind, [case], why, *first, edit, discard)


def key_of(kind: Kind, cases: Sequence[Case]) -> str:
    """The order of the cases does not matter."""
    hashes = sorted(content_hash(case.demonstration.messages) for case in cases)
    return hashlib.sha256(" ".join([kind, *hashes]).encode()).hexdigest()[:24]


def quoted(text: str, width: int = 60) -> str:
    """The beginning of a text, on one line, in quotation marks."""
    line = " ".join(text.split())
    return f"“{line}”" if len(line) <= width else f"“{line[: width - 1].rstrip()}…”"


def quoted_end(text: str, width: int = 40) -> str:
    """The end of a text, on one line, in quotation marks."""
    line = " ".join(text.split())
    return f"“{line}”" if len(line) <= width else f"“…{line[1 - width :].lstrip()}”"


def counts(findings: Sequence[Finding]) -> Mapping[Kind, int]:
    """How many findings there are of each kind, in order, kinds without any left out."""
    found = {kind: sum(each.kind == kind for each in findings) for kind in ORDER}
    return {kind: number for kind, number in found.items() if number}

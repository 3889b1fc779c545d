"""What people say of answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chatlab.records.messages import Message, Provenance

Reason = Literal[
    "not correct", "ignored my instruction", "wrong voice", "too long", "should have refused", "should not have refused"
]
Verdict = Literal["best", "tie", "both bad"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """A thumb and why."""

    liked: bool
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """How one annotator rated a demonstration."""

    by: str
    stars: int
    """From 1, harmful to learn, to 5, just as it should be."""
    content_hash: str
    """`Demonstration.content_hash` of what was judged; once that changes, the annotation is of something else."""
    note: str = ""
    created: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """Somebody preferred one answer to another to the same prompt."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    source: Literal["edit", "compare", "imported"]
    chosen_by: Provenance | None = None
    """None when a person wrote it."""
    rejected_by: Provenance | None = None
    created: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """Somebody's verdict on several answers to one prompt, seen side by side."""

    prompt: tuple[Message, ...]
    answers: tuple[str, ...]
    provenances: tuple[Provenance, ...]
    """One for each answer, in the order in which they were shown."""
    verdict: Verdict
    winner: int | None = None
    """Index of the best answer, for the verdict `best`."""
    blind: bool = True
    """Whether the names were hidden until then. Only such votes are counted."""
    created: str = ""

    def check(self) -> None:
        """Raises ValueError unless it has a prompt, a provenance for each answer, and its winner among them."""
        if not self.prompt:
            raise ValueError("it has no prompt")
        if len(self.answers) != len(self.provenances):
            raise ValueError(f"{len(self.answers)} answers of {len(self.provenances)} models")
        if self.winner is not None and not 0 <= self.winner < len(self.answers):
            raise ValueError(f"answer {self.winner} of {len(self.answers)} is said to be the best")

"""From what is wrong, or wanted, to what helps: two tables, with what was measured here beside each row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from chatlab.lab.data.quality import Quality
from chatlab.lab.guide.answer_length import AnswerLengths
from chatlab.lab.runs.prompt_mismatch import MismatchCheck
from chatlab.lab.variants import Variants
from chatlab.records import Reason
from chatlab.store import Store

Remedy = Literal[
    "message",
    "knowledge",
    "demonstrate",
    "prefer",
    "delegate",
    "retrain",
    "audit",
    "mask",
    "refuse",
    "budget",
    "identity",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table."""

    key: str
    seen: str
    """What a person sees or wants."""
    why: str
    does: str
    """What helps, in a sentence."""
    remedies: tuple[Remedy, ...]
    """The likeliest first."""


SYMPTOMS: tuple[Row, ...] = (
    Row(
        key="ignores",
        seen="It ignores instructions",
        why="The model has not learned to follow requests.",
        does="Put the instruction in the system message. If that fails, train on more varied demonstrations.",
        remedies=("message", "demonstrate"),
    ),
    Row(
        key="mediocre",
        seen="Right format, mediocre answers",
        why="Demonstrations show how to answer, not which of two answers is better.",
        does="Compare answers side by side. Each vote is stored as a preference pair.",
        remedies=("prefer",),
    ),
    Row(
        key="wavers",
        seen="The tone changes between answers",
        why="The demonstrations contradict each other or mix tones.",
        does="Find contradictions and keep one tone.",
        remedies=("audit", "identity"),
    ),
    Row(
        key="invents",
        seen="It makes things up",
        why="Training rewards likely words, not true ones.",
        does="Add documents or tools, and demonstrate when to say “I do not know”.",
        remedies=("knowledge", "delegate", "refuse"),
    ),
    Row(
        key="forgot",
        seen="It lost skills after training",
        why="The training was too strong, so the model forgot.",
        does="Use fewer epochs, a lower learning rate or a higher KL weight. Each run measures forgetting.",
        remedies=("retrain",),
    ),
    Row(
        key="plays both",
        seen="It writes the user's turn too",
        why="The user's messages were trained on, or end-of-turn tokens were not.",
        does="Check a demonstration's loss mask: only blue text is trained on. The comparison shows its effect.",
        remedies=("mask",),
    ),
    Row(
        key="rambles",
        seen="Answers get longer",
        why="The model copies the length of its training data.",
        does="Set max tokens, and demonstrate short answers. See the averages below.",
        remedies=("budget", "demonstrate"),
    ),
    Row(
        key="who",
        seen="It does not know who it is",
        why="Name, maker and date come from the system message or from training.",
        does="Add them to the system message, and train identity demonstrations with it.",
        remedies=("message", "identity"),
    ),
    Row(
        key="counts",
        seen="It fails at counting and arithmetic",
        why="Models read tokens, not letters or digits. Training does not change that.",
        does="Turn on tools.",
        remedies=("delegate",),
    ),
)

WISHES: tuple[Row, ...] = (
    Row(
        key="once",
        seen="A one-off behaviour",
        why="A system message is free and quick to change.",
        does="Try the system message before training. If it works, stop there.",
        remedies=("message",),
    ),
    Row(
        key="tone",
        seen="A consistent tone",
        why="A system message works in simple cases; training makes it reliable.",
        does="Write 100 or more demonstrations in that tone and retrain.",
        remedies=("demonstrate", "retrain"),
    ),
    Row(
        key="form",
        seen="A fixed format, such as JSON",
        why="Demonstrations teach formats well; a few hundred are enough.",
        does="Demonstrate it on varied requests and retrain.",
        remedies=("demonstrate", "retrain"),
    ),
    Row(
        key="field",
        seen="The language of a profession",
        why="The model knows the words, but not when to use them.",
        does="Import 1,000 or more demonstrations by experts.",
        remedies=("demonstrate", "retrain"),
    ),
    Row(
        key="facts",
        seen="New or exact facts",
        why="Training does not teach facts reliably.",
        does="Add documents to Knowledge: answers use and cite them.",
        remedies=("knowledge",),
    ),
    Row(
        key="better",
        seen="Better answers",
        why="Quality is learned from comparing answers.",
        does="Vote between answers in a blind comparison.",
        remedies=("prefer",),
    ),
    Row(
        key="tools",
        seen="Arithmetic, code and lookups",
        why="Programs compute exactly; models guess.",
        does="Turn on tools in Chat, and keep good tool calls as demonstrations.",
        remedies=("delegate",),
    ),
)

REASONS: Mapping[Reason, str] = {
    "ignored my instruction": "ignores",
    "wrong voice": "wavers",
    "not correct": "invents",
    "too long": "rambles",
}
"""What a thumb down says, and the symptom that it is a sign of."""


class Symptoms:
    """What was measured, or said by a person, of each row. Nothing where nothing was."""

    def __init__(
        self, store: Store, variants: Variants, quality: Quality, mismatch: MismatchCheck, answer_lengths: AnswerLengths
    ) -> None:
        self._store = store
        self._variants = variants
        self._quality = quality
        self._mismatch = mismatch
        self._answer_lengths = answer_lengths

    def evidence(self) -> dict[str, str]:
        """A sentence with a figure for each row that has one."""
        found = self._thumbs() | self._card()
        clashes = sum(each.kind == "contradiction" for each in self._quality.known())
        if clashes:
            found["wavers"] = f"{clashes} contradiction{'' if clashes == 1 else 's'} in the demonstrations."
        if growth := self._answer_lengths.report().growth:
            longest = max(growth, key=lambda one: one.times)
            found["rambles"] = f"Answers are {longest.times:.1f} times as long as {_before(longest.since)}."
        taught = self._mismatch.trained()
        if taught is not None and not taught.identity:
            found["who"] = "The live adapter has no identity demonstrations."
        return found

    def _thumbs(self) -> dict[str, str]:
        """Thumbs down on answers of the live variant."""
        live = self._variants.live
        rated = (t for _, c in self._store.conversations.rows() for t in c.turns if t.rating and not t.rating.liked)
        base = self._variants.model
        said = Counter(
            reason
            for turn in rated
            if turn.provenance and turn.provenance.adapter == live and turn.provenance.base.startswith(base)
            for reason in (turn.rating.reasons if turn.rating else ())
        )
        return {
            key: f"Rated “{reason.replace('voice', 'tone')}” on {times} answer{'' if times == 1 else 's'} by {live}."
            for reason, key in REASONS.items()
            if (times := said[reason])
        }

    def _card(self) -> dict[str, str]:
        """What the live adapter's card says."""
        card = self._variants.live_card
        if card is None:
            return {}
        found = {}
        if card.forgetting is not None:
            found["forgot"] = f"{card.name}: {card.forgetting:+.1f} % forgetting."
        if (metrics := card.reply_metrics_after) is not None and metrics.replies:
            found["plays both"] = f"{metrics.role_leaks} of {metrics.replies} replies of {card.name} do this."
        return found


def _before(since: str) -> str:
    return "the previous adapter's" if since == "earlier adapter" else "the training data"

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
        seen="It does not do what it is told",
        why="It has not yet learned what a chat is: that a request is answered.",
        does="Say it in the system message first. If that does not hold, show it more demonstrations, of many kinds.",
        remedies=("message", "demonstrate"),
    ),
    Row(
        key="mediocre",
        seen="The form is right, the answers are middling",
        why="Demonstrations teach how to answer. Which of two answers is the better one, they do not say.",
        does="Choose between answers side by side: every choice is a preference to train on.",
        remedies=("prefer",),
    ),
    Row(
        key="wavers",
        seen="It sounds like somebody else from one answer to the next",
        why="The demonstrations say different things, or speak in different voices.",
        does="Look for contradictions among them, and keep one voice.",
        remedies=("audit", "identity"),
    ),
    Row(
        key="invents",
        seen="It states what is not so, with confidence",
        why="Training on answers rewards the likely word, not the true one; no training mends that.",
        does="Give it documents to read from, or tools to look things up with; and show it when to say: I do not know.",
        remedies=("knowledge", "delegate", "refuse"),
    ),
    Row(
        key="forgot",
        seen="It can no longer do what it used to do",
        why="It was trained too hard, and lost some of what it knew.",
        does="Train more gently: fewer passes, a lower rate, a tighter leash. The figure is measured in every run.",
        remedies=("retrain",),
    ),
    Row(
        key="plays both",
        seen="It writes the other side of the talk as well",
        why="Words of the user were learned, not only read; or an answer's end was not learned.",
        does="Look at the mask of a demonstration: grey is read, blue is learned. A trial shows what the mask changes.",
        remedies=("mask",),
    ),
    Row(
        key="rambles",
        seen="Answers get longer and cost more",
        why="It cannot tell how much an answer needs; it writes as long as what it was shown, or longer.",
        does="Set a budget of tokens, and demonstrate short answers. Averages are drawn below.",
        remedies=("budget", "demonstrate"),
    ),
    Row(
        key="who",
        seen="It does not know who it is",
        why="Name, maker and today's date are in no model. They are told at run time, trained in, or both.",
        does="Write them into the system message, and teach it some identity demonstrations under that message.",
        remedies=("message", "identity"),
    ),
    Row(
        key="counts",
        seen="It miscounts letters and gets sums wrong",
        why="It sees pieces of words, not letters or digits. It is built so, and training does not change it.",
        does="Let it hand such work to a tool.",
        remedies=("delegate",),
    ),
)

WISHES: tuple[Row, ...] = (
    Row(
        key="once",
        seen="Something different for one case",
        why="A message costs nothing, and is changed in a second.",
        does="Try the system message before anything is trained. If it does what you want, stop there.",
        remedies=("message",),
    ),
    Row(
        key="voice",
        seen="Always the same voice",
        why="A message holds in simple cases; training makes it reliable.",
        does="Demonstrate the voice, a hundred times or more, and retrain.",
        remedies=("demonstrate", "retrain"),
    ),
    Row(
        key="form",
        seen="Always the same form, such as JSON",
        why="Form is what demonstrations teach best; some hundred are enough.",
        does="Demonstrate it on many kinds of requests, and retrain.",
        remedies=("demonstrate", "retrain"),
    ),
    Row(
        key="field",
        seen="The words and manners of a profession",
        why="It knows the words; it has to be shown when to use them.",
        does="A thousand demonstrations or more from people of that field. Import what you have.",
        remedies=("demonstrate", "retrain"),
    ),
    Row(
        key="facts",
        seen="Facts: new ones, or ones that must be right",
        why="Training hardly teaches facts, and teaches none reliably.",
        does="Put the documents into Knowledge: it reads them when it answers, and cites them.",
        remedies=("knowledge",),
    ),
    Row(
        key="better",
        seen="Better answers, not other ones",
        why="Demonstrations teach a manner; better is learned from comparing.",
        does="Vote between answers, names hidden.",
        remedies=("prefer",),
    ),
    Row(
        key="tools",
        seen="Sums, code, and looking things up",
        why="What a program does exactly, a model should not guess.",
        does="Switch tools on in the chat; keep good uses of them as demonstrations.",
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
            found["wavers"] = f"{clashes} contradiction{'' if clashes == 1 else 's'} found among the demonstrations."
        if growth := self._answer_lengths.report().growth:
            longest = max(growth, key=lambda one: one.times)
            found["rambles"] = f"Answers are {longest.times:.1f} times as long as {_before(longest.since)}."
        taught = self._mismatch.trained()
        if taught is not None and not taught.identity:
            found["who"] = "None of the demonstrations that the live adapter learned asks it who it is."
        return found

    def _thumbs(self) -> dict[str, str]:
        """Thumbs down on answers of the live voice."""
        live = self._variants.live
        rated = (t for _, c in self._store.conversations.rows() for t in c.turns if t.rating and not t.rating.liked)
        said = Counter(r for t in rated if t.provenance and t.provenance.adapter == live for r in t.rating.reasons)  # type: ignore[union-attr]
        return {
            key: f"You said “{reason}” of {said[reason]} answer{'' if said[reason] == 1 else 's'} by {live}."
            for reason, key in REASONS.items()
            if said[reason]
        }

    def _card(self) -> dict[str, str]:
        """What the live adapter's card says."""
        card = self._variants.live_card
        if card is None:
            return {}
        found = {}
        if card.forgetting is not None:
            found["forgot"] = f"{card.name} forgot {max(0.0, card.forgetting):.1f} % of its general English."
        if (metrics := card.reply_metrics_after) is not None and metrics.replies:
            found["plays both"] = f"{metrics.role_leaks} of {metrics.replies} replies of {card.name} strayed so."
        return found


def _before(since: str) -> str:
    return "the adapter's before" if since == "earlier voice" else "the ones that it learned"

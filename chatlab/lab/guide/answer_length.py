"""What answers cost: tokens per answer, adapter by adapter, over time, from the answers that are kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from chatlab.conversation import Conversation
from chatlab.errors import ChatlabError
from chatlab.evaluation.length_drift import LEAST, Growth, Lengths, grown
from chatlab.lab.models import ModelHost
from chatlab.lab.runs.prompt_mismatch import MismatchCheck
from chatlab.lab.variants import Variants
from chatlab.records import BASE, AdapterCard
from chatlab.store import Store
from chatlab.system.clock import seconds_of
from chatlab.template.codec import codec_of

WHOLE = ("end", "length")
"""How an answer ended whose length counts."""
POINTS = 60
"""Most points of a variant in the plot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLength:
    """One answer."""

    variant: str
    """sha256 of the adapter's weights; for a base alone, its fingerprint."""
    name: str
    """What the variant was called then; for a base alone, the base's own name."""
    tokens: int
    at: str
    """ISO 8601, UTC."""
    base: str = ""
    """Fingerprint of the base."""

    @property
    def is_base(self) -> bool:
        """Whether no adapter was on it."""
        return self.variant == self.base


@dataclass(frozen=True, slots=True, kw_only=True)
class Average:
    """Answers of one variant in one stretch of time."""

    at: str
    """Where the stretch begins."""
    mean: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthReport:
    """How long the live variant's answers are."""

    name: str
    now: Lengths
    earlier: str = ""
    """The adapter that spoke before it, where one gave answers enough."""
    before: Lengths | None = None
    taught: Lengths | None = None
    """Lengths of a sample of the answers that it learned."""
    growth: tuple[Growth, ...] = ()


class AnswerLengths:
    """Goes through the conversations that have changed since it was asked last, and remembers the rest."""

    def __init__(self, store: Store, machine: ModelHost, variants: Variants, mismatch: MismatchCheck) -> None:
        self._store = store
        self._machine = machine
        self._variants = variants
        self._mismatch = mismatch
        self._seen: dict[int, tuple[Conversation, tuple[AnswerLength, ...]]] = {}
        self._answers: list[AnswerLength] = []
        self._report: tuple[tuple[object, ...], LengthReport] | None = None
        self._taught: tuple[str, Lengths | None] = ("", None)

    def answers(self) -> list[AnswerLength]:
        """All that are kept, the oldest first. Deleted and incognito conversations are not among them."""
        seen, now = self._seen, dict(self._store.conversations.rows())
        changed = {id: c for id, c in now.items() if id not in seen or seen[id][0] is not c}
        if changed or len(now) != len(seen):
            self._seen = {id: (c, _answers_in(c) if id in changed else seen[id][1]) for id, c in now.items()}
            answers = (one for _, some in self._seen.values() for one in some)
            self._answers = sorted(answers, key=lambda one: one.at)
        return self._answers

    def averages(self) -> dict[str, list[Average]]:
        """Averages by variant as it is called now, in the order they first spoke: of hours, days or weeks, as fits."""
        answers = self.answers()
        width = _width(answers[0].at, answers[-1].at) if answers else 0
        lines: dict[str, dict[int, list[AnswerLength]]] = defaultdict(lambda: defaultdict(list))
        names = self._names()
        for one in answers:
            lines[names.get(one.variant, one.name)][_seconds(one.at) // width].append(one)
        return {name: [_average(some) for _, some in sorted(line.items())] for name, line in lines.items()}

    def report(self) -> LengthReport:
        """Lengths of the live variant's answers, and whether they grow: see `evaluation.length_drift`."""
        card = self._variants.live_card
        answers = self.answers()
        lessons = self._lessons(card.sha256) if card else None
        seen = (answers, card, lessons, self._machine.fingerprint)
        if self._report is None or any(a is not b and a != b for a, b in zip(self._report[0], seen, strict=True)):
            self._report = (seen, self._worked_out(answers, card, lessons))
        return self._report[1]

    def _worked_out(
        self, answers: list[AnswerLength], card: AdapterCard | None, taught: Lengths | None
    ) -> LengthReport:
        variant = card.sha256 if card else self._base(answers)
        tokens: dict[str, list[int]] = defaultdict(list)
        first: dict[str, str] = {}
        base = next((one.base for one in reversed(answers) if one.variant == variant), "")
        for one in answers:
            tokens[one.variant].append(one.tokens)
            if one.base == base and not one.is_base:
                first.setdefault(one.variant, one.at)
        now = Lengths.of(tokens[variant])
        earlier = self._earlier(variant, tokens, first)
        before = Lengths.of(tokens[earlier]) if earlier else None
        return LengthReport(
            name=card.name if card else BASE,
            now=now,
            earlier=next((one.name for one in reversed(answers) if earlier and one.variant == earlier), ""),
            before=before,
            taught=taught,
            growth=tuple(grown(now, before, taught)),
        )

    def _earlier(self, variant: str, tokens: Mapping[str, list[int]], first: Mapping[str, str]) -> str:
        """The last other adapter of the base that began to speak before this one did and has said enough."""
        begun = first.get(variant, "~")
        others = [v for v in first if v != variant and first[v] < begun and len(tokens[v]) >= LEAST]
        return max(others, key=lambda v: first[v], default="")

    def _lessons(self, variant: str) -> Lengths | None:
        """Only once the engine is open: nobody waits for a tokenizer to see how long answers are."""
        if self._taught[0] != variant and self._machine.started:
            try:
                self._taught = (variant, self._measured())
            except ChatlabError:
                self._taught = (variant, None)
        return self._taught[1] if self._taught[0] == variant else None

    def _measured(self) -> Lengths | None:
        taught = self._mismatch.trained()
        if taught is None or not taught.answers:
            return None
        codec = codec_of(self._machine.base.tokenizer.backend_tokenizer)
        return Lengths.of([len(codec.encode(answer)) for answer in taught.answers])

    def _names(self) -> dict[str, str]:
        cards = reversed(self._variants.all_cards())
        return {self._machine.fingerprint: BASE} | {card.sha256: card.name for card in cards}

    def _base(self, answers: list[AnswerLength]) -> str:
        """Fingerprint of the base that answers, or while it is not open, of the one that did last."""
        last = next((one.variant for one in reversed(answers) if one.is_base), "")
        return self._machine.fingerprint or last


def _answers_in(conversation: Conversation) -> tuple[AnswerLength, ...]:
    return tuple(
        AnswerLength(
            variant=t.provenance.sha256 or t.provenance.base,
            name=t.provenance.adapter if t.provenance.sha256 else t.provenance.base_name or BASE,
            base=t.provenance.base,
            tokens=t.provenance.tokens,
            at=t.created,
        )
        for t in conversation.turns
        if t.provenance is not None and t.stopped in WHOLE and seconds_of(t.created) is not None
    )


def _seconds(at: str) -> int:
    """Seconds since the epoch of an answer that was let in above, and so has a time."""
    return seconds_of(at) or 0


def _width(first: str, last: str) -> int:
    """Seconds: an hour, a day, a week or as many as it takes for the line to have no more than POINTS points."""
    span = _seconds(last) - _seconds(first)
    return next((w for w in (3600, 86400, 7 * 86400) if span / w <= POINTS), span // POINTS + 1)


def _average(some: list[AnswerLength]) -> Average:
    return Average(at=some[0].at, mean=sum(one.tokens for one in some) / len(some), count=len(some))

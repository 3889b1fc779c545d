"""Lineage both ways: from a demonstration to the adapters that learned it, and back to the exact words of then."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import orjson

from chatlab.adapters import Adapters
from chatlab.errors import AdapterError, TrainingError
from chatlab.records import AdapterCard, Message, Role, digest
from chatlab.store import Store
from chatlab.system.codec import from_document
from chatlab.system.files import read_regular
from chatlab.training.process.runs import RunView

Part = Literal["learned", "held out", "left out"]
Now = Literal["same", "edited", "discarded", "deleted"]

KEPT = 64
"""Adapters whose demonstrations are remembered."""
LARGEST = 1 << 28
"""Bytes of a snapshot: a hundred thousand long demonstrations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """An adapter that learned a demonstration."""

    adapter: str
    created: str
    changed: bool | None
    """Whether the demonstration says something else by now; None where the words of then are gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedExample:
    """A demonstration as a run's snapshot has it."""

    id: int
    messages: tuple[Message, ...]
    part: Part
    now: Now
    """What has become of it in the store."""
    preferred: bool = False
    """Whether it is a preference's chosen answer, and `id` that of the preference."""

    @property
    def asked(self) -> str:
        """What the user said last."""
        return next((m.content for m in reversed(self.messages[:-1]) if m.role == "user"), "")

    @property
    def answer(self) -> str:
        return self.messages[-1].content if self.messages else ""


class _Row(NamedTuple):
    """A line of a snapshot."""

    id: int
    messages: tuple[Message, ...]


class Lineage:
    """Reads what lies in the adapters' own folders, so that it outlives the runs; a run's folder where that is all."""

    def __init__(self, store: Store, adapters: Adapters, runs: Path) -> None:
        self._store = store
        self._adapters = adapters
        self._runs = runs
        self._digests: dict[tuple[str, str], dict[int, str]] = {}

    def learned_by(self, demonstration_id: int) -> list[Learned]:
        """The newest adapter first."""
        cards = [card for card in self._adapters.cards() if demonstration_id in card.demonstrations]
        content_hash = self._content_hash(demonstration_id) if cards else None
        return [self._learned(card, demonstration_id, content_hash) for card in cards]

    def examples(self, adapter: str) -> list[TrainedExample]:
        """All that its run read, in the order of the snapshot. Raises TrainingError where nobody has kept it."""
        card = next((card for card in self._adapters.cards() if card.name == adapter), None)
        file = self._file(card) if card else None
        if card is None or file is None:
            raise TrainingError(
                f"The training data of {adapter} is no longer stored.", "The adapter card has their ids."
            )
        learned, preferred = _learned(card), bool(card.preferences)
        return [self._example(row, "learned" if row.id in learned else "held out", preferred) for row in _rows(file)]

    def learned(self, card: AdapterCard) -> list[tuple[Message, ...]]:
        """The words that an adapter learned, those kept aside left out. Raises TrainingError, AdapterError."""
        file = self._file(card)
        if file is None:
            raise TrainingError(
                f"The training data of {card.name} is no longer stored.", "The adapter card has their ids."
            )
        learned = _learned(card)
        return [row.messages for row in _rows(file) if row.id in learned]

    def run_examples(self, run: RunView) -> list[TrainedExample]:
        """The same for a run, which may not have ended. Raises TrainingError for a snapshot that cannot be read."""
        aside = set(run.result.held_out) if run.result else set()
        dropped = {d.id for d in run.result.dropped} if run.result else set()

        def part(number: int) -> Part:
            return "held out" if number in aside else "left out" if number in dropped else "learned"

        preferred = bool(run.request.preferences)
        return [self._example(row, part(row.id), preferred) for row in _rows(run.folder / "snapshot.jsonl")]

    def _learned(self, card: AdapterCard, demonstration_id: int, content_hash: str | None) -> Learned:
        then = self._learned_hashes(card).get(demonstration_id)
        return Learned(adapter=card.name, created=card.created, changed=None if then is None else then != content_hash)

    def _content_hash(self, demonstration_id: int) -> str | None:
        """Content hash of a demonstration as it is now; None for one that is gone."""
        kept = self._store.demonstrations
        return kept.get(demonstration_id).content_hash if demonstration_id in kept else None

    def _learned_hashes(self, card: AdapterCard) -> dict[int, str]:
        """Content hashes of what an adapter was trained on, by demonstration; empty where that is not kept."""
        key = (card.sha256, card.snapshot)
        if key not in self._digests:
            if len(self._digests) >= KEPT:
                self._digests.clear()
            try:
                file = self._file(card) if not card.preferences else None
                rows = _rows(file) if file else []
            except (AdapterError, TrainingError):
                rows = []
            self._digests[key] = {row.id: digest(row.messages) for row in rows}
        return self._digests[key]

    def _file(self, card: AdapterCard) -> Path | None:
        """The snapshot with the adapter, or else with its run."""
        if (own := self._adapters.demonstrations(card.name)) is not None:
            return own
        file = self._runs / card.run / "snapshot.jsonl"
        return file if card.run and file.is_file() else None

    def _example(self, row: _Row, part: Part, preferred: bool) -> TrainedExample:
        """Of a demonstration, or of a preference: its chosen answer, as long as that is kept."""
        now = self._now(row.id, row.messages)
        if preferred:
            now = "same" if row.id < 0 or row.id in self._store.preferences else "deleted"
        return TrainedExample(id=row.id, messages=row.messages, part=part, now=now, preferred=preferred)

    def _now(self, number: int, messages: Iterable[Message]) -> Now:
        if number not in self._store.demonstrations:
            return "deleted"
        kept = self._store.demonstrations.get(number)
        if kept.messages != tuple(messages):
            return "edited"
        return "discarded" if kept.status == "discarded" else "same"


def _learned(card: AdapterCard) -> set[int]:
    """Ids of the snapshot's rows that its run learned."""
    return set(card.preferences or card.demonstrations)


def _rows(file: Path) -> list[_Row]:
    """Raises TrainingError: an adapter from elsewhere may bring anything under that name."""
    try:
        return [_row(orjson.loads(line)) for line in read_regular(file, LARGEST).split(b"\n") if line]
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)[:200]
        raise TrainingError(f"The snapshot of demonstrations cannot be read: {why}.") from error


def _row(raw: dict[str, Any]) -> _Row:
    number, messages = raw["id"], tuple(from_document(Message, said) for said in raw["messages"])
    if type(number) is not int:
        raise ValueError(f"{number!r:.80} is no demonstration's number")
    if odd := next((m.role for m in messages if m.role not in get_args(Role)), None):
        raise ValueError(f"{odd!r:.80} is no role")
    return _Row(number, messages)

"""One import: rows into the store in batches, what is there already passed over, with the way back kept."""

from __future__ import annotations

import csv
import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TextIO

import orjson

from chatlab.formats import DatasetReader, Outcome, Prompt, Proposal, Record, Refused, escape_cell
from chatlab.lab.data.unseen import Unseen
from chatlab.records import Demonstration, Preference, Status
from chatlab.store import RecordCollection, Store
from chatlab.system.clock import now
from chatlab.system.files import private_folder

State = Literal["reading", "done", "stopped", "failed"]

RECORD_KEY = "last import"
"""Key of the ImportRecord in the store's state."""
BATCH = 1000
"""Records that reach the disk together."""
LISTED = 200
"""Refused rows that are kept at hand; the file of refused rows has them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an import has come. What is counted as kept is on the disk."""

    name: str
    """Name of the file."""
    counts: str = "line"
    """What a refused row's number counts: lines of the file, or rows."""
    share: float = 0.0
    """Share of the file that was read, 0 to 1."""
    rows: int = 0
    kept: int = 0
    known: int = 0
    """Rows that say what is in the store already, word for word."""
    aside: tuple[int, ...] = ()
    """Ids of those kept that repeat an unseen prompt, and so wait instead of being approved."""
    refused: int = 0
    reasons: tuple[Refused, ...] = ()
    """The first of them."""
    report: Path | None = None
    """A CSV file of all refused rows."""
    seconds: float = 0.0
    state: State = "reading"
    problem: str = ""
    """Why it failed."""


@dataclass(slots=True)
class IdRanges:
    """Ids as ranges without a gap: an import of any size takes a few numbers."""

    ranges: list[list[int]] = field(default_factory=list)
    """First and last of each."""

    def add(self, ids: list[int]) -> None:
        for one in ids:
            if self.ranges and self.ranges[-1][1] == one - 1:
                self.ranges[-1][1] = one
            else:
                self.ranges.append([one, one])

    def present(self, collection: RecordCollection[Any]) -> list[int]:
        """Those of them that still have a record; takes no longer for a range of any length."""
        return [id for first, last in self.ranges for id in collection.between(first, last)]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecord:
    """An ImportRecord as the store keeps it."""

    name: str
    demonstrations: tuple[tuple[int, int], ...]
    preferences: tuple[tuple[int, int], ...]
    prompts: tuple[str, ...] = ()


@dataclass(slots=True)
class ImportRecord:
    """What the last import added, so that all of it can be taken out in one go, after a restart too."""

    name: str
    """Name of the file."""
    demonstrations: IdRanges = field(default_factory=IdRanges)
    preferences: IdRanges = field(default_factory=IdRanges)
    prompts: list[str] = field(default_factory=list)
    """Unseen prompts."""

    @classmethod
    def last(cls, store: Store) -> ImportRecord | None:
        stored = store.state.read(RECORD_KEY, StoredRecord, None)
        if stored is None:
            return None
        return cls(
            stored.name,
            IdRanges(list(map(list, stored.demonstrations))),
            IdRanges(list(map(list, stored.preferences))),
            list(stored.prompts),
        )

    def save(self, store: Store) -> None:
        """Keep it in the store, in place of the one before."""
        ranges = {"demonstrations": self.demonstrations.ranges, "preferences": self.preferences.ranges}
        store.state.set(RECORD_KEY, {"name": self.name, **ranges, "prompts": self.prompts})

    def count(self, store: Store, unseen: Unseen) -> int:
        """How many of them are still there."""
        prompts = len(set(self.prompts).intersection(unseen.prompts())) if self.prompts else 0
        return (
            prompts
            + len(self.demonstrations.present(store.demonstrations))
            + len(self.preferences.present(store.preferences))
        )

    def undo(self, store: Store, unseen: Unseen) -> int:
        """Remove what is still there of it; how many records that was."""
        prompts = unseen.take_out(self.prompts) if self.prompts else 0
        gone = store.demonstrations.remove(self.demonstrations.present(store.demonstrations))
        pairs = store.preferences.remove(self.preferences.present(store.preferences))
        store.state.set(RECORD_KEY, None)
        return prompts + len(gone) + len(pairs)


class ImportJob:
    """Iterate over it to do the work. Whoever stops early has what was kept so far, and can take it back."""

    def __init__(
        self,
        store: Store,
        unseen: Unseen,
        path: Path,
        proposal: Proposal,
        tags: Sequence[str],
        status: Status | None,
        report: Path,
    ) -> None:
        """`status` None leaves it to the file. Raises FormatRefused where a needed column was not chosen."""
        self._store = store
        self._unseen = unseen
        self._reading = DatasetReader(path, proposal)
        self._tags = tuple(tags)
        self._status = status
        self._report = _Report(report, proposal.container.counts)
        self._name = path.name
        self._waiting: list[Record] = []
        self._prompts: dict[str, int] = {}
        """The prompts that wait, and the lines that they stood in."""
        self._seen = _known_digests(store)
        self._began = time.monotonic()
        self._rows = self._kept = self._known = 0
        self._record = ImportRecord(name=path.name)
        self._aside: list[int] = []

    def __iter__(self) -> Iterator[Progress]:
        """A value for every batch of rows; the last one is done."""
        with self._report:
            for outcome in self._reading:
                self._rows += 1
                self._take(outcome)
                if self._rows % BATCH == 0:
                    self._keep()
                    yield self.progress()
            self._keep()
        yield self.progress("done")

    def progress(self, state: State = "reading", problem: str = "") -> Progress:
        return Progress(
            name=self._name,
            counts=self._report.counts,
            share=1.0 if state == "done" else self._reading.share,
            rows=self._rows,
            kept=self._kept,
            known=self._known,
            aside=tuple(self._aside),
            refused=self._report.count,
            reasons=tuple(self._report.first),
            report=self._report.path if self._report.count else None,
            seconds=time.monotonic() - self._began,
            state=state,
            problem=problem,
        )

    def _take(self, outcome: Outcome) -> None:
        if isinstance(outcome, Refused):
            self._report.write(outcome)
            return
        if isinstance(outcome.record, Prompt):
            self._prompts.setdefault(outcome.record.text, outcome.line)
            return
        digest = _digest(outcome.record)
        if digest in self._seen:
            self._known += 1
        else:
            self._seen.add(digest)
            self._waiting.append(self._completed(outcome.record))

    def _completed(self, record: Record) -> Record:
        """A record with the tags and the status that were asked for, and a date."""
        if isinstance(record, Preference):
            return record if record.created else replace(record, created=now())
        tags = tuple(dict.fromkeys((*record.tags, *self._tags))) if self._tags else record.tags
        status = self._status or record.status
        if record.created and tags == record.tags and status == record.status:
            return record
        return replace(record, tags=tags, status=status, created=record.created or now())

    def _keep(self) -> None:
        """Write what waits, and how to undo that, to the disk."""
        if self._prompts:
            self._keep_prompts()
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        given = [one for one in waiting if isinstance(one, Demonstration)]
        demonstrations = [self._unseen.waiting(one) for one in given]
        preferences = [one for one in waiting if isinstance(one, Preference)]
        ids = self._store.demonstrations.add_many(demonstrations)
        self._record.demonstrations.add(ids)
        self._record.preferences.add(self._store.preferences.add_many(preferences))
        self._record.save(self._store)
        self._aside += [i for i, was, one in zip(ids, given, demonstrations, strict=True) if one is not was]
        self._kept += len(waiting)

    def _keep_prompts(self) -> None:
        waiting, self._prompts = self._prompts, {}
        change, left_out = self._unseen.add_where_free(list(waiting))
        self._record.prompts += change.added
        self._record.save(self._store)
        self._kept += len(change.added)
        for prompt, reason in left_out.items():
            self._report.write(Refused(waiting.get(prompt, 0), reason))


class _Report:
    """Refused rows in a CSV file, which is not there while there are none; the first of them at hand too."""

    def __init__(self, path: Path, counts: str) -> None:
        self.path = path
        self.counts = counts
        self.count = 0
        self.first: list[Refused] = []
        self._file: TextIO | None = None

    def __enter__(self) -> _Report:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def write(self, refused: Refused) -> None:
        if self._file is None:
            private_folder(self.path.parent)
            self._file = self.path.open("w", encoding="utf-8-sig", newline="")
            csv.writer(self._file).writerow([self.counts, "reason"])
        csv.writer(self._file).writerow([refused.line, escape_cell(refused.reason)])
        self.count += 1
        if len(self.first) < LISTED:
            self.first.append(refused)


def _known_digests(store: Store) -> set[bytes]:
    """Digests of all records in the store, 16 bytes each."""
    found = {_digest(one) for _, one in store.demonstrations.rows()}
    return found | {_digest(one) for _, one in store.preferences.rows()}


def _digest(record: Record) -> bytes:
    """Equal for records that say the same, word for word."""
    if isinstance(record, Demonstration):
        said: list[str] = ["demonstration"]
        messages = record.messages
    else:
        said = ["preference", record.chosen, record.rejected]
        messages = record.prompt
    for message in messages:
        said += (message.role, message.content)
        if message.reasoning or message.calls or message.tools or message.masked:
            said.append(orjson.dumps(message.plain).decode())
    return hashlib.blake2b(orjson.dumps(said), digest_size=16).digest()

"""The snapshot file, and the backups that are copies of it: all tables as TinyDB would write them, with a checksum.

    {"_meta":{"1":{"format":1,"seq":N,"next":{table: id},"crc":"xxxxxxxx"}}
    ,"demonstrations":{"1":{...},...},...}

Plain `TinyDB(path)` reads it. The line break is what tells a file of ours, whose checksum must fit, from one that
TinyDB or a person wrote since, which is taken as it is.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from chatlab.errors import StoreCorrupt
from chatlab.store.journal import Changes, Document
from chatlab.store.shape import META, MOST, is_number, well_shaped

Tables = dict[str, dict[str, Document]]

_SEAL = re.compile(rb'\{"_meta":\{"1":(\{[^\n]*),"crc":"([0-9a-f]{8})"\}\}\n')
_BACKUP_NAME = re.compile(r"([0-9]{6,12})-([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9]{2})-([0-9]{2})-([0-9]{2})\.json")


class Damaged(ValueError):
    """The bytes are not a snapshot."""


@dataclass(slots=True)
class Snapshot:
    """The store's state after change number `seq`."""

    tables: Tables = field(default_factory=dict)
    seq: int = 0
    format: int = 1
    next: dict[str, int] = field(default_factory=dict)
    """The id that each table gives out next: above all that were ever used, removed ones included."""
    foreign: bool = False
    """Written by another program than Chatlab."""
    unfit: tuple[str, ...] = ()
    """What its file holds and is of no shape that a store has: left out, by name."""

    def apply(self, changes: Changes) -> None:
        """Documents are replaced, never altered, so whoever holds an old one keeps it as it was."""
        for name, documents in changes.items():
            if documents is None:
                self.tables.pop(name, None)
                continue
            table = self.tables.setdefault(name, {})
            for key, document in documents.items():
                if document is None:
                    table.pop(key, None)
                else:
                    table[key] = document
            self.claim(name, max(map(int, documents), default=0))

    def claim(self, name: str, id: int) -> None:
        """Never give out `id` again."""
        self.next[name] = max(self.next.get(name, 1), id + 1)


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The snapshot file's bytes."""
    tables = orjson.dumps(snapshot.tables)
    rest = b"}" if tables == b"{}" else b"," + tables[1:]
    meta = orjson.dumps({"format": snapshot.format, "seq": snapshot.seq, "next": snapshot.next})
    crc = zlib.crc32(rest, zlib.crc32(meta))
    return b'{"_meta":{"1":%s,"crc":"%08x"}}\n%s' % (meta[:-1], crc, rest)


def decode_snapshot(data: bytes) -> Snapshot:
    """Raises Damaged."""
    rest = data.find(b"\n") + 1
    ours = bool(rest) and data[rest : rest + 1] in (b",", b"}")
    if ours:
        _check(data, rest)
    try:
        content: Any = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Damaged(str(error)) from error
    if not isinstance(content, dict):
        raise Damaged("it holds no tables")
    snapshot, unfit = _described(content.pop(META, {}))
    if unfit and ours:
        raise Damaged("its first line is of another shape")
    snapshot.tables, left_out = well_shaped(content)
    snapshot.unfit, snapshot.foreign = (*unfit, *left_out), not ours
    for name, table in snapshot.tables.items():
        snapshot.claim(name, max(map(int, table), default=0))
    return snapshot


def _described(meta: Any) -> tuple[Snapshot, tuple[str, ...]]:
    """A snapshot without tables, as the file describes it; and what of the description cannot be taken."""
    match meta:
        case {} if not meta:
            return Snapshot(), ()
        case {"1": {"seq": seq, "format": format, "next": {**ids}}} if is_number(seq) and is_number(format, 1):
            if all(is_number(id) or id == MOST for id in ids.values()):
                return Snapshot(seq=seq, format=format, next=dict(meta["1"]["next"])), ()
    return Snapshot(), (META,)


def _check(data: bytes, start: int) -> None:
    sealed = _SEAL.match(data)
    if not sealed or sealed.end() != start:
        raise Damaged("the first line is not as it was written")
    crc = zlib.crc32(memoryview(data)[start:], zlib.crc32(sealed[1] + b"}"))
    if b"%08x" % crc != sealed[2]:
        raise Damaged("the checksum does not fit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """One copy. Its number, not its date, says which is newer: clocks jump."""

    name: str
    number: int
    created: str
    """ISO 8601, UTC."""
    bytes: int


def list_backups(folder: Path) -> list[Backup]:
    """The copies in a folder, newest first. What is no file of its own is no copy."""
    return sorted(_found(folder), key=lambda backup: (backup.number, backup.name), reverse=True)


def read_backup(file: Path) -> Snapshot:
    """Raises StoreCorrupt unless all of it is as a backup has it."""
    try:
        snapshot = decode_snapshot(file.read_bytes())
    except (OSError, Damaged) as error:
        raise StoreCorrupt(f"The backup {file.name} cannot be read: {error}.", "Choose another.") from error
    if snapshot.unfit:
        raise StoreCorrupt(
            f"The backup {file.name} cannot be read: {snapshot.unfit[0][:60]!r} is of no shape that a store has.",
            "Choose another.",
        )
    return snapshot


def _found(folder: Path) -> Iterator[Backup]:
    for file in folder.iterdir() if folder.is_dir() else ():
        match = _BACKUP_NAME.fullmatch(file.name)
        if match and file.is_file() and not file.is_symlink():
            number, day, *time = match.groups()
            yield Backup(
                name=file.name, number=int(number), created=f"{day}T{':'.join(time)}+00:00", bytes=file.stat().st_size
            )

"""The snapshot file: all tables as TinyDB would write them, sealed with a checksum.

    {"_meta":{"1":{"format":1,"seq":N,"next":{table: id},"crc":"xxxxxxxx"}}
    ,"demonstrations":{"1":{...},...},...}

Plain `TinyDB(path)` reads it. The line break is what tells a file of ours, whose checksum must fit, from one that
TinyDB or a person wrote since, which is taken as it is.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from typing import Any

import orjson

from chatlab.store.journal import Changes, Document
from chatlab.store.shape import META, MOST, fitting, is_number

Tables = dict[str, dict[str, Document]]

_SEAL = re.compile(rb'\{"_meta":\{"1":(\{[^\n]*),"crc":"([0-9a-f]{8})"\}\}\n')


class Damaged(ValueError):
    """The bytes are not a snapshot."""


@dataclass(slots=True)
class Image:
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


def seal(image: Image) -> bytes:
    """The snapshot file's bytes."""
    tables = orjson.dumps(image.tables)
    rest = b"}" if tables == b"{}" else b"," + tables[1:]
    meta = orjson.dumps({"format": image.format, "seq": image.seq, "next": image.next})
    crc = zlib.crc32(rest, zlib.crc32(meta))
    return b'{"_meta":{"1":%s,"crc":"%08x"}}\n%s' % (meta[:-1], crc, rest)


def unseal(data: bytes) -> Image:
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
    image, unfit = _described(content.pop(META, {}))
    if unfit and ours:
        raise Damaged("its first line is of another shape")
    image.tables, left_out = fitting(content)
    image.unfit, image.foreign = (*unfit, *left_out), not ours
    for name, table in image.tables.items():
        image.claim(name, max(map(int, table), default=0))
    return image


def _described(meta: Any) -> tuple[Image, tuple[str, ...]]:
    """An image without tables, as the file describes it; and what of the description cannot be taken."""
    match meta:
        case {} if not meta:
            return Image(), ()
        case {"1": {"seq": seq, "format": format, "next": {**ids}}} if is_number(seq) and is_number(format, 1):
            if all(is_number(id) or id == MOST for id in ids.values()):
                return Image(seq=seq, format=format, next=dict(meta["1"]["next"])), ()
    return Image(), (META,)


def _check(data: bytes, start: int) -> None:
    sealed = _SEAL.match(data)
    if not sealed or sealed.end() != start:
        raise Damaged("the first line is not as it was written")
    crc = zlib.crc32(memoryview(data)[start:], zlib.crc32(sealed[1] + b"}"))
    if b"%08x" % crc != sealed[2]:
        raise Damaged("the checksum does not fit")

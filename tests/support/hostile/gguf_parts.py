"""A sound GGUF file taken apart into keys, tensors and data, which may then be changed and packed again."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of the scalar value types, by number."""
U32, F32, STRING, ARRAY, U64 = 4, 6, 8, 9, 10


@dataclass
class Tensor:
    name: bytes
    shape: list[int]
    kind: int
    start: int
    """Offset from where the data begins."""

    def packed(self) -> bytes:
        shape = struct.pack(f"<I{len(self.shape)}Q", len(self.shape), *self.shape)
        return packed(self.name) + shape + struct.pack("<IQ", self.kind, self.start)


@dataclass
class Gguf:
    """The parts of a file, free to contradict each other. A value is its type and its bytes."""

    keys: list[tuple[bytes, int, bytes]]
    tensors: list[Tensor]
    data: bytes
    version: int = 3
    alignment: int = 32
    """Of the data in the file, whatever `general.alignment` says."""
    counts: dict[str, int] = field(default_factory=dict)
    """In place of the true number of `keys` or `tensors`."""

    def header(self) -> bytes:
        counts = self.counts.get("tensors", len(self.tensors)), self.counts.get("keys", len(self.keys))
        parts = [b"GGUF", struct.pack("<IQQ", self.version, *counts)]
        parts += [packed(name) + struct.pack("<I", kind) + raw for name, kind, raw in self.keys]
        return b"".join([*parts, *(tensor.packed() for tensor in self.tensors)])

    def packed(self) -> bytes:
        head = self.header()
        return head + bytes(-len(head) % self.alignment) + self.data

    def borders(self) -> list[int]:
        """Where each section and each of the larger parts of the header ends."""
        found, at = [4, 8, 16, 24], 24
        for name, _, raw in self.keys:
            found += [at + 8, at + 8 + len(name), at + 12 + len(name), at + 16 + len(name)]
            found.append(at := at + 12 + len(name) + len(raw))
        for tensor in self.tensors:
            found += [at + 8 + len(tensor.name), at + 12 + len(tensor.name)]
            found.append(at := at + len(tensor.packed()))
        start = at + -at % self.alignment
        ends = (
            start + place for tensor in self.tensors for place in (tensor.start, tensor.start - 1, tensor.start + 1)
        )
        return sorted({*found, start, *ends, start + len(self.data) - 1})

    def index(self, name: str) -> int:
        return next(at for at, key in enumerate(self.keys) if key[0].decode() == name)

    def has(self, name: str) -> bool:
        return any(key[0].decode() == name for key in self.keys)

    def set(self, name: str, kind: int, raw: bytes) -> None:
        """In place of the key of that name, or as a new one."""
        key = (name.encode(), kind, raw)
        if self.has(name):
            self.keys[self.index(name)] = key
        else:
            self.keys.append(key)

    def strings(self, name: str) -> list[bytes]:
        """The strings of an array."""
        raw = self.keys[self.index(name)][2]
        found, at = [], 12
        while at < len(raw):
            (size,) = struct.unpack_from("<Q", raw, at)
            found.append(raw[at + 8 : at + 8 + size])
            at += 8 + size
        return found

    def set_strings(self, name: str, strings: list[bytes]) -> None:
        self.set(name, ARRAY, struct.pack("<IQ", STRING, len(strings)) + b"".join(map(packed, strings)))


def packed(raw: bytes) -> bytes:
    return struct.pack("<Q", len(raw)) + raw


def parsed(raw: bytes) -> Gguf:
    """A sound file."""
    version, tensors, keys = struct.unpack_from("<IQQ", raw, 4)
    at = 24

    def text() -> bytes:
        nonlocal at
        (size,) = struct.unpack_from("<Q", raw, at)
        at += 8 + size
        return raw[at - size : at]

    def value(kind: int) -> None:
        nonlocal at
        if kind == STRING:
            text()
        elif kind == ARRAY:
            inner, count = struct.unpack_from("<IQ", raw, at)
            at += 12
            for _ in range(count):
                value(inner)
        else:
            at += SIZES[kind]

    made = Gguf(keys=[], tensors=[], data=b"", version=version)
    for _ in range(keys):
        name = text()
        (kind,) = struct.unpack_from("<I", raw, at)
        at += 4
        begin = at
        value(kind)
        made.keys.append((name, kind, raw[begin:at]))
    for _ in range(tensors):
        name = text()
        (count,) = struct.unpack_from("<I", raw, at)
        shape = list(struct.unpack_from(f"<{count}Q", raw, at + 4))
        kind, start = struct.unpack_from("<IQ", raw, at + 4 + 8 * count)
        at += 16 + 8 * count
        made.tensors.append(Tensor(name, shape, kind, start))
    made.data = raw[at + -at % made.alignment :]
    return made

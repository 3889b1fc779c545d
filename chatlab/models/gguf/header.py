"""The header of a GGUF file that anybody may have written, read within limits.

The format: magic, version, two counts; keys with typed values; names, shapes, types and offsets of the tensors; then
their data, aligned, one after the other (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from chatlab.errors import BaseRefused

AGAIN = "Download the file again."
ELSEWHERE = "Use the model's safetensors folder instead, or another model."
WITHOUT = "Install llama.cpp as the README says, or use the model's safetensors folder instead."
BYTE_LEVEL, PIECES = "gpt2", "llama"
"""The kinds of tokenizers that are read, by the names that GGUF has for them."""
VERSIONS = (2, 3)
MOST_KEYS = 4096
MOST_TENSORS = 65_536
MOST_ITEMS = 4_000_000
"""Most values in one array. The largest vocabularies have 300,000 tokens and twice as many merges."""
LONGEST_KEY = 256
LONGEST_NAME = 64
"""Bytes of a tensor's name, as llama.cpp has it."""
LONGEST_TEXT = 4 * 2**20
LARGEST = 512 * 2**20
"""Bytes of a header."""
_LARGEST_ALIGNMENT = 4096
_CHUNK = 1 << 20
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9
_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """A tensor as the header describes it."""

    shape: tuple[int, ...]
    kind: int
    start: int
    """Offset of its first byte from where the data begins."""
    size: int
    """Bytes."""

    @property
    def numbers(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A file's metadata and tensor descriptions. Texts are kept as bytes and decoded when asked for."""

    values: Mapping[str, Any]
    """Numbers, truth values, bytes, and lists of one of them."""
    tensors: Mapping[str, TensorInfo]
    data_start: int = 0
    """Offset of the tensors' data in the file."""

    def text(self, key: str, default: str = "") -> str:
        """Raises BaseRefused where it is no text, or none that can be read."""
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, bytes):
            raise damaged(f"{key} is no text")
        return decoded(value, key)

    def number(self, key: str, default: int = 0) -> int:
        """Raises BaseRefused where it is no whole number. Of a list, one for each layer, the largest."""
        value = self.values.get(key, default)
        most = max(value, default=default) if isinstance(value, list) else value
        if type(most) is not int:
            raise damaged(f"{key} is no whole number")
        return most

    def texts(self, key: str) -> list[str]:
        """Raises BaseRefused where it is no list of texts."""
        value = self.values.get(key)
        if not isinstance(value, list) or not all(isinstance(item, bytes) for item in value):
            raise damaged(f"{key} is no list of texts")
        return [decoded(item, key) for item in value]

    @property
    def architecture(self) -> str:
        name = self.text("general.architecture")
        if not _ARCHITECTURE.fullmatch(name):
            raise damaged("it names no architecture")
        return name

    @property
    def size(self) -> int:
        """Bytes of the data that the tensors take."""
        return max((t.start + t.size for t in self.tensors.values()), default=0)


def read_header(file: Path) -> Header:
    """Raises BaseRefused for a file that is no GGUF, is damaged or cut short, or holds something else than a model."""
    try:
        length = file.stat().st_size
        with file.open("rb") as stream:
            return _read(_Reader(stream, min(length, LARGEST)), length)
    except (OSError, struct.error, ValueError, OverflowError, MemoryError) as error:
        raise damaged(str(error) or "its header does not fit into memory") from error


def check_model(header: Header) -> None:
    """Raises BaseRefused for a GGUF that is no whole model, or one that cannot be talked to."""
    kind = header.text("general.type", "model")
    if kind == "adapter" or "adapter.type" in header.values:
        raise BaseRefused("The file is an adapter, not a base.", "Use the model that it was made for.")
    if kind == "mmproj" or header.architecture == "clip":
        raise BaseRefused("The file is the vision or audio part of a model.", "Use the file without mmproj.")
    if header.number("split.count") > 1:
        raise BaseRefused(
            f"The file is one of {header.number('split.count')} parts.",
            "Join them first: llama-gguf-split --merge FIRST-PART WHOLE.gguf",
        )
    if not header.tensors:
        raise BaseRefused("The file holds a vocabulary only, no weights.", "Use the whole model.")
    if kind != "model":
        raise BaseRefused(f"The file holds a {kind[:40]!r}, not a model.", "Use the model itself.")
    splits = header.text("tokenizer.ggml.model", "no_vocab")
    if splits == "no_vocab":
        raise BaseRefused("The file holds no tokenizer, so its model cannot be used.", ELSEWHERE)
    if splits not in (BYTE_LEVEL, PIECES):
        raise BaseRefused(f"The file's tokenizer is of the kind {splits[:40]!r}, which is not read here.", ELSEWHERE)


def damaged(why: str) -> BaseRefused:
    return BaseRefused(f"The GGUF file is damaged or cut short: {why}.", AGAIN)


def decoded(raw: bytes, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise damaged(f"{what[:80]} is not UTF-8") from error


class _Reader:
    """The header's bytes in order, never past its end nor past the limit."""

    def __init__(self, stream: BinaryIO, most: int) -> None:
        self._stream = stream
        self._most = most
        self._held = b""
        self._at = 0
        self.position = 0
        """Bytes that were taken."""

    def take(self, count: int) -> bytes:
        if count > self._most - self.position:
            raise ValueError("it ends within its header")
        if self._at + count > len(self._held):
            self._held = self._held[self._at :] + self._stream.read(max(count, _CHUNK))
            self._at = 0
            if count > len(self._held):
                raise ValueError("it ends within its header")
        found = self._held[self._at : self._at + count]
        self._at += count
        self.position += count
        return found

    def number(self, kind: str) -> Any:
        return struct.unpack("<" + kind, self.take(struct.calcsize("<" + kind)))[0]

    def numbers(self, kind: str, count: int) -> list[Any]:
        return list(struct.unpack(f"<{count}{kind}", self.take(count * struct.calcsize("<" + kind))))

    def text(self, longest: int) -> bytes:
        length = self.number("Q")
        if length > longest:
            raise ValueError(f"a text in it is {length:,} bytes long")
        return self.take(length)


def _read(reader: _Reader, length: int) -> Header:
    if (magic := reader.take(min(4, length))) != b"GGUF":
        raise BaseRefused(
            f"The file is no GGUF: it begins with {magic!r}.", "Use a .gguf file, or a folder with safetensors."
        )
    version = reader.number("I")
    if version not in VERSIONS:
        raise ValueError(f"it is of version {version}, and {' and '.join(map(str, VERSIONS))} can be read")
    tensors, keys = reader.numbers("Q", 2)
    if keys > MOST_KEYS or tensors > MOST_TENSORS:
        raise ValueError(f"it claims to hold {keys:,} keys and {tensors:,} tensors")
    values = _named(reader, keys, LONGEST_KEY, _value)
    found = _named(reader, tensors, LONGEST_NAME, _tensor)
    header = Header(values=values, tensors=found)
    alignment = _alignment(header)
    _check_data(header, reader.position, length, alignment)
    return replace(header, data_start=reader.position + -reader.position % alignment)


def _named(reader: _Reader, count: int, longest: int, read: Callable[[_Reader], Any]) -> dict[str, Any]:
    """Read `count` pairs of a name and a value; all names differ."""
    found: dict[str, Any] = {}
    for _ in range(count):
        name = decoded(reader.text(longest), "a name")
        if name in found:
            raise ValueError(f"it holds {name[:80]!r} twice")
        found[name] = read(reader)
    return found


def _value(reader: _Reader) -> Any:
    kind = reader.number("I")
    if kind != _ARRAY:
        return _item(reader, kind)
    kind, count = reader.number("I"), reader.number("Q")
    if count > MOST_ITEMS:
        raise ValueError(f"a list in it claims {count:,} values")
    if kind in _SCALARS:
        return reader.numbers(_SCALARS[kind], count)
    return [_item(reader, kind) for _ in range(count)]


def _item(reader: _Reader, kind: int) -> Any:
    if kind == _TEXT:
        return reader.text(LONGEST_TEXT)
    if kind not in _SCALARS:
        raise ValueError(f"it holds a value of the unknown type {kind}")
    return reader.number(_SCALARS[kind])


def _tensor(reader: _Reader) -> TensorInfo:
    count = reader.number("I")
    if not 1 <= count <= 4:
        raise ValueError(f"a tensor in it has {count} dimensions")
    shape = tuple(reader.numbers("Q", count))
    kind, start = reader.number("I"), reader.number("Q")
    return TensorInfo(shape=shape, kind=kind, start=start, size=_bytes(shape, kind))


def _bytes(shape: tuple[int, ...], kind: int) -> int:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    if not all(shape) or shape[0] % block:
        raise ValueError(f"a tensor in it has the shape {shape}")
    return prod(shape) // block * size


def _alignment(header: Header) -> int:
    alignment = header.number("general.alignment", 32)
    if not 8 <= alignment <= _LARGEST_ALIGNMENT or alignment & (alignment - 1):
        raise ValueError(f"its tensors are aligned to {alignment}")
    return alignment


def _check_data(header: Header, begin: int, length: int, alignment: int) -> None:
    """Every tensor begins where the one before it ends, and the last one ends within the file."""
    end = 0
    for name, tensor in header.tensors.items():
        if tensor.start != end:
            raise ValueError(f"the bytes of {name[:80]} are not where they should be")
        end += tensor.size + -tensor.size % alignment
    left = max(0, length - begin - -begin % alignment)
    if header.size > left:
        raise ValueError(f"{header.size:,} bytes of weights are described, and {left:,} are there")

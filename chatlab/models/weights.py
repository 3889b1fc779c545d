"""Safetensors headers, read without torch: what the weights are, and whether the file is whole.

The format: eight bytes give the header's length N, little-endian; N bytes of JSON map names to dtype, shape and byte
offsets; the data follows without gaps to the end of the file (https://github.com/huggingface/safetensors).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

from chatlab.errors import BaseRefused
from chatlab.system import strict_json

LARGEST_HEADER = 16 << 20
"""Bytes. A hundred thousand tensors have as many."""
LARGEST = 1 << 48
"""Largest dimension or offset. The product of longer numbers would take as long as somebody likes."""
MOST_DIMENSIONS = 8
BLOCK = 1 << 22
"""Bytes compared at once."""

_BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U8": 8, "BOOL": 8}
_FLOATS = {"F64", "F32", "F16", "BF16"}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as the header describes it."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def size(self) -> int:
        return prod(self.shape)


def read_header(file: Path) -> dict[str, Tensor]:
    """Raises BaseRefused for a file that is cut short, damaged, or quantised."""
    try:
        with file.open("rb") as stream:
            tensors = parse_header(stream, file.stat().st_size)
    except (OSError, ValueError) as error:
        raise BaseRefused(
            f"{file.name} of the base model is damaged or cut short: {error}.", "Download the model again."
        ) from error
    if odd := next((n for n, t in tensors.items() if t.dtype not in _BITS), None):
        raise BaseRefused(
            f"{odd[:80]} is stored as {tensors[odd].dtype[:20]}.", "Use the model's full-precision weights."
        )
    return tensors


def parse_header(stream: IO[bytes], size: int, most: int = LARGEST_HEADER) -> dict[str, Tensor]:
    """Parse the header of a file of `size` bytes, `most` bytes at most. Raises ValueError, which says what is wrong."""
    length = int.from_bytes(stream.read(8), "little")
    if not 2 <= length <= min(most, size - 8):
        raise ValueError("its header does not fit in it")
    try:
        header = strict_json.loads(stream.read(length))
        header.pop("__metadata__", None)
        tensors = {str(name): _tensor(entry) for name, entry in header.items()}
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"its header makes no sense ({error})") from error
    _check_offsets(tensors, size - 8 - length)
    return tensors


def same_bytes(file: Path, tensor: Tensor, other_file: Path, other: Tensor) -> bool:
    """Whether two tensors are equal, number for number. Raises BaseRefused for a file that cannot be read."""
    if (tensor.dtype, tensor.shape) != (other.dtype, other.shape):
        return False
    try:
        with file.open("rb") as one, other_file.open("rb") as two:
            for stream, its in ((one, tensor), (two, other)):
                stream.seek(8 + int.from_bytes(stream.read(8), "little") + its.start)
            left = tensor.end - tensor.start
            while left > 0:
                if one.read(min(left, BLOCK)) != two.read(min(left, BLOCK)):
                    return False
                left -= BLOCK
            return True
    except OSError as error:
        raise BaseRefused(f"{file.name} of the base model cannot be read: {error}.", "Download it again.") from error


def parameters(tensors: Mapping[str, Tensor], tied: bool) -> int:
    """Numbers that the model computes with: buffers left out, tied output weights counted once."""
    return sum(
        t.size
        for name, t in tensors.items()
        if t.dtype in _FLOATS
        and not name.endswith((".inv_freq", ".masked_bias"))
        and not (name.endswith(".attn.bias") and len(t.shape) == 4)
        and not (tied and name.endswith("lm_head.weight"))
    )


def _tensor(entry: Mapping[str, Any]) -> Tensor:
    shape, (start, end) = entry["shape"], entry["data_offsets"]
    if len(shape) > MOST_DIMENSIONS or not all(type(n) is int and 0 <= n <= LARGEST for n in (*shape, start, end)):
        raise ValueError("a shape or an offset is no whole number that could be one")
    return Tensor(str(entry["dtype"]), tuple(shape), start, end)


def _check_offsets(tensors: Mapping[str, Tensor], length: int) -> None:
    """Every byte of the data belongs to exactly one tensor, and every tensor has the bytes that its shape needs."""
    end = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        bits = _BITS.get(tensor.dtype)
        if tensor.start != end or (bits and (tensor.end - tensor.start) * 8 != tensor.size * bits):
            raise ValueError(f"the bytes of {name[:80]} are not where they should be")
        end = tensor.end
    if end != length or not tensors:
        raise ValueError(f"it holds {length} bytes of weights where {end} are described")

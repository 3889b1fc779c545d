"""A GGUF file's weights as a safetensors file that transformers reads: one tensor at a time, a few rows of it at once.

    python -m chatlab.models.gguf.unpack FILE FOLDER

Matrices become bfloat16, in which a block's scale times a small whole number is nearly exact; vectors stay float32.
llama.cpp's order of rows and its norms that carry one more are undone. Progress goes to standard output, a line of
JSON each; what is refused leaves `refused.json` in the folder.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf.quants import dequantize

from chatlab.errors import BaseRefused, ChatlabError, DiskFull
from chatlab.models.gguf.config import Network, full_config, network, tensors_of, untrainable
from chatlab.models.gguf.header import Header, TensorInfo, check_model, read_header
from chatlab.models.validation.process import refuse
from chatlab.system.files import DISK_FULL

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
AT_ONCE = 1 << 22
"""Numbers that are unpacked together: 16 MB of float32, and as much again while it is done."""

Progress = Callable[[int, int], None]
"""Bytes written so far, and bytes in all."""
Matrix = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One tensor on its way from the file to safetensors."""

    name: str
    stored: TensorInfo
    shape: tuple[int, ...]
    """As transformers has it: rows first."""
    vector: bool
    heads: int = 0
    """Above 0, the rows of so many heads are in llama.cpp's order."""
    minus_one: bool = False

    @property
    def size(self) -> int:
        """Bytes in safetensors."""
        return prod(self.shape) * (4 if self.vector else 2)


def unpacked_size(header: Header) -> int:
    """Bytes that the unpacked weights take."""
    return sum(t.numbers * (4 if len(t.shape) == 1 else 2) for t in header.tensors.values())


def unpack(file: Path, to: Path, progress: Progress = lambda done, whole: None) -> None:
    """Write config.json and model.safetensors into the folder `to`.

    Raises BaseRefused for a file that is damaged or whose network transformers does not compute, OSError for the disk.
    """
    header = read_header(file)
    check_model(header)
    of = network(header)
    data = np.memmap(file, dtype=np.uint8, mode="r")
    begin = header.data_start
    stretch = header.tensors.get("rope_freqs.weight")
    freqs = bytes(data[begin + stretch.start : begin + stretch.start + stretch.size]) if stretch else b""
    config = full_config(header, of, freqs)
    (to / CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")
    parts = [_part(header, of, config, name, stored) for name, stored in tensors_of(header, of).items()]
    whole = sum(part.size for part in parts)
    done = 0
    with (to / WEIGHTS).open("wb") as out:
        _write_header(out, parts)
        for part in parts:
            for rows in _rows(part, data[begin + part.stored.start : begin + part.stored.start + part.stored.size]):
                if not np.isfinite(rows).all():
                    raise untrainable(f"its {part.name} holds something that is no number")
                done += out.write((rows if part.vector else _bf16(rows)).tobytes())
                progress(done, whole)


def _part(header: Header, of: Network, config: Mapping[str, Any], name: str, gguf_name: str) -> _Part:
    stored = header.tensors[gguf_name]
    module, _, _ = name.rpartition(".")
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    turned = heads.get(module.rpartition(".")[2], 0) if of.architecture.permuted else 0
    shape = tuple(reversed(stored.shape))
    if turned and shape[0] % (2 * turned):
        raise untrainable(f"the shape of its {name} is {shape}")
    return _Part(
        name=name,
        stored=stored,
        shape=shape,
        vector=len(shape) == 1,
        heads=turned,
        minus_one=of.architecture.plus_one and module.endswith("norm"),
    )


def _rows(part: _Part, raw: Matrix) -> Iterator[Matrix]:
    """Float32 rows in transformers' order, a few at a time."""
    rows = part.shape[0] if not part.vector else 1
    packed = raw.reshape(rows, -1)
    order = llama_cpp_order(part.shape[0], part.heads) if part.heads else None
    if part.vector:
        vector = _floats(packed, part.stored.kind).reshape(-1)
        yield (vector if order is None else vector[order]) - np.float32(part.minus_one)
        return
    step = max(1, AT_ONCE * rows // part.stored.numbers)
    for first in range(0, rows, step):
        some = packed[first : first + step] if order is None else packed[order[first : first + step]]
        yield _floats(some, part.stored.kind)


def llama_cpp_order(rows: int, heads: int) -> Matrix:
    """Which row of the file is each of transformers' rows: in the file the two halves of a head are neighbours."""
    width = rows // heads
    within = np.arange(width).reshape(width // 2, 2).T.reshape(-1)
    return (np.arange(heads)[:, None] * width + within[None, :]).reshape(-1)


def _floats(packed: Matrix, kind: int) -> Matrix:
    """(rows, bytes) to float32 (rows, numbers). Raises BaseRefused for a type that is not known."""
    try:
        with np.errstate(all="ignore"):
            return dequantize(np.ascontiguousarray(packed), Kind(kind)).astype(np.float32, copy=False)
    except NotImplementedError as error:
        raise untrainable(f"its weights are packed as {Kind(kind).name}, which is not read here") from error


def _bf16(rows: Matrix) -> Matrix:
    """The upper halves of float32 numbers, rounded to the nearest, ties to even."""
    bits = np.ascontiguousarray(rows, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def _write_header(out: IO[bytes], parts: list[_Part]) -> None:
    """What safetensors begins with: its length, then names, types, shapes and offsets as JSON."""
    told: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for part in parts:
        told[part.name] = {
            "dtype": "F32" if part.vector else "BF16",
            "shape": list(part.shape),
            "data_offsets": [start, start + part.size],
        }
        start += part.size
    text = json.dumps(told).encode()
    text += b" " * (-len(text) % 8)
    out.write(len(text).to_bytes(8, "little") + text)


def main(file: Path, folder: Path) -> int:
    """1 for a file that is refused."""

    def tell(done: int, whole: int) -> None:
        print(json.dumps({"done": done, "whole": whole}), flush=True)

    try:
        unpack(file, folder, tell)
    except ChatlabError as error:
        return refuse(error, folder)
    except MemoryError:
        return refuse(BaseRefused("The memory is too small to unpack this model.", "Close other programs."), folder)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        (folder / WEIGHTS).unlink(missing_ok=True)  # makes room for the reason
        return refuse(DiskFull(f"{file.name} cannot be unpacked: the disk is full.", "Free some space."), folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))

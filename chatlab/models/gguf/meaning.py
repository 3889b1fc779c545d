"""What a GGUF file means: a hash of its network, vocabulary and weights, whatever else it tells of itself."""

from __future__ import annotations

import hashlib
from pathlib import Path

from chatlab.models.gguf.header import Header

BESIDE_THE_POINT = ("general.", "split.", "quantize.", "imatrix.", "tokenizer.chat_template")
"""What keys begin with that change nothing of what is computed; the template is told of apart."""
BLOCK = 1 << 22
"""Bytes read at once."""


def meaning_of(file: Path, header: Header) -> str:
    """Equal for two files with the same tensors and the same values that matter, in any order. Raises OSError."""
    whole = hashlib.sha256(header.architecture.encode())
    for key in sorted(header.values):
        if not key.startswith(BESIDE_THE_POINT):
            whole.update(f"{key} {header.values[key]!r}\n".encode())
    with file.open("rb") as stream:
        for name in sorted(header.tensors):
            tensor = header.tensors[name]
            whole.update(f"{name!r} {tensor.shape} {tensor.kind} {tensor.size}\n".encode())
            stream.seek(header.data_start + tensor.start)
            left = tensor.size
            while left > 0 and (read := stream.read(min(left, BLOCK))):
                whole.update(read)
                left -= len(read)
    return whole.hexdigest()

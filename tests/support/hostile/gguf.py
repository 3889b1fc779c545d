"""Trials of GGUF files without the seconds that a process takes to import everything, and files to try."""

from __future__ import annotations

import os
import struct
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from chatlab.engines.gguf_import import validate_worker as trial
from chatlab.engines.gguf_import.validator import GgufSandbox
from chatlab.models.validation.process import LOG

PRELOADED = (
    "chatlab.engines.gguf_import.validate_worker",
    "chatlab.engines.llamacpp.engine",
    "chatlab.engines.gguf_import.hf_files",
)


class Forked(GgufSandbox):
    """Each trial in a process of its own as ever, but forked from one that has imported all that it needs."""

    def __init__(self) -> None:
        super().__init__()
        os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # as every trial has it; else llama.cpp calls a debugger
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOADED))
        self.codes: list[int | None] = []

    def _run(self, file: Path, folder: Path, seconds: float) -> int | None:
        (folder / LOG).touch()
        process = self._context.Process(target=_validator, args=(file, folder), daemon=True)
        process.start()
        process.join(seconds)
        code = process.exitcode
        process.kill()
        self.codes.append(code)
        return code


def _validator(file: Path, folder: Path) -> None:
    raise SystemExit(trial.main(file, folder))


def header(
    values: dict[str, Any],
    tensors: dict[str, tuple[list[int], int, int]] | None = None,
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    keys: int | None = None,
    count: int | None = None,
) -> bytes:
    """A GGUF header, lies included: values as text, number or (type, bytes); tensors as shape, type and offset."""
    tensors = tensors or {}
    parts = [
        magic,
        struct.pack("<IQQ", version, len(tensors) if count is None else count, len(values) if keys is None else keys),
    ]
    for key, value in values.items():
        parts += [text(key), _value(value)]
    for name, (shape, kind, start) in tensors.items():
        parts += [text(name), struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, start)]
    return b"".join(parts)


def text(said: str) -> bytes:
    """As GGUF has it: its length, then its bytes."""
    raw = said.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Any) -> bytes:
    if isinstance(value, tuple):
        return struct.pack("<I", value[0]) + value[1]
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    return struct.pack("<II", 4, value)

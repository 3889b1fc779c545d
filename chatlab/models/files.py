"""The small files of a model's folder, which anybody may have written: read whole, or refused in words."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chatlab.errors import BaseRefused
from chatlab.system import strict_json

AGAIN = "Download the model again."
INDEX = "model.safetensors.index.json"
LARGEST = {
    "config.json": 4 << 20,
    "generation_config.json": 1 << 20,
    "tokenizer.json": 64 << 20,
    "tokenizer_config.json": 16 << 20,
    "special_tokens_map.json": 4 << 20,
    "added_tokens.json": 4 << 20,
    "chat_template.jinja": 1 << 20,
    INDEX: 32 << 20,
}
"""Bytes. The largest tokenizer.json of the field has 35 million."""
TEMPLATES = "additional_chat_templates"
MOST_TEMPLATES = 16
MISLEADING = ("fast_tokenizer_files", "gguf_file", "tokenizer_object", "from_slow", "init_inputs")
"""What in tokenizer_config.json would have another file read than the one that was looked at."""


def read_file(file: Path, largest: int) -> bytes:
    """Raises BaseRefused for what is no plain file, such as a pipe that never ends, and for one that is too large."""
    try:
        number = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(number, "rb") as stream:
            status = os.fstat(number)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("it is no plain file")
            if status.st_size > largest:
                raise ValueError(f"it has {status.st_size:,} bytes, and {largest:,} are the most")
            return stream.read(largest)
    except (OSError, ValueError) as error:
        raise BaseRefused(f"{file.name} of the base model cannot be read: {error}.", AGAIN) from error


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object. Raises BaseRefused, also for one that says two things under one name."""
    data = read_file(file, LARGEST.get(file.name, LARGEST["config.json"]))
    try:
        found = strict_json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BaseRefused(f"{file.name} of the base model cannot be read: {error}.", AGAIN) from error
    if not isinstance(found, dict):
        raise BaseRefused(f"{file.name} of the base model holds no JSON object.", AGAIN)
    return found


def check_tokenizer_files(folder: Path) -> None:
    """Before the transformers library reads them. Raises BaseRefused."""
    for file in _tokenizer_files(folder):
        read_file(file, LARGEST.get(file.name, LARGEST["chat_template.jinja"]))
    config = folder / "tokenizer_config.json"
    if config.exists() and (named := [key for key in MISLEADING if read_json(config).get(key)]):
        raise BaseRefused(f"tokenizer_config.json of the base model names other files ({named[0]}).", AGAIN)


def digest(folder: Path) -> str:
    """sha256 over all that decides what its template and tokenizer do."""
    whole = hashlib.sha256()
    for file in (folder / "config.json", folder / "generation_config.json", *_tokenizer_files(folder)):
        if file.exists():
            data = read_file(file, LARGEST.get(file.name, LARGEST["chat_template.jinja"]))
            whole.update(f"{file.name} {hashlib.sha256(data).hexdigest()}\n".encode(errors="replace"))
    return whole.hexdigest()


def _tokenizer_files(folder: Path) -> Iterator[Path]:
    for name in LARGEST:
        if name not in ("config.json", "generation_config.json", INDEX) and is_there(folder / name):
            yield folder / name
    if (folder / TEMPLATES).is_dir():
        found = sorted((folder / TEMPLATES).glob("*.jinja"))
        if len(found) > MOST_TEMPLATES:
            raise BaseRefused(f"{TEMPLATES} of the base model holds {len(found)} templates.", AGAIN)
        yield from found


def is_there(file: Path) -> bool:
    """Also a link that leads nowhere."""
    return file.exists() or file.is_symlink()

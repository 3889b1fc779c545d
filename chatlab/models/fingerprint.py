"""A base model's identity: a hash of all that decides what it says."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chatlab.system.files import private_folder, sha256_of, write_whole


def fingerprint(files: Sequence[Path], chat_template: str, cache: Path | None = None) -> str:
    """sha256 over names and bytes of the files and the chat template.

    Hashing gigabytes takes a while, so with `cache` the result is kept there and believed while the files' paths,
    sizes and times stay the same.
    """
    if cache is None:
        return _compute(files, chat_template)
    stamp = [[str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns] for f in files]
    key = hashlib.sha256(json.dumps([stamp, chat_template]).encode()).hexdigest()
    kept = cache / "fingerprints.json"
    known = _read(kept)
    if key not in known:
        known[key] = _compute(files, chat_template)
        _write(kept, known)
    return str(known[key])


def fingerprint_of_file(sha256: str, chat_template: str) -> str:
    """The fingerprint of a base that is one file with everything in it, whatever the file is called."""
    return hashlib.sha256(f"{sha256} {chat_template}".encode()).hexdigest()


def _compute(files: Sequence[Path], chat_template: str) -> str:
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{file.name} {sha256_of(file)}\n".encode())
    whole.update(hashlib.sha256(chat_template.encode()).hexdigest().encode())
    return whole.hexdigest()


def _read(kept: Path) -> dict[str, Any]:
    try:
        known = json.loads(kept.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write(kept: Path, known: dict[str, Any]) -> None:
    """A cache that cannot be written only costs time."""
    with contextlib.suppress(OSError):
        private_folder(kept.parent)
        write_whole(kept, json.dumps(known).encode())

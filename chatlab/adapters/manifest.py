"""The files of an adapter's folder, and `manifest.json`, which says what bytes they had when it was published.

Whoever opens an adapter's folder, the registry or an engine, believes nothing in it before these agree.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from pathlib import Path
from typing import Any

from chatlab.errors import AdapterDamaged, AdapterMissing
from chatlab.system import strict_json
from chatlab.system.files import open_regular, read_regular

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
CARD = "card.json"
MANIFEST = "manifest.json"
REPLY_METRICS = "manner.json"
"""How the base and the adapter answered the unseen prompts: measured once the adapter is published, so that nobody
waits for it, and therefore not in the manifest. It decides nothing of how the adapter answers."""
FORGETTING = "forgetting.json"
"""Of a correction, which is live before that is measured."""
DEMONSTRATIONS = "demonstrations.jsonl"
"""The demonstrations as they were when the run was asked for: the snapshot, byte for byte. It may be taken out."""

AGAIN = "Train it again, or copy its folder from a backup."

LARGEST_JSON = 1 << 24
"""Bytes of a card, manifest or config. A card that names a million demonstrations has half of that."""
LARGEST = 1 << 33
"""Bytes of any file of an adapter: twice what rank 256 on 7 billion parameters takes in 32 bits."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


def read_manifest(folder: Path) -> dict[str, str]:
    """File name -> sha256, in hexadecimal."""
    files = read_object(folder, MANIFEST).get("files")
    if not isinstance(files, dict) or WEIGHTS not in files or CONFIG not in files:
        raise AdapterDamaged(f"The manifest of adapter {folder.name!r} names no weights.", AGAIN)
    for name, sha256 in files.items():
        if not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
            raise AdapterDamaged(f"The manifest of adapter {folder.name!r} has no sha256 of {name[:80]!r}.", AGAIN)
    return files


def check_bytes(folder: Path) -> None:
    """Every file in the manifest has the bytes it had when it was published, or AdapterDamaged.

    Not the demonstrations, which decide nothing of how it answers: `check_demonstrations` is for whoever reads them.
    """
    for name, sha256 in read_manifest(folder).items():
        if name == DEMONSTRATIONS:
            continue
        if Path(name).name != name:
            raise AdapterDamaged(f"Adapter {folder.name!r} has lost its file {name[:80]!r}.", AGAIN)
        if _digest_of(folder, name) != sha256:
            raise damaged(folder, name)


def check_demonstrations(folder: Path) -> Path | None:
    """The file of what the adapter learned from; None where it has none, AdapterDamaged where it has been changed."""
    file = folder / DEMONSTRATIONS
    if file.is_symlink() or not file.is_file():
        return None
    if _digest_of(folder, DEMONSTRATIONS) != read_manifest(folder).get(DEMONSTRATIONS):
        raise damaged(folder, DEMONSTRATIONS)
    return file


def read_file(folder: Path, name: str, most: int = LARGEST) -> bytes:
    """A file of an adapter's folder. Raises AdapterDamaged for one that is not there, no plain file, or too large."""
    try:
        return read_regular(folder / name, most)
    except (OSError, ValueError) as error:
        raise _unreadable(folder, name, error) from error


def damaged(folder: Path, name: str) -> AdapterDamaged:
    """For a file that has other bytes than the manifest says."""
    return AdapterDamaged(f"Adapter {folder.name!r} is damaged: {name} is not the file that was published.", AGAIN)


def parsed(data: bytes, exact: bool = True) -> dict[str, Any]:
    """A JSON object that every reader reads alike: no key twice, and, if `exact`, nothing but numbers for numbers.

    Raises ValueError.
    """
    try:
        found = strict_json.loads(data, constants=not exact)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return found


def read_object(folder: Path, name: str, exact: bool = True) -> dict[str, Any]:
    """A JSON object in an adapter's folder. Raises AdapterMissing, AdapterDamaged."""
    if not folder.is_dir():
        raise AdapterMissing(f"There is no adapter {folder.name!r}.", "Choose one from the list.")
    data = read_file(folder, name, LARGEST_JSON)
    try:
        return parsed(data, exact)
    except ValueError as error:
        raise AdapterDamaged(f"{name} of adapter {folder.name!r} cannot be read: {error}.", AGAIN) from error


def _digest_of(folder: Path, name: str) -> str:
    try:
        with open_regular(folder / name) as stream:
            if os.fstat(stream.fileno()).st_size > LARGEST:
                raise OSError(errno.EFBIG, f"it is larger than {LARGEST:,} bytes")
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        raise _unreadable(folder, name, error) from error


def _unreadable(folder: Path, name: str, error: OSError | ValueError) -> AdapterDamaged:
    if isinstance(error, FileNotFoundError):
        return AdapterDamaged(f"Adapter {folder.name!r} has no {name[:80]!r}.", AGAIN)
    why = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return AdapterDamaged(f"{name[:80]!r} of adapter {folder.name!r} cannot be read: {why}.", AGAIN)

"""An adapter's papers: `card.json` says what it is, `manifest.json` which bytes it is made of.

Whoever opens an adapter's folder, the shelf or an engine, believes nothing in it before these agree.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar

from chatlab.errors import AdapterDamaged, AdapterMissing, WrongBase
from chatlab.records import AdapterCard, ReplyMetrics, TrainSettings
from chatlab.system import strict_json
from chatlab.system.files import open_regular, read_regular

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
CARD = "card.json"
MANIFEST = "manifest.json"
MANNER = "manner.json"
"""How the base and the adapter answered the unseen prompts: found out once the adapter is on the shelf, so that nobody
waits for it, and therefore not in the manifest. It says nothing of how the adapter speaks that asking could not."""
LESSONS = "demonstrations.jsonl"
"""The demonstrations as they were when the run was asked for: the snapshot, byte for byte. It may be taken out."""

MANNERS = ("manner_before", "manner_after")

R = TypeVar("R", AdapterCard, TrainSettings, ReplyMetrics)

AGAIN = "Train it again, or copy its folder from a backup."

LARGEST_JSON = 1 << 24
"""Bytes of a card, manifest or config. A card that names a million demonstrations has half of that."""
LARGEST = 1 << 33
"""Bytes of any file of an adapter: twice what rank 256 on 7 billion parameters takes in 32 bits."""
_LONGEST_TEXT = 1000
_LARGEST_NUMBER = 1 << 53
"""JSON elsewhere, the page's own included, counts no further."""
_COUNTS = {"parameters", "base_parameters", "steps", "seconds", *(field.name for field in fields(ReplyMetrics))}
_RUN = re.compile(r"(?:[A-Za-z0-9_][\w.-]{0,99})?", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")


def card_as_json(card: AdapterCard) -> dict[str, Any]:
    return asdict(card)


def card_from_json(data: Mapping[str, Any]) -> AdapterCard:
    """Keys that this version does not know are left out, so that a newer version's adapters can be read.

    Raises ValueError or TypeError for a card that makes no sense.
    """
    known = _known(AdapterCard, data)
    known["settings"] = _checked(TrainSettings(**_known(TrainSettings, known.get("settings", {}))))
    known["demonstrations"] = _ids(known.get("demonstrations", ()))
    if (interval := known.get("forgetting_interval")) is not None:
        low, high = map(_finite, interval)
        known["forgetting_interval"] = None if low is None or high is None else (low, high)
    for when in MANNERS:
        if (manner := known.get(when)) is not None:
            known[when] = _checked(ReplyMetrics(**_known(ReplyMetrics, manner)))
    card = _checked(AdapterCard(**known))
    if not _RUN.fullmatch(card.run):  # it names a folder
        raise ValueError(f"run cannot be {card.run[:80]!r}")
    return card


def read_card(folder: Path) -> AdapterCard:
    """With what its manner was found to be. Raises AdapterDamaged if it is missing or makes no sense."""
    try:
        return card_from_json(_read(folder, CARD) | _manners(folder))
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise AdapterDamaged(f"The card of adapter {folder.name!r} makes no sense: {error}.", AGAIN) from error


def read_manifest(folder: Path) -> dict[str, str]:
    """File name -> sha256, in hexadecimal."""
    files = _read(folder, MANIFEST).get("files")
    if not isinstance(files, dict) or WEIGHTS not in files or CONFIG not in files:
        raise AdapterDamaged(f"The manifest of adapter {folder.name!r} names no weights.", AGAIN)
    for name, sha256 in files.items():
        if not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
            raise AdapterDamaged(f"The manifest of adapter {folder.name!r} has no sha256 of {name[:80]!r}.", AGAIN)
    return files


def check_bytes(folder: Path) -> None:
    """Every file in the manifest has the bytes it had when it was published, or AdapterDamaged.

    But for the lessons, which decide nothing of how it speaks: `check_lessons` is for whoever reads them.
    """
    for name, sha256 in read_manifest(folder).items():
        if name == LESSONS:
            continue
        if Path(name).name != name:
            raise AdapterDamaged(f"Adapter {folder.name!r} has lost its file {name[:80]!r}.", AGAIN)
        if _digest_of(folder, name) != sha256:
            raise damaged(folder, name)


def check_lessons(folder: Path) -> Path | None:
    """The file of what the adapter learned; None where it has none, AdapterDamaged where it has been changed."""
    file = folder / LESSONS
    if file.is_symlink() or not file.is_file():
        return None
    if _digest_of(folder, LESSONS) != read_manifest(folder).get(LESSONS):
        raise damaged(folder, LESSONS)
    return file


def read_file(folder: Path, name: str, most: int = LARGEST) -> bytes:
    """A file of an adapter's folder. Raises AdapterDamaged for one that is not there, no plain file, or too large."""
    try:
        return read_regular(folder / name, most)
    except (OSError, ValueError) as error:
        raise _unreadable(folder, name, error) from error


def check_base(card: AdapterCard, fingerprint: str) -> None:
    if card.base != fingerprint:
        made_for = card.base_name or card.base[:12]
        raise WrongBase(
            f"Adapter {card.name!r} was made for another base model ({made_for}).",
            "Choose that base, or train the adapter again on this one.",
        )


def damaged(folder: Path, name: str) -> AdapterDamaged:
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


def manners_as_json(before: ReplyMetrics, after: ReplyMetrics) -> dict[str, Any]:
    """For the file of an adapter's manner."""
    return dict(zip(MANNERS, (asdict(before), asdict(after)), strict=True))


def _manners(folder: Path) -> dict[str, Any]:
    """Nothing where they were not asked for yet, or cannot be read: they can be found out again."""
    try:
        data = parsed(read_file(folder, MANNER, LARGEST_JSON))
        for when in MANNERS:
            _checked(ReplyMetrics(**_known(ReplyMetrics, data[when])))
        return {when: data[when] for when in MANNERS}
    except (AdapterDamaged, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _known(record: type, data: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(record)}
    return {name: value for name, value in data.items() if name in names}


_KINDS: dict[str, type | UnionType] = {
    "str": str,
    "int": int,
    "float": int | float,
    "bool": bool,
    "float | None": int | float | None,
}


def _checked(record: R) -> R:
    """Plain fields hold what they are declared to hold; JSON from elsewhere might not.

    What could not be measured, or came out as no number, is not known.
    """
    changed: dict[str, Any] = {}
    for field in fields(record):
        kind, value = _KINDS.get(str(field.type)), getattr(record, field.name)
        if kind is None:
            continue
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{field.name} cannot be {value!r:.80}")
        if isinstance(value, str) and (len(value) > _LONGEST_TEXT or not value.isascii()):
            value.encode()  # half a character would break whatever shows it
            if len(value) > _LONGEST_TEXT:
                raise ValueError(f"{field.name} is {len(value):,} characters long")
        if field.name in _COUNTS and isinstance(value, int | float) and value < 0:
            raise ValueError(f"{field.name} cannot be {value!r:.80}")
        if isinstance(value, int | float) and (abs(value) > _LARGEST_NUMBER or not math.isfinite(value)):
            if field.type != "float | None":
                raise ValueError(f"{field.name} cannot be {value!r:.80}")
            changed[field.name] = None
    return replace(record, **changed) if changed else record


def _ids(found: object) -> tuple[int, ...]:
    if not isinstance(found, list | tuple):
        raise ValueError("demonstrations is no list")
    for number in found:
        if type(number) is not int or abs(number) > _LARGEST_NUMBER:
            raise ValueError(f"demonstrations cannot hold {number!r:.80}")
    return tuple(found)


def _finite(value: object) -> float | None:
    """None for what is no number that can be counted with. Raises ValueError for what is no number at all."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r:.80} is no number")
    return float(value) if abs(value) <= _LARGEST_NUMBER else None


def _read(folder: Path, name: str) -> dict[str, Any]:
    if not folder.is_dir():
        raise AdapterMissing(f"There is no adapter {folder.name!r}.", "Choose one from the list.")
    data = read_file(folder, name, LARGEST_JSON)
    try:
        return parsed(data, exact=name != CARD)
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

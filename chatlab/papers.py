"""An adapter's papers: `card.json` says what it is, `manifest.json` which bytes it is made of.

Whoever opens an adapter's folder, the shelf or an engine, believes nothing in it before these agree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar

from chatlab.errors import AdapterDamaged, AdapterMissing, WrongBase
from chatlab.records import AdapterCard, Manner, TrainSettings

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

R = TypeVar("R", AdapterCard, TrainSettings, Manner)

AGAIN = "Train it again, or copy its folder from a backup."


def card_as_json(card: AdapterCard) -> dict[str, Any]:
    return asdict(card)


def card_from_json(data: Mapping[str, Any]) -> AdapterCard:
    """Keys that this version does not know are left out, so that a newer version's adapters can be read.

    Raises ValueError or TypeError for a card that makes no sense.
    """
    known = _known(AdapterCard, data)
    known["settings"] = _checked(TrainSettings(**_known(TrainSettings, known.get("settings", {}))))
    known["demonstrations"] = tuple(int(number) for number in known.get("demonstrations", ()))
    if (interval := known.get("forgetting_interval")) is not None:
        low, high = interval
        known["forgetting_interval"] = (float(low), float(high))
    for when in MANNERS:
        if (manner := known.get(when)) is not None:
            known[when] = _checked(Manner(**_known(Manner, manner)))
    return _checked(AdapterCard(**known))


def read_card(folder: Path) -> AdapterCard:
    """With what its manner was found to be. Raises AdapterDamaged if it is missing or makes no sense."""
    try:
        return card_from_json(_read(folder, CARD) | _manners(folder))
    except (TypeError, ValueError, AttributeError) as error:
        raise AdapterDamaged(f"The card of adapter {folder.name!r} makes no sense: {error}.", AGAIN) from error


def read_manifest(folder: Path) -> dict[str, str]:
    """File name -> sha256, in hexadecimal."""
    files = _read(folder, MANIFEST).get("files")
    if not isinstance(files, dict) or WEIGHTS not in files or CONFIG not in files:
        raise AdapterDamaged(f"The manifest of adapter {folder.name!r} names no weights.", AGAIN)
    return {str(name): str(sha256) for name, sha256 in files.items()}


def check_bytes(folder: Path) -> None:
    """Every file in the manifest has the bytes it had when it was published, or AdapterDamaged.

    But for the lessons, which decide nothing of how it speaks: `check_lessons` is for whoever reads them.
    """
    for name, sha256 in read_manifest(folder).items():
        if name == LESSONS:
            continue
        file = folder / name
        if Path(name).name != name or file.is_symlink() or not file.is_file():
            raise AdapterDamaged(f"Adapter {folder.name!r} has lost its file {name!r}.", AGAIN)
        if digest(file) != sha256:
            raise damaged(folder, name)


def check_lessons(folder: Path) -> Path | None:
    """The file of what the adapter learned; None where it has none, AdapterDamaged where it has been changed."""
    file = folder / LESSONS
    if file.is_symlink() or not file.is_file():
        return None
    if digest(file) != read_manifest(folder).get(LESSONS):
        raise damaged(folder, LESSONS)
    return file


def check_base(card: AdapterCard, fingerprint: str) -> None:
    if card.base != fingerprint:
        made_for = card.base_name or card.base[:12]
        raise WrongBase(
            f"Adapter {card.name!r} was made for another base model ({made_for}).",
            "Choose that base, or train the adapter again on this one.",
        )


def damaged(folder: Path, name: str) -> AdapterDamaged:
    return AdapterDamaged(f"Adapter {folder.name!r} is damaged: {name} is not the file that was published.", AGAIN)


def digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def manners_as_json(before: Manner, after: Manner) -> dict[str, Any]:
    """For the file of an adapter's manner."""
    return dict(zip(MANNERS, (asdict(before), asdict(after)), strict=True))


def _manners(folder: Path) -> dict[str, Any]:
    """Nothing where they were not asked for yet, or cannot be read: they can be found out again."""
    try:
        data = json.loads((folder / MANNER).read_bytes())
        for when in MANNERS:
            _checked(Manner(**_known(Manner, data[when])))
        return {when: data[when] for when in MANNERS}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
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
    """Plain fields hold what they are declared to hold; JSON from elsewhere might not."""
    for field in fields(record):
        kind, value = _KINDS.get(str(field.type)), getattr(record, field.name)
        if kind is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise ValueError(f"{field.name} cannot be {value!r}")
    return record


def _read(folder: Path, name: str) -> dict[str, Any]:
    if not folder.is_dir():
        raise AdapterMissing(f"There is no adapter {folder.name!r}.", "Choose one from the list.")
    if not (folder / name).is_file():
        raise AdapterDamaged(f"Adapter {folder.name!r} has no {name}.", AGAIN)
    try:
        data = json.loads((folder / name).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise AdapterDamaged(f"{name} of adapter {folder.name!r} cannot be read: {error}.", AGAIN) from error
    if not isinstance(data, dict):
        raise AdapterDamaged(f"{name} of adapter {folder.name!r} makes no sense.", AGAIN)
    return data

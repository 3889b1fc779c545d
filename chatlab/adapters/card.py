"""`card.json`: what an adapter is, what it learned from, how it did. Read from any version's file, and believed in
nothing that its fields could not hold.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar

from chatlab.adapters.manifest import (
    AGAIN,
    CARD,
    FORGETTING,
    LARGEST_JSON,
    REPLY_METRICS,
    parsed,
    read_file,
    read_object,
)
from chatlab.errors import AdapterDamaged, WrongBase
from chatlab.fingerprints import differing
from chatlab.former_names import current_fields, with_current_names
from chatlab.measurements import ReplyMetrics
from chatlab.records import AdapterCard, TrainSettings

MEASURED = ("reply_metrics_before", "reply_metrics_after")
"""Fields of a card that are kept in a file of their own."""

R = TypeVar("R", AdapterCard, TrainSettings, ReplyMetrics)

_LONGEST_TEXT = 1000
_LARGEST_NUMBER = 1 << 53
"""JSON elsewhere, the page's own included, counts no further."""
_COUNTS = {
    "parameters",
    "base_parameters",
    "steps",
    "seconds",
    "questions",
    "held_out_questions",
    *(field.name for field in fields(ReplyMetrics)),
}
_RUN = re.compile(r"(?:[A-Za-z0-9_][\w.-]{0,99})?", re.ASCII)


def card_as_json(card: AdapterCard) -> dict[str, Any]:
    """What `CARD` holds."""
    return asdict(card)


def card_from_json(data: Mapping[str, Any]) -> AdapterCard:
    """Keys that this version does not know are left out, so that a newer version's adapters can be read.

    Raises ValueError or TypeError for a card that makes no sense.
    """
    known = current_fields(AdapterCard, data)
    known["settings"] = _checked(TrainSettings(**current_fields(TrainSettings, known.get("settings", {}))))
    for name in ("demonstrations", "corrections", "preferences"):
        known[name] = _ids(name, known.get(name, ()))
    if (interval := known.get("forgetting_interval")) is not None:
        low, high = map(_finite, interval)
        known["forgetting_interval"] = None if low is None or high is None else (low, high)
    for name in MEASURED:
        if (metrics := known.get(name)) is not None:
            known[name] = _checked(ReplyMetrics(**current_fields(ReplyMetrics, metrics)))
    card = _checked(AdapterCard(**known))
    if not _RUN.fullmatch(card.run):  # it names a folder
        raise ValueError(f"run cannot be {card.run[:80]!r}")
    return card


def read_card(folder: Path) -> AdapterCard:
    """The card, with how the adapter answered the unseen prompts if that was measured.

    Raises AdapterMissing, and AdapterDamaged for a card that is missing or makes no sense.
    """
    try:
        card = with_current_names(AdapterCard, read_object(folder, CARD, exact=False))
        later = _forgetting(folder) if card.get("forgetting") is None else {}
        return card_from_json(card | _reply_metrics(folder) | later)
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise AdapterDamaged(f"The card of adapter {folder.name!r} makes no sense: {error}.", AGAIN) from error


def check_base(card: AdapterCard, fingerprint: str) -> None:
    """Raises WrongBase for an adapter of another base."""
    if card.base != fingerprint:
        made_for = card.base_name or card.base[:12]
        differs = " and ".join(differing(card.base, fingerprint))
        why = f": {differs} differ{'' if ' and ' in differs or differs.endswith('weights') else 's'}" if differs else ""
        raise WrongBase(
            f"Adapter {card.name!r} was made for another base model ({made_for}){why}.",
            "Choose that base, or train the adapter again on this one.",
        )


def reply_metrics_as_json(before: ReplyMetrics, after: ReplyMetrics) -> dict[str, Any]:
    """What `REPLY_METRICS` holds."""
    return dict(zip(MEASURED, (asdict(before), asdict(after)), strict=True))


def forgetting_as_json(forgetting: float, interval: tuple[float, float]) -> dict[str, Any]:
    """What `FORGETTING` holds."""
    return {"forgetting": forgetting, "forgetting_interval": interval}


def _forgetting(folder: Path) -> dict[str, Any]:
    """Nothing where it was not measured, or cannot be read."""
    try:
        data = parsed(read_file(folder, FORGETTING, LARGEST_JSON))
        low, high = data["forgetting_interval"]
        return forgetting_as_json(float(data["forgetting"]), (float(low), float(high)))
    except (AdapterDamaged, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _reply_metrics(folder: Path) -> dict[str, Any]:
    """Nothing where they were not measured yet, or cannot be read: they can be measured again."""
    try:
        data = with_current_names(AdapterCard, parsed(read_file(folder, REPLY_METRICS, LARGEST_JSON)))
        for name in MEASURED:
            _checked(ReplyMetrics(**current_fields(ReplyMetrics, data[name])))
        return {name: data[name] for name in MEASURED}
    except (AdapterDamaged, ValueError, KeyError, TypeError, AttributeError):
        return {}


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


def _ids(name: str, found: object) -> tuple[int, ...]:
    if not isinstance(found, list | tuple):
        raise ValueError(f"{name} is no list")
    for number in found:
        if type(number) is not int or abs(number) > _LARGEST_NUMBER:
            raise ValueError(f"{name} cannot hold {number!r:.80}")
    return tuple(found)


def _finite(value: object) -> float | None:
    """None for what is no number that can be counted with. Raises ValueError for what is no number at all."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r:.80} is no number")
    return float(value) if abs(value) <= _LARGEST_NUMBER else None

"""An adapter's folder as an engine reads it: bytes read once, hashed, and believed only when everything agrees."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatlab.errors import AdapterDamaged, AdapterMissing
from chatlab.papers import AGAIN, CARD, CONFIG, MANIFEST, WEIGHTS, check_base, damaged, read_card, read_manifest

Stamp = tuple[int, ...]
"""Changes when the files do."""

_PLAIN = re.compile(r"[A-Za-z0-9_.]+")
"""PEFT uses module names as regular expressions; one made to never end would hang the app. These cannot."""

MEANT = {
    "r",
    "lora_alpha",
    "use_rslora",
    "use_dora",
    "lora_bias",
    "fan_in_fan_out",
    "bias",
    "rank_pattern",
    "alpha_pattern",
    "target_modules",
    "exclude_modules",
    "modules_to_save",
    "layers_to_transform",
    "layers_pattern",
}
"""Settings that change what an adapter says, and that are understood here."""

_HARMLESS = {
    "peft_type",
    "task_type",
    "inference_mode",
    "base_model_name_or_path",
    "revision",
    "peft_version",
    "lora_dropout",
    "init_lora_weights",
    "megatron_core",
    "qalora_group_size",
    "runtime_config",
    "loftq_config",
    "eva_config",
    "corda_config",
    "lora_ga_config",
    "ensure_weight_tying",
    "auto_mapping",
}
"""Settings of training or of other programs. They are not handed on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFiles:
    """What was read from an adapter's folder, and is safe to hand on."""

    folder: Path
    sha256: str
    """Of `weights`."""
    weights: bytes
    """A safetensors file."""
    config: dict[str, Any]
    """Arguments for peft's LoraConfig."""


def stamp(folder: Path) -> Stamp:
    """Cheap enough to ask before every reply. Raises AdapterMissing."""
    found: list[int] = []
    for name in (WEIGHTS, CONFIG):
        try:
            status = (folder / name).stat()
        except (OSError, ValueError) as error:
            raise AdapterMissing(
                f"Adapter {folder.name!r} is not there any more.", "Choose another one, or the base."
            ) from error
        found += (status.st_ino, status.st_mtime_ns, status.st_size)
    return tuple(found)


def read_adapter(folder: Path, fingerprint: str | None) -> AdapterFiles:
    """Raises AdapterMissing, AdapterDamaged, and WrongBase if `fingerprint` is not of the base it was made for.

    A folder without papers, such as a checkpoint of a run under way, is taken as it is; its papers count once it is
    published.
    """
    stamp(folder)
    if fingerprint is not None and (folder / CARD).exists():
        check_base(read_card(folder), fingerprint)
    manifest = read_manifest(folder) if (folder / MANIFEST).exists() else {}
    data = {name: _checked_bytes(folder, name, manifest) for name in (CONFIG, WEIGHTS)}
    return AdapterFiles(
        folder=folder, sha256=_sha256(data[WEIGHTS]), weights=data[WEIGHTS], config=_safe_config(folder, data[CONFIG])
    )


def _checked_bytes(folder: Path, name: str, manifest: dict[str, str]) -> bytes:
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise AdapterDamaged(f"{name} of adapter {folder.name!r} cannot be read.", AGAIN) from error
    if manifest and manifest[name] != _sha256(data):
        raise damaged(folder, name)
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _safe_config(folder: Path, data: bytes) -> dict[str, Any]:
    try:
        config = json.loads(data)
        reason = _refusal(config)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        reason = f"it cannot be read ({error})"
    if reason:
        raise AdapterDamaged(
            f"{CONFIG} of adapter {folder.name!r} is refused: {reason}.",
            "Only plain LoRA adapters as Chatlab and PEFT write them can be used.",
        )
    return {name: value for name, value in config.items() if name in MEANT and value is not None}


def _refusal(config: dict[str, Any]) -> str:
    """Why not; empty when there is nothing against it."""
    if config.get("peft_type") != "LORA":
        return f"its type is {config.get('peft_type')!r}, not LORA"
    unknown = sorted(name for name, value in config.items() if value and name not in MEANT | _HARMLESS)
    if unknown:
        return f"it uses {', '.join(unknown)}"
    if config.get("target_modules") != "all-linear" and not _plain_list(config.get("target_modules")):
        return "target_modules has to be a list of plain names"
    for name in ("exclude_modules", "modules_to_save", "layers_pattern"):
        if config.get(name) and not _plain_list(config[name]):
            return f"{name} has to be a list of plain names"
    for name in ("rank_pattern", "alpha_pattern"):
        if not all(_PLAIN.fullmatch(key) for key in config.get(name) or {}):
            return f"{name} has to name plain modules"
    return ""


def _plain_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) and _PLAIN.fullmatch(v) for v in value)

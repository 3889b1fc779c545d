"""Which files of a folder make a base model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chatlab.errors import BaseMissing, BaseRefused
from chatlab.models.files import INDEX, is_there, read_file, read_json

WEIGHTS = "model.safetensors"
ADAPTER = "adapter_config.json"
PICKLES = {".bin", ".pt", ".pth", ".pkl", ".ckpt"}

LONGEST_NAME = 1000
"""Bytes of a revision's name."""

NEEDED = "A base model is a Hugging Face folder: config.json, tokenizer.json and model.safetensors."


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one base model."""

    folder: Path
    name: str
    weights: tuple[Path, ...]
    """One file, or the shards of an index."""


def find(folder: Path) -> Layout:
    """Raises BaseMissing or BaseRefused. Also takes a hub cache folder, `models--org--name`."""
    if not folder.is_dir():
        raise BaseMissing(f"There is no base model at {folder}.", "Choose another folder. " + NEEDED)
    name, folder = _name(folder), _snapshot(folder)
    if not (folder / "config.json").is_file():
        brought = next((f"To chat with {file.name}, name the file itself. " for file in folder.glob("*.gguf")), "")
        raise BaseMissing(f"{folder} holds no config.json.", brought + NEEDED)
    if not (folder / "tokenizer.json").is_file():
        raise BaseRefused(
            f"{name} has no tokenizer.json.", "Only fast tokenizers are read; transformers converts others to one."
        )
    if is_there(folder / ADAPTER):
        raise BaseRefused(
            f"{name} holds an {ADAPTER}, so transformers would open another model.", "Take it out of the folder."
        )
    return Layout(folder, name, _weights(folder, name))


def _name(folder: Path) -> str:
    for part in (folder, *folder.parents):
        if part.name.startswith("models--"):
            return part.name.removeprefix("models--").replace("--", "/")
    return folder.name


def _snapshot(folder: Path) -> Path:
    """In a hub cache, the revision that `refs/main` names, or else the newest."""
    if (folder / "config.json").exists() or not (folder / "snapshots").is_dir():
        return folder
    found = sorted((p for p in (folder / "snapshots").iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime)
    main = folder / "refs" / "main"
    wanted = read_file(main, LONGEST_NAME).decode(errors="replace").strip() if main.is_file() else ""
    named = [p for p in found if p.name == wanted]
    if not found:
        raise BaseMissing(f"{folder} is a hub cache without a snapshot.", "Download the model again.")
    return (named or found)[-1]


def _weights(folder: Path, name: str) -> tuple[Path, ...]:
    if (folder / WEIGHTS).is_file():
        return (folder / WEIGHTS,)
    if (folder / INDEX).is_file():
        return _shards(folder)
    if pickles := sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES):
        raise BaseRefused(
            f"{name} keeps its weights in {pickles[0]}, a pickle, which can run any program when it is opened.",
            "Use a model with model.safetensors, or convert it where it cannot do harm.",
        )
    raise BaseMissing(f"{folder} holds no {WEIGHTS}.", NEEDED)


def _shards(folder: Path) -> tuple[Path, ...]:
    shards = read_json(folder / INDEX).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise BaseRefused(f"{INDEX} names no shards.", "Download the model again.")
    names = sorted({str(s) for s in shards.values()})
    for shard in names:
        if Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise BaseRefused(f"{INDEX} names {shard!r}, which is no safetensors file of this folder.")
        if not (folder / shard).is_file():
            raise BaseMissing(
                f"{shard} of the base model's {len(names)} files is missing.", "Download the model again."
            )
    return tuple(folder / s for s in names)

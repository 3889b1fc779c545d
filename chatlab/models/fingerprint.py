"""A base model's identity: a hash of what decides what it says, however its files write that down.

Sixteen hex digits of the whole, then twelve each of config, tokenizer, chat template and weights, so that what differs
between two bases can be told from their fingerprints (`chatlab.fingerprints`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chatlab.errors import BaseRefused
from chatlab.fingerprints import PART, WHOLE
from chatlab.models.files import read_json
from chatlab.models.inventory import HEADS, Inventory
from chatlab.models.weights import read_header
from chatlab.system.files import private_folder, sha256_of, write_whole
from chatlab.template import meaning

BESIDE_THE_POINT = frozenset(
    [
        "_name_or_path",
        "architectures",
        "dtype",
        "tie_word_embeddings",
        "torch_dtype",
        "transformers.js_config",
        "transformers_version",
        "unsloth_fixed",
        "unsloth_version",
        "use_cache",
    ]
)
"""Keys of a config that change nothing of what is computed here. Whether the output is tied is told by the weights."""
EMBEDDED = "868659bc90340b11098a9dfa42a9372b65899e1433ebb2390eb2285d518299d8"
FORMER = {EMBEDDED: "a69f48a4418016b3798251706303ebca8904e7cbe0a17eb43f55516f8aadcfe9"}
"""The embedded base by the hash of its files' bytes, which its adapters have named since the first version."""
KEPT = "fingerprints.json"
"""In the cache."""
BLOCK = 1 << 22
"""Bytes read at once."""


def fingerprint(
    folder: Path,
    config: Mapping[str, Any],
    weights: Sequence[Path],
    inventory: Inventory,
    chat_template: str,
    cache: Path | None = None,
) -> str:
    """Equal for two folders whose config, tokenizer, template and weights mean the same.

    Hashing gigabytes takes a while, so with `cache` the result is kept there and believed while the files' paths,
    sizes and times stay the same. Bases that a cache knows by the hash of their bytes keep it. Raises BaseRefused.
    """
    files = [folder / "config.json", folder / "tokenizer.json", *weights]
    known = {} if cache is None else _read(cache / KEPT)
    stamp = [[str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns] for f in files]
    former = known.get(_key(stamp, chat_template))
    key = _key([1, *stamp], chat_template)
    if cache is None or key not in known:
        found = _compute(folder, config, weights, inventory, chat_template)
        named = former or known.get(found) or FORMER.get(found, found)
        known |= {key: named, found: named}
        if cache is not None:
            _write(cache / KEPT, known)
    return str(known[key])


def fingerprint_of_file(sha256: str, chat_template: str) -> str:
    """The fingerprint of a base that is one file with everything in it, whatever the file is called.

    `sha256` is of what the file means; of its bytes, where adapters have named it by them.
    """
    return hashlib.sha256(f"{sha256} {chat_template}".encode()).hexdigest()


def of_bytes(files: Sequence[Path], chat_template: str) -> str:
    """sha256 over names and bytes, which earlier versions named a base by."""
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{file.name} {sha256_of(file)}\n".encode())
    whole.update(hashlib.sha256(chat_template.encode()).hexdigest().encode())
    return whole.hexdigest()


def _compute(
    folder: Path, config: Mapping[str, Any], weights: Sequence[Path], inventory: Inventory, chat_template: str
) -> str:
    parts = [
        _of_json({key: value for key, value in config.items() if key not in BESIDE_THE_POINT}),
        _of_json(_tokenizer(read_json(folder / "tokenizer.json"))),
        hashlib.sha256(meaning(chat_template).encode()).hexdigest(),
        _of_weights(weights, inventory),
    ]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:WHOLE] + "".join(part[:PART] for part in parts)


def _of_json(value: object) -> str:
    try:
        return hashlib.sha256(json.dumps(_plain(value), sort_keys=True).encode()).hexdigest()
    except RecursionError as error:
        raise BaseRefused("A file of the base model is nested too deeply.", "Download it again.") from error


def _plain(value: Any) -> Any:
    """Without what is null, and with one way to write a number."""
    if isinstance(value, dict):
        return {key: _plain(held) for key, held in value.items() if held is not None}
    if isinstance(value, list):
        return [_plain(held) for held in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _tokenizer(told: dict[str, Any]) -> dict[str, Any]:
    """Without what is not used here, and with one way to write merges."""
    kept = {key: value for key, value in told.items() if key not in ("version", "truncation", "padding")}
    model = kept.get("model")
    if isinstance(model, dict) and isinstance(merges := model.get("merges"), list):
        pairs = [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in merges]
        kept["model"] = {**model, "merges": pairs}
    return kept


def _of_weights(weights: Sequence[Path], inventory: Inventory) -> str:
    """Of the tensors by their names, in whatever files they lie; an output matrix that is the embedding counts once."""
    found: dict[str, str] = {}
    try:
        for file in weights:
            header = read_header(file)
            with file.open("rb") as stream:
                data = 8 + int.from_bytes(stream.read(8), "little")
                for name, tensor in header.items():
                    if inventory.tied and name.endswith(HEADS):
                        continue
                    own = hashlib.sha256(f"{tensor.dtype} {tensor.shape} ".encode())
                    stream.seek(data + tensor.start)
                    left = tensor.end - tensor.start
                    while left > 0:
                        own.update(stream.read(min(left, BLOCK)))
                        left -= BLOCK
                    found[name] = own.hexdigest()
    except OSError as error:
        raise BaseRefused(f"The weights of the base model cannot be read: {error}.", "Download it again.") from error
    return hashlib.sha256("\n".join(f"{name} {found[name]}" for name in sorted(found)).encode()).hexdigest()


def _key(stamp: object, chat_template: str) -> str:
    return hashlib.sha256(json.dumps([stamp, chat_template]).encode()).hexdigest()


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

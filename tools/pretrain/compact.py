"""A checkpoint small enough to travel: bfloat16 weights and the data position, in files under 16 MB.

What the optimizers remember stays behind: both forget within twenty steps, so a new warm-up replaces it.

    python -m tools.pretrain.compact pack      # cache to tools/pretrain/checkpoint
    python -m tools.pretrain.compact unpack    # and back, on another machine
"""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

SHARD = 15_000_000
"""Bytes of a file, at most."""


def fingerprint(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def shards(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """The tensors in their order, cut into parts of at most `SHARD` bytes each."""
    parts: list[dict[str, Tensor]] = [{}]
    for name, tensor in tensors.items():
        if sum(each.nbytes for each in parts[-1].values()) + tensor.nbytes > SHARD:
            parts.append({})
        parts[-1][name] = tensor
    return parts


def pack(cache: Path, folder: Path) -> None:
    """Write the stable checkpoint in `cache` to `folder`, small."""
    with safe_open(cache / "stable.safetensors", "pt") as file:
        about: dict[str, Any] = json.loads(file.metadata()["about"])
        labels = sorted(label for label in file.keys() if label.startswith("weight/"))  # noqa: SIM118
        tensors = {label: file.get_tensor(label).to(torch.bfloat16) for label in labels}
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("stable-*.safetensors"):
        old.unlink()
    for number, part in enumerate(shards(tensors)):
        save_file(part, folder / f"stable-{number}.safetensors")
        (folder / f"stable-{number}.safetensors").chmod(0o644)
    about["tokenizer"] = fingerprint(cache / "tokenizer.json")
    (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n")


def unpack(folder: Path, cache: Path) -> None:
    """Make the stable checkpoint in `cache` from the small one in `folder`; the rate will warm up anew."""
    about: dict[str, Any] = json.loads((folder / "about.json").read_text())
    if about.pop("tokenizer") != fingerprint(cache / "tokenizer.json"):
        raise SystemExit(f"{cache} was prepared with another tokenizer; run prepare with --tokenizer of the old one")
    if (cache / "stable.safetensors").exists():
        raise SystemExit(f"{cache / 'stable.safetensors'} is there already; move it away first")
    about["progress"]["warmed"] = about["progress"]["step"]
    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob("stable-*.safetensors")):
        tensors |= {label: tensor.float() for label, tensor in load_file(path).items()}
    save_file(tensors, cache / "stable.safetensors", {"about": json.dumps(about)})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pack", "unpack"])
    parser.add_argument("--cache", type=Path, default=Path(".cache/pretrain"))
    parser.add_argument("--folder", type=Path, default=Path(__file__).with_name("checkpoint"))
    given = parser.parse_args()
    if given.what == "pack":
        pack(given.cache, given.folder)
    else:
        unpack(given.folder, given.cache)

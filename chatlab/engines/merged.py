"""A base with an adapter added into it, as a model that any program loads."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from chatlab.engines.build import with_adapter
from chatlab.engines.folder import read_adapter
from chatlab.engines.network import EXACT, open_network

if TYPE_CHECKING:
    from chatlab.models.base import Base

PAPERS = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json")
SHARD = "2GB"


def write_merged(base: Base, adapter: Path, strength: float, to: Path) -> None:
    """A Hugging Face folder: safetensors, config, tokenizer and chat template.

    Added up in 32 bits and, for a base of more than `EXACT` parameters, stored in bfloat16. Raises AdapterMissing,
    AdapterDamaged, WrongBase.
    """
    files = read_adapter(adapter, base.fingerprint)
    model = with_adapter(open_network(base.folder, base.parameters, torch.float32), files, strength, merge=True)
    targets = files.config.target_modules
    if targets == "all-linear" or not any("lm_head" in name or "embed_tokens" in name for name in targets):
        model.tie_weights()
    if base.parameters > EXACT:
        model = model.bfloat16()
    model.save_pretrained(to, max_shard_size=SHARD)
    for paper in PAPERS:
        if (base.folder / paper).is_file():
            shutil.copy(base.folder / paper, to / paper)

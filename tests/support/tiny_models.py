"""Real models so small that they are made in a test: folders with safetensors, and what people's folders look like."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def llama_folder(base: Path, folder: Path, **config: Any) -> Path:
    """A Llama of two thin layers that has learned nothing, with the tokenizer and the template of `base`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = {
        "vocab_size": json.loads((base / "config.json").read_bytes())["vocab_size"],
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 4,
    }
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(config.pop("model_type", "llama"), **settings | config)
    )
    model.save_pretrained(folder)
    for name in TOKENIZER:
        shutil.copyfile(base / name, folder / name)
    return folder


def changed(folder: Path, file: str = "config.json", **changes: Any) -> Path:
    """The folder, with a JSON file of it changed; what is None is taken out."""
    told = json.loads((folder / file).read_bytes()) | changes
    (folder / file).write_text(json.dumps({key: value for key, value in told.items() if value is not None}))
    return folder


def in_shards(folder: Path) -> Path:
    """The folder, its weights in two files with an index."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    halves = names[: len(names) // 2], names[len(names) // 2 :]
    where = {}
    for number, half in enumerate(halves, 1):
        shard = f"model-{number:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in half}, folder / shard, metadata={"format": "pt"})
        where |= dict.fromkeys(half, shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    (folder / "model.safetensors").unlink()
    return folder


def safetensors(shapes: Mapping[str, list[int]], dtype: str = "F32") -> bytes:
    """A file of zeros."""
    header, end = {}, 0
    for name, (rows, width) in shapes.items():
        size = rows * width * (4 if dtype == "F32" else 2)
        header[name] = {"dtype": dtype, "shape": [rows, width], "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)

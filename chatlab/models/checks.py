"""Whether a config can be trusted, and whether the weights are the ones it describes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from chatlab.errors import BaseRefused
from chatlab.models.weights import Tensor

# Only text can name code: a module, a kernel, a repository. So a config may say anything in numbers. Under these keys a
# text is one of a few words that are known; under others, those of versions to come among them, it must not even look
# like a name of code: no path, no repository, no words with dots between them.
TEXT_KEYS = frozenset(
    [
        "_name_or_path",
        "activation",
        "activation_function",
        "architectures",
        "attention_layers",
        "attention_types",
        "dtype",
        "hidden_act",
        "hidden_activation",
        "id2label",
        "init_device",
        "label2id",
        "layer_types",
        "layers_block_type",
        "model_type",
        "norm_type",
        "problem_type",
        "rope_parameters",
        "rope_scaling",
        "scoring_func",
        "summary_activation",
        "summary_type",
        "time_step_init_scheme",
        "topk_method",
        "torch_dtype",
        "transformers_version",
        "unsloth_version",
    ]
)
AGAIN = "Download the model again."
MIXED = "The files come from different models, or one is missing; download it again."
CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx")
REASONS = {
    "auto_map": "its config.json brings a program of its own (auto_map)",
    "quantization_config": "its weights are quantised, and LoRA is trained here on full precision only",
}
LARGEST = 2**53
"""Largest size in a config. No network has as many of anything."""
SIZES = (
    "vocab_size",
    "hidden_size",
    "n_embd",
    "num_hidden_layers",
    "n_layer",
    "num_nextn_predict_layers",
    *CONTEXT_KEYS,
)
_IMPLEMENTATION = re.compile(r"implementation|kernel", re.IGNORECASE)
"""Keys by which transformers may fetch somebody's kernel even for a plain word."""
_BUILT_IN = ("eager", "sdpa")
_DOTTED = re.compile(r"[A-Za-z_]\w*\.[A-Za-z_]")
_PLAIN = re.compile(r"[\w.+:, ()-]{0,100}")
_CAUSAL = ("ForCausalLM", "LMHeadModel")
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d{1,6})\.")


def check_config(config: Mapping[str, Any], name: str) -> None:
    """Raises BaseRefused if the config could make a loader run somebody's program, or is not of a language model."""
    for key, value in config.items():
        if key in REASONS and value:
            raise BaseRefused(f"{name} is refused: {REASONS[key]}.", "Choose a model without it.")
        if text := next((text for text in _texts(value) if _could_name_code(key, text)), ""):
            raise BaseRefused(
                f"{name} is refused: config.json says {text[:60]!r} under {key!r}, which could name a program.",
                "If you trust the model, take that line out of its config.json.",
            )
    for key in SIZES:
        value = config.get(key)
        if value is not None and (type(value) is not int or not 0 <= value < LARGEST):
            raise BaseRefused(f"{name} is refused: its config.json says {value!r} under {key!r}.", AGAIN)
    kinds = list(_texts(config.get("architectures"))) or ["ForCausalLM"]
    if not all(kind.endswith(_CAUSAL) for kind in kinds):
        raise BaseRefused(f"{name} is a {kinds[0]}, not a language model that continues text.", "Choose another.")


def check_shapes(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Raises BaseRefused if the weights are not the ones that the config describes."""
    rows = config.get("vocab_size")
    width = config.get("word_embed_proj_dim", config.get("hidden_size", config.get("n_embd")))
    for name, tensor in tensors.items():
        if name.endswith(_EMBEDDINGS) and (rows, width) != tensor.shape:
            raise BaseRefused(
                f"config.json promises {rows} tokens of width {width}, but {name} is {tensor.shape}.", MIXED
            )
    layers = {int(found[1]) for name in tensors if (found := _LAYER.search(name))}
    wanted = config.get("num_hidden_layers", config.get("n_layer"))
    spare = config.get("num_nextn_predict_layers") or 0  # stored as further layers by models that look ahead
    if layers and wanted is not None and not (len(layers) == max(layers) + 1 in (wanted, wanted + spare)):
        raise BaseRefused(f"config.json promises {wanted} layers, but the weights have {len(layers)}.", MIXED)


def _could_name_code(key: str, text: str) -> bool:
    if key == "_name_or_path":
        return False
    if _IMPLEMENTATION.search(key):
        return text not in _BUILT_IN
    return not _PLAIN.fullmatch(text) or (key not in TEXT_KEYS and bool(_DOTTED.search(text)))


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value, keys aside."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one

"""What the weights of a folder hold, told from their headers: one answer for chat, training, export and the count.

Whether the output matrix is the embedding is decided here and nowhere else, by the rule that transformers loads by: a
config that ties the two is not believed where the file holds an output matrix that differs.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatlab.errors import BaseRefused
from chatlab.models.checks import AGAIN, check_shapes
from chatlab.models.weights import Tensor, parameters, read_header, same_bytes

HEADS = ("lm_head.weight", "embed_out.weight")
"""Ends of the names of output matrices."""
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")
"""Ends of the names of embeddings."""
UNTIED = frozenset(
    [
        *("afmoe", "apertus", "arcee", "aria_text", "axk1", "axk2", "bailing_hybrid", "bamba", "beam", "bitnet", "blt"),
        *("codegen", "cwm", "dbrx", "deepseek_v2", "deepseek_v3", "deepseek_v32", "deepseek_v4", "diffllama", "doge"),
        *("dots1", "dots3_note", "dots3_note_text", "emu3", "exaone4", "exaone_moe", "falcon_h1", "flex_olmo", "flint"),
        *("fuyu", "git", "glm", "glm4", "glm4_moe", "glm4_moe_lite", "glm_moe_dsa", "gpt_neox", "gpt_oss", "gptj"),
        *("granite", "granitemoe", "granitemoe_swa", "granitemoehybrid", "granitemoeshared", "helium", "hrm_text"),
        *("hunyuan_v1_dense", "hunyuan_v1_moe", "hy_v3", "hy_v4", "hyperclovax", "inkling2_text", "inkling_text"),
        *("internlm3", "iquestcoder", "jais2", "jamba", "kimi_linear", "kolibri1", "laguna", "llama", "llama4"),
        *("llama4_text", "longcat_flash", "mamba2", "mellum", "mimo_v2_flash", "minimax", "minimax_m2"),
        *("minimax_m3_vl_text", "ministral", "ministral3", "mistral", "mixtral", "mllama", "moshi", "musicgen"),
        *("musicgen_melody", "nanochat", "nemotron", "nemotron_h", "olmo", "olmo2", "olmo3", "olmo_hybrid", "olmoe"),
        *("persimmon", "phi", "phi3", "phi4_multimodal", "phimoe", "qwen2", "qwen2_moe", "qwen3", "qwen3_5"),
        *("qwen3_5_moe", "qwen3_5_moe_text", "qwen3_5_text", "qwen3_moe", "qwen3_next", "qwen4_exp", "qwen4_exp_text"),
        *("reformer", "rembert", "rwkv", "seed_oss", "solar_open", "stablelm", "xlstm"),
    ]
)
"""Networks of transformers whose output is a matrix of its own where the config does not say."""
NORMLESS = frozenset(["bart", "bigbird_pegasus", "blenderbot-small", "mvp", "nanochat", "olmo", "plbart", "trocr"])
"""Networks that scale nothing after their last layer, or nothing that is stored."""
IRREGULAR = frozenset(["gpt_neox_japanese", "inkling2_text", "modernbert-decoder", "rwkv", "zaya", "zamba", "zamba2"])
"""Networks whose first or last layer holds what the others do not, or whose layers share."""
SHARING = ("num_kv_shared_layers",)
"""Keys of configs whose layers lack what another one holds for them."""
_LAYER = re.compile(r"^(?P<before>(?:.*\.)?(?:layers|h|blocks|layer))\.(?P<number>\d{1,6})\.(?P<part>.+)$")
_NORM = re.compile(r"(?:norm|ln_f|ln_out|norm_f|LayerNorm)\w*\.weight$")


@dataclass(frozen=True, slots=True)
class Inventory:
    """The tensors of a base."""

    tensors: Mapping[str, Tensor]
    tied: bool
    """Whether the output matrix is the embedding."""

    @property
    def parameters(self) -> int:
        """Numbers that the model computes with."""
        return parameters(self.tensors, self.tied)


def take_inventory(weights: Sequence[Path], config: Mapping[str, Any]) -> Inventory:
    """Reads headers, and two matrices where a config ties what is stored twice.

    Raises BaseRefused for weights that are not the ones that the config describes, and names a matrix that is missing:
    transformers would fill it at random.
    """
    held: dict[str, tuple[Path, Tensor]] = {}
    for file in weights:
        held |= {name: (file, tensor) for name, tensor in read_header(file).items()}
    tensors = {name: tensor for name, (_, tensor) in held.items()}
    check_shapes(config, tensors)
    if missing := next(_missing(tensors, config), ""):
        raise BaseRefused(f"The weights of the base model lack {missing}.", AGAIN)
    return Inventory(tensors, _is_tied(held, config))


def _is_tied(held: Mapping[str, tuple[Path, Tensor]], config: Mapping[str, Any]) -> bool:
    head, embedding = (next((n for n in held if n.endswith(names)), None) for names in (HEADS, EMBEDDINGS))
    if not says_tied(config):
        return False
    return head is None or embedding is None or same_bytes(*held[head], *held[embedding])


def says_tied(config: Mapping[str, Any]) -> bool:
    """Whether a config, or transformers' default for its kind of network, ties the output to the embedding."""
    said = config.get("tie_word_embeddings")
    return bool(said) if said is not None else config.get("model_type") not in UNTIED


def _missing(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Iterator[str]:
    """Names of what there has to be and is not."""
    if not any(name.startswith("model.layers.") for name in tensors):  # of other networks the names vary too much
        yield from _missing_in_layers(tensors, config)
        return
    embedding = any(name.endswith(EMBEDDINGS) for name in tensors)
    head = any(name.endswith(HEADS) for name in tensors)
    if not embedding and not (head and says_tied(config)):
        yield "model.embed_tokens.weight"
    if not head and not says_tied(config):
        yield "lm_head.weight"
    outside = [name for name in tensors if not _LAYER.match(name)]
    if config.get("model_type") not in NORMLESS and not any(map(_NORM.search, outside)):
        yield "model.norm.weight"
    yield from _missing_in_layers(tensors, config)


def _missing_in_layers(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Iterator[str]:
    """What one layer lacks and another of its kind has. Layers are of one kind if they have the same modules, and
    the config, where it lists layers, calls them the same.
    """
    if config.get("model_type") in IRREGULAR or any(config.get(key) for key in SHARING):
        return
    layers: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name in tensors:
        if found := _LAYER.match(name):
            layers[found["before"]][int(found["number"])].add(found["part"])
    wanted = config.get("num_hidden_layers", config.get("n_layer"))
    lists = [value for value in config.values() if isinstance(value, list | str) and len(value) == wanted]
    for before, parts in layers.items():
        kinds: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for number in sorted(parts):
            if type(wanted) is not int or number < wanted:  # others look ahead
                kinds[_modules(parts[number]), *(str(value[number]) for value in lists)].append(number)
        for numbers in kinds.values():
            everything = set().union(*(parts[number] for number in numbers))
            for number in numbers:
                yield from (f"{before}.{number}.{part}" for part in sorted(everything - parts[number]))


def _modules(parts: set[str]) -> frozenset[str]:
    """What a layer is made of: attention, recurrence, experts."""
    names = {part.partition(".")[0] for part in parts if part.count(".") > 1}
    return frozenset(names | ({"experts"} if any("expert" in part for part in parts) else set()))

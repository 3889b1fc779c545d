"""Architectures that llama.cpp computes as transformers does, and their metadata in a GGUF file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, GGUFWriter, RopeScalingType, TensorNameMap, get_tensor_name_map

from chatlab.errors import EngineUnable

ELSEWHERE = "Transformers serves it instead; nothing else changes."
SLIDING_EVERY = 6
"""Gemma 3: every sixth layer sees everything, the others a window. llama.cpp takes no other pattern."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """How the tensors of an architecture are converted."""

    arch: MODEL_ARCH
    permuted: bool = False
    """Rows of the query and key matrices go in pairs that are turned together (llama.cpp's older order)."""
    plus_one: bool = False
    """Norms are stored as their difference from one."""

    @property
    def name(self) -> str:
        return MODEL_ARCH_NAMES[self.arch]

    def names(self, layers: int) -> TensorNameMap:
        return get_tensor_name_map(self.arch, layers)


ARCHITECTURES = {
    "llama": Architecture(arch=MODEL_ARCH.LLAMA, permuted=True),
    "mistral": Architecture(arch=MODEL_ARCH.LLAMA, permuted=True),
    "qwen2": Architecture(arch=MODEL_ARCH.QWEN2),
    "qwen3": Architecture(arch=MODEL_ARCH.QWEN3),
    "gemma": Architecture(arch=MODEL_ARCH.GEMMA, plus_one=True),
    "gemma3_text": Architecture(arch=MODEL_ARCH.GEMMA3, plus_one=True),
    "smollm3": Architecture(arch=MODEL_ARCH.SMOLLM3, permuted=True),
    "phi3": Architecture(arch=MODEL_ARCH.PHI3),
}
"""Keyed by transformers' `model_type`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rope:
    """Parameters of the rotary position embedding."""

    theta: float = 10000.0
    kind: str = "default"
    factor: float = 1.0
    low: float = 1.0
    high: float = 4.0
    original: int = 8192
    """Context before it was stretched, for the kind `llama3`."""


def architecture(config: Mapping[str, Any]) -> Architecture:
    """Raises EngineUnable, in words, for a model that llama.cpp would compute otherwise than it was trained."""
    kind = str(config.get("model_type"))
    if kind not in ARCHITECTURES:
        raise EngineUnable(f"llama.cpp is not used for {kind} models here.", ELSEWHERE)
    if reason := next(_unsupported(kind, config), ""):
        raise EngineUnable(f"llama.cpp cannot run this {kind} model: {reason}.", ELSEWHERE)
    return ARCHITECTURES[kind]


def heads(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """Query heads, key and value heads, and the width of one."""
    count = int(config["num_attention_heads"])
    few = int(config.get("num_key_value_heads") or count)
    return count, few, int(config.get("head_dim") or config["hidden_size"] // count)


def rope(config: Mapping[str, Any], layers: str = "full_attention") -> Rope:
    """Read transformers 5's `rope_parameters`, or the `rope_theta` and `rope_scaling` of older configs."""
    raw = config.get("rope_parameters") or config.get("rope_scaling") or {}
    raw = raw.get(layers, raw) or {}
    return Rope(
        theta=float(raw.get("rope_theta") or config.get("rope_theta") or 10000.0),
        kind=str(raw.get("rope_type") or raw.get("type") or "default"),
        factor=float(raw.get("factor") or 1.0),
        low=float(raw.get("low_freq_factor") or 1.0),
        high=float(raw.get("high_freq_factor") or 4.0),
        original=int(raw.get("original_max_position_embeddings") or 8192),
    )


def describe(writer: GGUFWriter, config: Mapping[str, Any], context: int) -> None:
    """Write the model's sizes."""
    count, few, width = heads(config)
    scaling = rope(config)
    writer.add_context_length(context)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(count)
    writer.add_head_count_kv(few)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(int(width * _turned(config)))
    writer.add_layer_norm_rms_eps(float(config.get("rms_norm_eps", 1e-6)))
    writer.add_rope_freq_base(scaling.theta)
    writer.add_vocab_size(config["vocab_size"])
    if scaling.kind == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling.factor)
    if config["model_type"] == "phi3" and config.get("sliding_window"):
        writer.add_sliding_window(int(config["sliding_window"]))
    if config["model_type"] == "gemma3_text":
        writer.add_sliding_window(int(config.get("sliding_window") or 4096))
        writer.add_rope_freq_base_swa(_local_theta(config))


def _turned(config: Mapping[str, Any]) -> float:
    """The part of a head's width that carries positions."""
    given = config.get("rope_parameters") or {}
    return float(given.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0)


def _local_theta(config: Mapping[str, Any]) -> float:
    if "rope_parameters" in config:
        return rope(config, "sliding_attention").theta
    return float(config.get("rope_local_base_freq") or 10000.0)


def _unsupported(kind: str, config: Mapping[str, Any]) -> Iterator[str]:
    """Why llama.cpp would not compute this model as it was trained."""
    scaling = rope(config)
    layers = int(config["num_hidden_layers"])
    if scaling.kind not in ("default", "linear", "llama3"):
        yield f"it stretches its context by {scaling.kind!r}"
    if (scaling.kind == "llama3") and kind not in ("llama", "mistral"):
        yield "it stretches its context as Llama 3 does"
    if config.get("mlp_bias"):
        yield "its feed-forward layers have biases"
    if config.get("attention_bias") and kind not in ("llama", "qwen2"):
        yield "its attention has biases"
    if config.get("hidden_act", config.get("hidden_activation", "silu")) not in _ACTIVATIONS[kind]:
        yield f"its activation is {config.get('hidden_act')!r}"
    window = config.get("sliding_window")
    if kind == "gemma3_text":
        if config.get("final_logit_softcapping") or config.get("attn_logit_softcapping"):
            yield "its scores are capped"
        if (config.get("query_pre_attn_scalar") or heads(config)[2]) != heads(config)[2]:
            yield "its attention is scaled in an unusual way"
        if config.get("layer_types") not in (None, _gemma_layers(layers)):
            yield "its layers alternate in an unusual order"
    elif kind == "smollm3":
        if config.get("no_rope_layers") not in (None, [int((n + 1) % 4 != 0) for n in range(layers)]):
            yield "its layers leave out positions in an unusual order"
    elif window and kind != "phi3" and config.get("use_sliding_window", kind == "mistral"):
        yield f"each token sees the last {window} tokens only"


_ACTIVATIONS = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "smollm3", "phi3"), ("silu",)),
    **dict.fromkeys(("gemma", "gemma3_text"), ("gelu_pytorch_tanh", "gelu", "silu")),
}


def _gemma_layers(layers: int) -> list[str]:
    return ["full_attention" if (n + 1) % SLIDING_EVERY == 0 else "sliding_attention" for n in range(layers)]

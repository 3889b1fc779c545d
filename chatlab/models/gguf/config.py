"""The config.json that transformers needs to compute what a GGUF file holds, told from the file's header.

llama.cpp fixes some of it by architecture (activation, order of sliding layers), so it stands in a table here. What
cannot be told, or is computed otherwise by the two, is refused for training: the file can still be talked to.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from chatlab.errors import BaseRefused
from chatlab.models.gguf.architectures import ARCHITECTURES, SLIDING_EVERY, Architecture
from chatlab.models.gguf.header import Header

NORMS = ("input_layernorm", "post_attention_layernorm")
ATTENTION = tuple(f"self_attn.{name}_proj" for name in "qkvo")
MLP = tuple(f"mlp.{name}_proj" for name in ("gate", "up", "down"))
HEAD_NORMS = ("self_attn.q_norm", "self_attn.k_norm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A class of transformers that computes an architecture of llama.cpp."""

    model_type: str
    causal: str
    modules: tuple[str, ...] = (*NORMS, *ATTENTION, *MLP)
    """The modules of each layer, as transformers names them."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """What its config says for every model."""

    @property
    def architecture(self) -> Architecture:
        return ARCHITECTURES[self.model_type]


_SILU = {"hidden_act": "silu"}
_GELU = {"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh"}
NETWORKS: dict[str, Network] = {
    "llama": Network(model_type="llama", causal="LlamaForCausalLM", fixed=_SILU),
    "qwen2": Network(model_type="qwen2", causal="Qwen2ForCausalLM", fixed={**_SILU, "use_sliding_window": False}),
    "qwen3": Network(
        model_type="qwen3",
        causal="Qwen3ForCausalLM",
        modules=(*NORMS, *ATTENTION, *HEAD_NORMS, *MLP),
        fixed={**_SILU, "use_sliding_window": False},
    ),
    "gemma": Network(model_type="gemma", causal="GemmaForCausalLM", fixed=_GELU),
    "gemma3": Network(
        model_type="gemma3_text",
        causal="Gemma3ForCausalLM",
        modules=(*NORMS, "pre_feedforward_layernorm", "post_feedforward_layernorm", *ATTENTION, *HEAD_NORMS, *MLP),
        fixed=_GELU,
    ),
    "smollm3": Network(model_type="smollm3", causal="SmolLM3ForCausalLM", fixed=_SILU),
    "phi3": Network(
        model_type="phi3",
        causal="Phi3ForCausalLM",
        modules=(*NORMS, "self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"),
        fixed=_SILU,
    ),
}
"""By llama.cpp's name of the architecture."""


def network(header: Header) -> Network:
    """Raises BaseRefused, with the reason, for a model that transformers would compute otherwise than llama.cpp."""
    arch = header.architecture
    if arch not in NETWORKS:
        raise untrainable(f"{arch} models cannot be unpacked here; {', '.join(NETWORKS)} can")
    if reason := next(_doubts(header, NETWORKS[arch]), ""):
        raise untrainable(reason)
    return NETWORKS[arch]


def untrainable(why: str) -> BaseRefused:
    return BaseRefused(f"This base can chat, but not train: {why}.", "Use its safetensors folder to train it.")


def tensors_of(header: Header, of: Network) -> dict[str, str]:
    """Name in transformers -> name in the file, of every tensor of the network.

    Raises BaseRefused where one is missing, or the file holds one that the network has no place for.
    """
    layers = _size(header, "block_count")
    if layers > len(header.tensors):  # before lists are made of as many as a header claims
        raise untrainable(f"it claims {layers:,} layers and has {len(header.tensors):,} tensors")
    names = of.architecture.names(layers)
    modules = ["model.embed_tokens", "model.norm", "lm_head"]
    modules += [f"model.layers.{layer}.{module}" for layer in range(layers) for module in of.modules]
    found: dict[str, str] = {}
    for module in modules:
        for part in ("weight", "bias"):
            name = names.get_name(f"{module}.{part}", try_suffixes=(".weight", ".bias"))
            if name in header.tensors:
                found[f"{module}.{part}"] = str(name)
            elif part == "weight" and module != "lm_head":
                raise untrainable(f"it has no {module}")
    if odd := sorted(header.tensors.keys() - set(found.values()) - {"rope_freqs.weight"}):
        raise untrainable(f"its network has a part that transformers does not know, {odd[0][:60]}")
    return found


def full_config(header: Header, of: Network, stretch: bytes = b"") -> dict[str, Any]:
    """Every size and constant of the network. `stretch` is the data of `rope_freqs.weight`, where there is one."""
    tensors = tensors_of(header, of)
    heads = _size(header, "attention.head_count")
    hidden = _size(header, "embedding_length")
    width = _size(header, "attention.key_length", hidden // max(1, heads))
    ends = [header.number(f"tokenizer.ggml.{name}_token_id", -1) for name in ("bos", "eos", "padding")]
    return {
        "model_type": of.model_type,
        "architectures": [of.causal],
        "dtype": "bfloat16",
        "vocab_size": header.tensors["token_embd.weight"].shape[1],
        "max_position_embeddings": _size(header, "context_length"),
        "hidden_size": hidden,
        "intermediate_size": _size(header, "feed_forward_length"),
        "num_hidden_layers": _size(header, "block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": _size(header, "attention.head_count_kv", heads),
        "head_dim": width,
        "rms_norm_eps": _real(header, "attention.layer_norm_rms_epsilon", 1e-6),
        "tie_word_embeddings": "lm_head.weight" not in tensors,
        **{name: i for name, i in zip(("bos_token_id", "eos_token_id", "pad_token_id"), ends, strict=True) if i >= 0},
        **of.fixed,
        **_biases(of, tensors),
        **_positions(header, of, width, stretch),
    }


def _positions(header: Header, of: Network, width: int, stretch: bytes) -> dict[str, Any]:
    """How positions are written into queries and keys, and which layers see how far."""
    theta = _real(header, "rope.freq_base", 10000.0)
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": theta}
    if stretch:
        factor, original = _stretched(stretch, theta, width)
        rope |= {"rope_type": "llama3", "factor": factor, "original_max_position_embeddings": original}
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    elif header.text(_key(header, "rope.scaling.type"), "none") == "linear":
        rope |= {"rope_type": "linear", "factor": _real(header, "rope.scaling.factor", 1.0)}
    if of.model_type == "gemma3_text":
        layers = _size(header, "block_count")
        local = {"rope_type": "default", "rope_theta": _real(header, "rope.freq_base_swa", 10000.0)}
        kinds = ["full_attention" if (n + 1) % SLIDING_EVERY == 0 else "sliding_attention" for n in range(layers)]
        return {
            "rope_parameters": {"full_attention": rope, "sliding_attention": local},
            "sliding_window": _size(header, "attention.sliding_window", 4096),
            "layer_types": kinds,
            "query_pre_attn_scalar": width,
        }
    if of.model_type == "phi3":
        turned = _size(header, "rope.dimension_count", width)
        rope |= {"partial_rotary_factor": turned / width}
        window = header.number(_key(header, "attention.sliding_window"), 0)
        return {"rope_parameters": rope, "sliding_window": window or None, "partial_rotary_factor": turned / width}
    return {"rope_parameters": rope}


def _stretched(stretch: bytes, theta: float, width: int) -> tuple[float, int]:
    """The factor and the original context of Llama 3's kind of stretching, from what it makes of them.

    `stretch` holds by how much each frequency (width / 2,) is divided: 1 for waves shorter than a quarter of the
    original context, the factor for those longer than it, and between them 1 / ((1 - t) / factor + t) with
    t = (context / wave - 1) / 3.
    """
    given = struct.unpack(f"<{len(stretch) // 4}f", stretch)
    waves = [2 * math.pi * theta ** (2 * n / width) for n in range(width // 2)]
    factor = round(max(given, default=1.0), 3)
    between = [(slow, wave) for slow, wave in zip(given, waves, strict=False) if 1.01 < slow < 0.99 * factor]
    if len(given) == len(waves) and between:
        slow, wave = between[0]
        original = round(wave * (1 + 3 * (1 / slow - 1 / factor) / (1 - 1 / factor)))
        if all(math.isclose(_slowed(w, factor, original), s, rel_tol=1e-3) for w, s in zip(waves, given, strict=True)):
            return factor, original
    raise untrainable("it stretches its context in a way that is not known here")


def _slowed(wave: float, factor: float, original: int) -> float:
    """By what Llama 3 divides the frequency of this wave length."""
    if wave < original / 4:
        return 1.0
    if wave > original:
        return factor
    between = (original / wave - 1) / 3
    return 1 / ((1 - between) / factor + between)


def _biases(of: Network, tensors: Mapping[str, str]) -> dict[str, bool]:
    """What a config says of biases. Raises BaseRefused for those that its class has no place for."""
    with_bias = {name.split(".", 3)[-1].removesuffix(".bias") for name in tensors if name.endswith(".bias")}
    attention = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}
    if not with_bias and of.model_type != "qwen2":
        return {"attention_bias": False}
    if of.model_type == "qwen2" and with_bias == attention:
        return {}
    if of.model_type in ("llama", "qwen3") and with_bias == {*attention, "self_attn.o_proj"}:
        return {"attention_bias": True}
    raise untrainable("its layers have biases where transformers has none")


def _doubts(header: Header, of: Network) -> Iterator[str]:
    """Why transformers would not compute this model as llama.cpp does."""
    scaling = header.text(_key(header, "rope.scaling.type"), "none")
    layers = _size(header, "block_count")
    if scaling not in ("none", "linear"):
        yield f"it stretches its context by {scaling[:20]}"
    if any(name.startswith(("rope_factors", "blk.0.attn_rot")) for name in header.tensors):
        yield "it stretches its context by longrope"
    for key in ("attention.head_count_kv", "attention.head_count", "feed_forward_length"):
        value = header.values.get(_key(header, key))
        if isinstance(value, list) and len(set(value)) > 1:
            yield "its layers differ in size"
    if header.number(_key(header, "expert_count"), 0):
        yield "it is a mixture of experts"
    if of.model_type == "gemma3_text" and layers == 62:
        yield "the largest Gemma 3 scales its attention in a way of its own"
    for key in (
        "final_logit_softcapping",
        "attn_logit_softcapping",
        "attention.scale",
        "logit_scale",
        "embedding_scale",
    ):
        if header.values.get(_key(header, key)):
            yield f"it scales what others do not ({key})"
    width = _size(header, "attention.key_length", 0)
    if width and header.number(_key(header, "attention.value_length"), width) != width:
        yield "its keys and values differ in width"


def _key(header: Header, name: str) -> str:
    return f"{header.architecture}.{name}"


def _size(header: Header, name: str, default: int | None = None) -> int:
    """Raises BaseRefused for one that is missing or not positive."""
    size = header.number(_key(header, name), -1 if default is None else default)
    if size < 1 and default != 0:
        raise untrainable(f"it does not say its {name}")
    return size


def _real(header: Header, name: str, default: float) -> float:
    value = header.values.get(_key(header, name), default)
    if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise untrainable(f"its {name} is {str(value)[:20]}")
    return float(value)

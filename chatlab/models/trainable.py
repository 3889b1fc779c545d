"""Why a base that can be talked to cannot be trained here, told from its config and the names of its weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from chatlab.errors import BaseRefused

OWN_ATTENTION = frozenset(
    [
        "bailing_hybrid",
        "bamba",
        "bart",
        "big_bird",
        "bigbird_pegasus",
        "biogpt",
        "blenderbot",
        "blenderbot-small",
        "bloom",
        "blt",
        "codegen",
        "cpmant",
        "falcon",
        "falcon_h1",
        "falcon_mamba",
        "git",
        "gpt_neo",
        "gpt_neox_japanese",
        "gptj",
        "jamba",
        "kimi_linear",
        "mamba",
        "mamba2",
        "marian",
        "mbart",
        "megatron-bert",
        "mpt",
        "musicgen",
        "musicgen_melody",
        "mvp",
        "nemotron_h",
        "olmo_hybrid",
        "openai-gpt",
        "pegasus",
        "plbart",
        "prophetnet",
        "qwen3_5",
        "qwen3_5_moe",
        "qwen3_5_moe_text",
        "qwen3_5_text",
        "qwen3_next",
        "reformer",
        "rembert",
        "roformer",
        "rwkv",
        "stablelm",
        "trocr",
        "whisper",
        "xglm",
        "xlm",
        "xlnet",
        "xlstm",
        "zamba",
        "zamba2",
    ]
)
"""Networks of transformers that do not let another attention be put in: training packs demonstrations into one row,
each of which must see itself alone."""
TRAINED = frozenset(
    [
        *("afmoe", "apertus", "arcee", "aria_text", "bitnet", "cohere", "cohere2", "cohere2_moe", "ctrl"),
        *("cwm", "diffllama", "dots1", "ernie4_5", "ernie4_5_moe", "exaone4", "exaone_moe"),
        *("flex_olmo", "fuyu", "gemma", "gemma2", "gemma3_text", "gemma4_text", "gemma4_unified_text", "glm"),
        *("glm4", "glm4_moe", "gpt-sw3", "gpt2", "gpt_bigcode", "gpt_neox", "granite", "granitemoe"),
        *("granitemoeshared", "helium", "hrm_text", "hunyuan_v1_dense", "hunyuan_v1_moe", "hy_v3"),
        *("hyperclovax", "internlm3", "iquestcoder", "jais2", "jetmoe", "kolibri1", "laguna", "llama"),
        *("mellum", "minimax_m2", "minimax_m3_vl_text", "ministral", "ministral3", "mistral", "mixtral"),
        *("moshi", "olmo", "olmo2", "olmo3", "olmoe", "opt", "persimmon", "phi", "phi3", "qwen2", "qwen2_moe"),
        *("qwen3", "qwen3_moe", "seed_oss", "smollm3", "solar_open", "starcoder2", "vaultgemma"),
    ]
)
"""Networks of transformers of which tiny ones with random weights were trained here, and computed what transformers
computes, also past their windows (`docs/families.md`)."""
RECURRENT = ("mamba", "rwkv", "recurrent", "linear_attention", "xlstm", "conv")
"""Words in the names of networks, or of their layers, that compute something else than attention."""
CAPS = ("final_logit_softcapping", "attn_logit_softcapping")
CAPPED = frozenset(["gemma2", "vaultgemma", "beam", "gemma3n_text", "inkling2_text"])
"""Networks that cap their scores unless the config says that they do not."""
ENCODERS = frozenset(
    ["bert", "bert-generation", "camembert", "data2vec-text", "electra", "ernie", "roberta", "roc_bert"]
)
"""Networks that read in both directions as a rule."""
SWITCHED = frozenset(["qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "smollm3"])
"""Networks whose windows are off unless the config switches them on."""
WINDOWED = frozenset(
    [
        *("afmoe", "cohere2", "cohere2_moe", "cwm", "dots1", "exaone4", "exaone_moe", "gemma3_text", "gemma4_text"),
        *("gemma4_unified_text", "kolibri1", "laguna", "mellum", "ministral", "ministral3", "mistral", "mixtral"),
        *("moshi", "olmo3", "phi3", "qwen2", "qwen3", "qwen3_moe", "smollm3", "starcoder2"),
    ]
)
"""Networks whose windows reach the attention that training computes; in others only a mask tells of them."""
SINKS = frozenset(["gpt_oss", "flint", "granite_swa", "granitemoe_swa", "mimo_v2_flash"])
"""Networks whose attention can look at nothing: a score for no token beside those of the tokens."""
ODD = {
    "deepseek_v4": "its attention compresses keys and values",
    "doge": "its attention weighs tokens by a mask of its own",
    "lfm2": "it has layers without attention",
    "lfm3": "it has layers without attention",
    "llama4_text": "its experts are chosen by a layer that an adapter cannot be put on",
    "nemotron": "its layers do not tell its attention which tokens belong to one text",
    "phimoe": "its experts are chosen by a layer that an adapter cannot be put on",
    "zaya": "its attention mixes each token with those before it first (convolution)",
}
"""Networks that let another attention be put in, and cannot be trained for a reason of their own.

The layer that chooses experts is a linear one to peft, which would adapt it, and gives more than one result.
"""
INSTEAD = (
    "Chat with it as it is, or train another: Llama, Mistral, Qwen 2 and 3, Gemma 3, SmolLM, Phi-3 and GPT-2 can be."
)

SIBLINGS = {
    "deepseek": "DeepSeek-R1-Distill models are Llama and Qwen 2 networks, which can be trained.",
    "llama4": "Llama 3 models can be trained.",
    "nemotron": "Llama-Nemotron and Minitron models that are Llama networks can be trained.",
    "phi": "Phi-3, Phi-3.5 and Phi-4 models (Phi-3 networks) can be trained.",
    "qwen": "Qwen 2, 2.5 and 3 models can be trained.",
    "gemma": "Gemma 1 and Gemma 3 text models can be trained.",
    "lfm": "SmolLM and Qwen 3 models of this size can be trained.",
}
"""What the makers of a network have that can be trained, by what the names of the network begin with."""


def check_trainable(config: Mapping[str, Any], tensors: Collection[str]) -> None:
    """Raises BaseRefused with the reason, and with what would work instead."""
    if reason := _reason(config, tensors):
        kind = str(config.get("model_type"))
        sibling = next((hint for name, hint in SIBLINGS.items() if kind.startswith(name)), "")
        raise BaseRefused(f"This base can chat, but not train: {reason}.", f"{sibling} {INSTEAD}".strip())


def _reason(config: Mapping[str, Any], tensors: Collection[str]) -> str:
    kind = config.get("model_type")
    if caps := [cap for cap in CAPS if config.get(cap, kind in CAPPED)]:
        return f"its scores are capped ({caps[0]})"
    if kind in SINKS:
        return "its attention has sinks"
    if config.get("alibi"):
        return "its attention has biases by distance (ALiBi)"
    if any(word in f"{kind} {config.get('layer_types') or ()}" for word in RECURRENT):
        return "it has layers without attention"
    if kind in OWN_ATTENTION:
        return f"{kind} networks compute attention in a way of their own"
    if any(name.endswith(("lm_head.bias", "embed_out.bias", "decoder.bias")) for name in tensors):
        return "its output has a bias"
    if kind in ENCODERS:
        return f"{kind} networks read in both directions"
    if kind in ODD:
        return ODD[str(kind)]
    if config.get("kv_lora_rank"):
        return "its attention keeps keys and values of different widths"
    if config.get("sliding_window") and not _window_is_known(kind, config):
        return "its window is not computed here"
    if kind not in TRAINED:
        return f"{kind} networks have not been shown to compute the same here as in chat"
    return ""


def _window_is_known(kind: object, config: Mapping[str, Any]) -> bool:
    """False where transformers' mask has a window of which its attention is not told."""
    if config.get("use_sliding_window", kind not in SWITCHED):
        return kind in WINDOWED
    return "sliding_attention" not in (config.get("layer_types") or ())

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
RECURRENT = ("mamba", "rwkv", "recurrent", "linear_attention", "xlstm")
"""Words in the names of networks, or of their layers, that compute something else than attention."""
CAPS = ("final_logit_softcapping", "attn_logit_softcapping")
INSTEAD = (
    "Chat with it as it is, or train another: Llama, Mistral, Qwen 2 and 3, Gemma 3, SmolLM, Phi-3 and GPT-2 can be."
)


def check_trainable(config: Mapping[str, Any], tensors: Collection[str]) -> None:
    """Raises BaseRefused with the reason, and with what would work instead."""
    if reason := _reason(config, tensors):
        raise BaseRefused(f"This base can chat, but not train: {reason}.", INSTEAD)


def _reason(config: Mapping[str, Any], tensors: Collection[str]) -> str:
    kind = config.get("model_type")
    if caps := [cap for cap in CAPS if config.get(cap)]:
        return f"its scores are capped ({caps[0]})"
    if kind == "gpt_oss":
        return "its attention has sinks"
    if config.get("alibi"):
        return "its attention has biases by distance (ALiBi)"
    if any(word in f"{kind} {config.get('layer_types') or ()}" for word in RECURRENT):
        return "it has layers without attention"
    if kind in OWN_ATTENTION:
        return f"{kind} networks compute attention in a way of their own"
    if any(name.endswith(("lm_head.bias", "embed_out.bias")) for name in tensors):
        return "its output has a bias"
    return ""

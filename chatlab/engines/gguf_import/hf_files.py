"""What a GGUF file says of its model, written as the files that any other base brings in its folder."""

from __future__ import annotations

import json
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from chatlab.engines.gguf_import.tokenizer import tokenizer_of
from chatlab.engines.llamacpp.vocab import Native
from chatlab.errors import BaseRefused, TemplateRefused
from chatlab.models.gguf.header import Header, damaged
from chatlab.template.sandbox import LONGEST

KINDS = {"gemma3": "gemma3_text"}
"""Architectures that transformers calls otherwise."""


def write_papers(file: Path, header: Header, native: Native, to: Path) -> None:
    """config.json, generation_config.json, tokenizer and chat template. Raises BaseRefused, TemplateRefused."""
    if not native.continues:
        raise BaseRefused("The file's model does not continue text, so it cannot chat.", "Bring another model.")
    _write(to / "config.json", config(header, native))
    _write(to / "generation_config.json", {"eos_token_id": native.ends})
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer_of(header, native),
        chat_template=chat_template(file, header),
        clean_up_tokenization_spaces=False,
        **{name: header.texts("tokenizer.ggml.tokens")[token] for name, token in native.named.items()},
    ).save_pretrained(to)


def config(header: Header, native: Native) -> dict[str, int | str]:
    """The sizes of the network, by the names that transformers gives them."""
    arch = header.architecture
    few = header.number(f"{arch}.attention.head_count_kv") or native.heads
    width = header.number(f"{arch}.attention.key_length") or native.width // max(1, native.heads)
    sizes = {
        "vocab_size": native.tokens,
        "max_position_embeddings": native.context,
        "hidden_size": native.width,
        "num_hidden_layers": native.layers,
        "num_attention_heads": native.heads,
        "num_key_value_heads": few,
        "head_dim": width,
    }
    if odd := next((name for name, size in sizes.items() if size < 1), ""):
        raise damaged(f"it says {sizes[odd]} for {odd}")
    return {"model_type": KINDS.get(arch, arch)} | sizes


def chat_template(file: Path, header: Header) -> str:
    """The one beside the file if there is one, or else the one inside.

    None is made up: a model that is asked in another form than it learned answers nonsense, and nobody could tell why.
    """
    beside = template_file(file)
    if beside.is_file() and beside.stat().st_size <= 4 * LONGEST:
        return beside.read_text(encoding="utf-8", errors="replace")
    if found := header.text("tokenizer.chat_template"):
        return found
    raise TemplateRefused(
        f"{file.name} brings no chat template, and how its model wants to be asked cannot be guessed.",
        f"Choose a model made for chat, or put the template that its makers give beside it, as {beside.name}.",
    )


def template_file(file: Path) -> Path:
    """Where somebody may put another chat template than the one inside."""
    return file.with_suffix(".jinja")


def _write(to: Path, value: object) -> None:
    to.write_text(json.dumps(value, indent=2), encoding="utf-8")

"""The config, tokenizer and chat template of a GGUF file, written as the files of a Hugging Face folder."""

from __future__ import annotations

import json
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from chatlab.engines.gguf_import.probes import Splitter
from chatlab.engines.gguf_import.tokenizer import begun_as, tokenizer_of
from chatlab.engines.gguf_import.validator import GIVEN
from chatlab.engines.gguf_import.vocab import Vocab
from chatlab.errors import BaseRefused, TemplateRefused
from chatlab.models.gguf.header import Header, damaged
from chatlab.template.sandbox import LONGEST

KINDS = {"gemma3": "gemma3_text"}
"""Architectures that transformers calls otherwise."""


def write_hf_files(file: Path, header: Header, vocab: Vocab, to: Path, splitter: Splitter | None = None) -> None:
    """config.json, generation_config.json, tokenizer and chat template. Raises BaseRefused, TemplateRefused.

    The tokenizer is held to `splitter`, llama.cpp, where that is installed.
    """
    if not vocab.is_causal:
        raise BaseRefused("The file's model does not continue text, so it cannot chat.", "Use another model.")
    _write(to / "config.json", config(header, vocab))
    _write(to / "generation_config.json", {"eos_token_id": vocab.ends})
    PreTrainedTokenizerFast(
        tokenizer_object=begun_as(tokenizer_of(header, vocab, splitter), vocab),
        chat_template=chat_template(file, header, to),
        clean_up_tokenization_spaces=False,
        **{name: header.texts("tokenizer.ggml.tokens")[token] for name, token in vocab.named.items()},
    ).save_pretrained(to)


def config(header: Header, vocab: Vocab) -> dict[str, int | str]:
    """The model's sizes under transformers' names."""
    arch = header.architecture
    few = header.number(f"{arch}.attention.head_count_kv") or vocab.heads
    width = header.number(f"{arch}.attention.key_length") or vocab.width // max(1, vocab.heads)
    sizes = {
        "vocab_size": vocab.tokens,
        "max_position_embeddings": vocab.context,
        "hidden_size": vocab.width,
        "num_hidden_layers": vocab.layers,
        "num_attention_heads": vocab.heads,
        "num_key_value_heads": few,
        "head_dim": width,
    }
    if odd := next((name for name, size in sizes.items() if size < 1), ""):
        raise damaged(f"it says {sizes[odd]} for {odd}")
    return {"model_type": KINDS.get(arch, arch)} | sizes


def chat_template(file: Path, header: Header, to: Path) -> str:
    """The chat template that a person gave, else the one beside the file, else the one inside.

    There is no default: a model answers nonsense in another template than its own, and nobody could tell why.
    """
    if (to / GIVEN).is_file():
        return (to / GIVEN).read_text(encoding="utf-8")
    beside = template_file(file)
    if beside.is_file() and beside.stat().st_size <= 4 * LONGEST:
        return beside.read_text(encoding="utf-8", errors="replace")
    if found := header.text("tokenizer.chat_template"):
        return found
    raise TemplateRefused(
        f"{file.name} has no chat template, and it cannot be guessed.",
        f"Choose a model made for chat, or give it a chat template in Models, or beside it, as {beside.name}.",
    )


def template_file(file: Path) -> Path:
    """Path of a chat template that replaces the one inside the file."""
    return file.with_suffix(".jinja")


def _write(to: Path, value: object) -> None:
    to.write_text(json.dumps(value, indent=2), encoding="utf-8")

"""What a tokenizer brings to its chat template: the template itself, its special tokens, and which tokens steer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from chatlab.errors import TemplateRefused

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from chatlab.models.isolated import IsolatedTokenizer


def own_source(tokenizer: PreTrainedTokenizerFast | IsolatedTokenizer) -> str:
    """The template that it brings. Raises TemplateRefused where it brings none."""
    source = tokenizer.chat_template
    if isinstance(source, Mapping):
        source = source.get("default")
    if not source:
        raise TemplateRefused(
            "The model brings no chat template.", "Choose a model made for chat, or give it a chat_template.jinja."
        )
    return str(source)


def special(tokenizer: PreTrainedTokenizerFast | IsolatedTokenizer) -> dict[str, Any]:
    """The names of special tokens, as transformers gives them to templates."""
    named = {name: str(text) for name, text in tokenizer.special_tokens_map.items() if isinstance(text, str)}
    return named | {"additional_special_tokens": [str(text) for text in tokenizer.extra_special_tokens]}


def control(tokenizer: PreTrainedTokenizerFast | IsolatedTokenizer, source: str) -> Iterator[str]:
    """Added tokens that steer: the special ones, and those that the template writes."""
    for token in tokenizer.added_tokens_decoder.values():
        if token.special or (token.content in source and not token.content.isspace()):
            yield token.content

"""Tiny models to be written as GGUF, and texts on which tokenizers are compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatlab.engines.base import Sampling, Variant
from chatlab.models.base import Base
from chatlab.records import Message
from tests.support.hostile.gguf import text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CHATML = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}</s>{% endfor %}"
NAME = "a-name-that-is-long-enough-to-be-cut"
"""A model's name that has room for that of another pre-tokenizer, see `called`."""
TEXTS = (
    "Hello, how are you today?",
    "It's  two spaces\tand a tab\n\n\nand   blank lines  ",
    "def f(x):\n    return {'a': x ** 2, \"b\": [1, 22, 333]}  # done",
    "Zoë naïve café – “quoted” … 日本語 русский العربية",
    "🙂👩‍👩‍👧‍👦🇫🇷 emoji, ½ ² ①",
    "1234567890 3.14159 1,000,000",
    "don't I'LL we've O'Neill",
    "\u00a0non\u2003breaking\u200bspaces\ufeff",
)
GREEDY = Sampling(temperature=0.0, repetition_penalty=1.0, max_tokens=12)
ASKED = [Message(role="user", content="What is the moon made of?")]


def tiny_llama(folder: Path, tokenizer: PreTrainedTokenizerFast, **sizes: Any) -> Path:
    """The folder of a Llama that has learned nothing, with this tokenizer; half a megabyte as GGUF."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=1,
        eos_token_id=tokenizer.eos_token_id,
        **sizes,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.chat_template = tokenizer.chat_template or CHATML.replace("</s>", str(tokenizer.eos_token))
    tokenizer.save_pretrained(folder)
    return folder


def called(file: Path, way: str, to: Path) -> Path:
    """The same file, its text to be cut in the way of that name. What that adds is taken off the model's name."""
    spared = (NAME + NAME)[: len(NAME) - len(way) + len("gpt-2")]
    data = file.read_bytes().replace(text(NAME), text(spared), 1).replace(text("gpt-2"), text(way), 1)
    to.write_bytes(data)
    return to


def said(engine: Any, base: Base, variant: Variant = Variant()) -> str:  # noqa: B008
    pieces = engine.stream(base.template.prompt(ASKED), GREEDY, variant, base.template.stop_ids)
    return "".join(piece.text for piece in pieces)

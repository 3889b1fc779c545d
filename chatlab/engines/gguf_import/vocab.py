"""What a GGUF's tokenizer is made of: told by llama.cpp, or read from the header where llama.cpp is not installed."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

from chatlab.models.gguf.header import BYTE_LEVEL, Header, damaged

UNKNOWN, UNUSED, NORMAL, CONTROL, USER_DEFINED, BYTE = 1, 2, 4, 8, 16, 32
"""Bits of llama.cpp's LLAMA_TOKEN_ATTR."""
LSTRIP, RSTRIP, SINGLE_WORD = 256, 512, 1024
_TYPES = {1: NORMAL, 2: UNKNOWN, 3: CONTROL, 4: USER_DEFINED, 5: UNUSED, 6: BYTE}
"""The bits of `tokenizer.ggml.token_type`."""
_ENDS = (
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "<｜end▁of▁sentence｜>",
)
"""Texts of tokens that end a reply, whatever else the file calls its end."""
_BEGINNING = ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "tekken")
"""Byte-level tokenizers that put a begin token before every text where the file does not say; of others all do."""
_DEFAULTS = {BYTE_LEVEL: {"bos": 11, "eos": 11}}
_DEFAULT = {"bos": 1, "eos": 2}
"""The ids that llama.cpp takes where a file names none: for byte-level tokenizers, and for others."""


class Vocab(Protocol):
    """The sizes, special tokens and ends of a file's model."""

    @property
    def tokens(self) -> int: ...
    @property
    def context(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def parameters(self) -> int: ...
    @property
    def is_causal(self) -> bool:
        """Whether it continues text."""

    @property
    def ends(self) -> list[int]:
        """The tokens that end a reply."""

    @property
    def begins(self) -> bool:
        """Whether llama.cpp puts the begin token before every text."""

    @property
    def named(self) -> dict[str, int]:
        """The tokens that have a part of their own, by the names that transformers gives them."""

    def attributes(self, token: int) -> int:
        """The bits of LLAMA_TOKEN_ATTR."""


class HeaderVocab:
    """A vocabulary as the header has it. Raises BaseRefused where that is damaged."""

    is_causal = True

    def __init__(self, header: Header) -> None:
        arch = header.architecture
        self._header = header
        self._texts = header.texts("tokenizer.ggml.tokens")
        self._types = self._token_types()
        self.tokens = len(self._texts)
        self.context = header.number(f"{arch}.context_length")
        self.width = header.number(f"{arch}.embedding_length")
        self.layers = header.number(f"{arch}.block_count")
        self.heads = header.number(f"{arch}.attention.head_count")
        self.parameters = sum(tensor.numbers for tensor in header.tensors.values())

    def attributes(self, token: int) -> int:
        return _TYPES.get(self._types[token], NORMAL)

    @cached_property
    def ends(self) -> list[int]:
        named = {self._id(part) for part in ("eos", "eot", "eom")}
        marked = {i for i, text in enumerate(self._texts) if text in _ENDS and self.attributes(i) != NORMAL}
        return sorted(marked | {token for token in named if token is not None})

    @property
    def begins(self) -> bool:
        said = self._header.values.get("tokenizer.ggml.add_bos_token")
        if isinstance(said, bool):
            return said
        if self._header.text("tokenizer.ggml.model") == BYTE_LEVEL:
            return self._header.text("tokenizer.ggml.pre", "default") in _BEGINNING
        return True

    @cached_property
    def named(self) -> dict[str, int]:
        parts = {"bos_token": self._id("bos"), "eos_token": self._id("eos"), "pad_token": self._id("padding")}
        return {name: token for name, token in parts.items() if token is not None}

    def _id(self, part: str) -> int | None:
        default = _DEFAULTS.get(self._header.text("tokenizer.ggml.model"), _DEFAULT).get(part, -1)
        token = self._header.number(f"tokenizer.ggml.{part}_token_id", default)
        return token if 0 <= token < len(self._texts) else None

    def _token_types(self) -> list[int]:
        types = self._header.values.get("tokenizer.ggml.token_type")
        if types is None:
            return [1] * len(self._texts)
        if not isinstance(types, list) or len(types) != len(self._texts):
            raise damaged("it does not say of what kind each token is")
        return types

"""A GGUF file as llama.cpp reads it: sizes, vocabulary and tokenizer."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from types import TracebackType
from typing import Any

import llama_cpp.llama_cpp as llama

from chatlab.errors import BaseRefused

NEWER = "A newer llama.cpp may know a new kind of model; otherwise download the file again."
_FUNCTION = re.compile(r"^\w+: (?:error loading model[\w ]*: )*")
_VAGUE = ("failed to load model",)
_ERROR = 4  # GGML_LOG_LEVEL_ERROR


class LlamaVocab:
    """A file opened by llama.cpp, its weights found but not read. To be used with `with`.

    Raises BaseRefused, with llama.cpp's reason, where it cannot be opened. On a hostile file llama.cpp may end the
    process, so use it in a process of its own.
    """

    def __init__(self, file: Path) -> None:
        self._errors: list[str] = []
        self._log_callback = llama.llama_log_callback(self._on_log)
        llama.llama_log_set(self._log_callback, ctypes.c_void_p(0))
        settings = llama.llama_model_default_params()
        settings.load_mode = llama.LLAMA_LOAD_MODE_NONE
        settings.no_alloc = True
        self._model: Any = llama.llama_model_load_from_file(str(file).encode(), settings)
        if not self._model:
            raise BaseRefused(f"llama.cpp cannot open the file: {self._reason()}.", NEWER)
        self._vocab: Any = llama.llama_model_get_vocab(self._model)
        self.tokens = int(llama.llama_vocab_n_tokens(self._vocab))
        self.context = int(llama.llama_model_n_ctx_train(self._model))
        self.width = int(llama.llama_model_n_embd(self._model))
        self.layers = int(llama.llama_model_n_layer(self._model))
        self.heads = int(llama.llama_model_n_head(self._model))
        self.parameters = int(llama.llama_model_n_params(self._model))

    def __enter__(self) -> LlamaVocab:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        llama.llama_model_free(self._model)

    @property
    def is_causal(self) -> bool:
        """Whether it is a causal model: no encoder, no diffusion."""
        return not (llama.llama_model_has_encoder(self._model) or llama.llama_model_is_diffusion(self._model))

    def attributes(self, token: int) -> int:
        """The bits of LLAMA_TOKEN_ATTR."""
        return int(llama.llama_vocab_get_attr(self._vocab, token))

    @property
    def ends(self) -> list[int]:
        """The tokens that end a reply, as llama.cpp has it."""
        return [token for token in range(self.tokens) if llama.llama_vocab_is_eog(self._vocab, token)]

    @property
    def begins(self) -> bool:
        """Whether llama.cpp puts the begin token before every text."""
        return bool(llama.llama_vocab_get_add_bos(self._vocab))

    @property
    def named(self) -> dict[str, int]:
        """The tokens that have a part of their own, by the names that transformers gives them."""
        found = {
            "bos_token": llama.llama_vocab_bos(self._vocab),
            "eos_token": llama.llama_vocab_eos(self._vocab),
            "pad_token": llama.llama_vocab_pad(self._vocab),
        }
        return {name: int(token) for name, token in found.items() if 0 <= token < self.tokens}

    def split(self, text: str, special: bool = False) -> list[int]:
        """The ids of a text. With `special` the texts of control tokens count as the tokens."""
        raw = text.encode()
        room = len(raw) + 16
        ids = (llama.llama_token * room)()
        count = int(llama.llama_tokenize(self._vocab, raw, len(raw), ids, room, False, special))
        return list(ids[: max(0, count)])

    def _on_log(self, level: int, text: bytes, data: object) -> None:
        if level == _ERROR:
            self._errors.append(text.decode(errors="replace"))

    def _reason(self) -> str:
        """llama.cpp's first error message."""
        lines = [_FUNCTION.sub("", line).strip() for line in self._errors]
        return next((line for line in lines if line and not line.startswith(_VAGUE)), "it does not say why")[:300]

"""A GGUF file as llama.cpp sees it: its sizes, its tokens, and into which of them it splits a text."""

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


class Native:
    """A file opened by llama.cpp, its weights found but not read. To be used with `with`.

    Raises BaseRefused, with llama.cpp's reason, where it cannot be opened. On a hostile file llama.cpp may end the
    process: this is for one that can be spared.
    """

    def __init__(self, file: Path) -> None:
        self._said: list[str] = []
        self._listener = llama.llama_log_callback(self._hear)
        llama.llama_log_set(self._listener, ctypes.c_void_p(0))
        settings = llama.llama_model_default_params()
        settings.load_mode = llama.LLAMA_LOAD_MODE_NONE
        settings.no_alloc = True
        self._model: Any = llama.llama_model_load_from_file(str(file).encode(), settings)
        if not self._model:
            raise BaseRefused(f"llama.cpp cannot open the file: {self._reason()}.", NEWER)
        self._vocabulary: Any = llama.llama_model_get_vocab(self._model)
        self.tokens = int(llama.llama_vocab_n_tokens(self._vocabulary))
        self.context = int(llama.llama_model_n_ctx_train(self._model))
        self.width = int(llama.llama_model_n_embd(self._model))
        self.layers = int(llama.llama_model_n_layer(self._model))
        self.heads = int(llama.llama_model_n_head(self._model))
        self.parameters = int(llama.llama_model_n_params(self._model))

    def __enter__(self) -> Native:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        llama.llama_model_free(self._model)

    @property
    def continues(self) -> bool:
        """Whether it is a model that continues text, rather than one that translates, judges, or measures it."""
        return not (llama.llama_model_has_encoder(self._model) or llama.llama_model_is_diffusion(self._model))

    def attributes(self, token: int) -> int:
        """The bits of LLAMA_TOKEN_ATTR."""
        return int(llama.llama_vocab_get_attr(self._vocabulary, token))

    @property
    def ends(self) -> list[int]:
        """The tokens that end a reply, as llama.cpp has it."""
        return [token for token in range(self.tokens) if llama.llama_vocab_is_eog(self._vocabulary, token)]

    @property
    def named(self) -> dict[str, int]:
        """The tokens that have a part of their own, by the names that transformers gives them."""
        found = {
            "bos_token": llama.llama_vocab_bos(self._vocabulary),
            "eos_token": llama.llama_vocab_eos(self._vocabulary),
            "pad_token": llama.llama_vocab_pad(self._vocabulary),
        }
        return {name: int(token) for name, token in found.items() if 0 <= token < self.tokens}

    def split(self, text: str, special: bool = False) -> list[int]:
        """The ids of a text. With `special` the texts of control tokens count as the tokens."""
        raw = text.encode()
        room = len(raw) + 16
        ids = (llama.llama_token * room)()
        count = int(llama.llama_tokenize(self._vocabulary, raw, len(raw), ids, room, False, special))
        return list(ids[: max(0, count)])

    def _hear(self, level: int, text: bytes, data: object) -> None:
        if level == _ERROR:
            self._said.append(text.decode(errors="replace"))

    def _reason(self) -> str:
        """What llama.cpp complained of first."""
        lines = [_FUNCTION.sub("", line).strip() for line in self._said]
        return next((line for line in lines if line and not line.startswith(_VAGUE)), "it does not say why")[:300]

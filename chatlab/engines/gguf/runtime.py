"""llama.cpp's own calls, one model and one context, wrapped so that misuse raises instead of crashing."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as llama
import torch
from torch import Tensor

from chatlab.errors import EngineError

BROKEN = "Delete the cache folder and start Chatlab again; the file is made anew."


@llama.llama_log_callback  # kept by llama.cpp for as long as the process lives
def _silence(level: int, text: bytes, data: object) -> None:
    """llama.cpp would write some hundred lines to the terminal."""


class Runtime:
    """A GGUF base in memory, and a context of `sequences` rows of keys and values, `length` tokens each.

    Keys and values are kept in 16 bits, or in 32 if `exact`. One call at a time: the caller holds a lock. Adapters
    belong to the model and are let go with it.
    """

    def __init__(self, file: Path, length: int, sequences: int, threads: int, block: int, exact: bool = False) -> None:
        llama.llama_log_set(_silence, ctypes.c_void_p(0))
        llama.llama_backend_init()
        self._model: Any = llama.llama_model_load_from_file(str(file).encode(), llama.llama_model_default_params())
        if not self._model:
            raise EngineError(f"llama.cpp cannot read {file.name}.", BROKEN)
        settings = llama.llama_context_default_params()
        settings.n_ctx = length * sequences
        settings.n_seq_max = sequences
        settings.n_batch = settings.n_ubatch = block
        settings.n_threads = settings.n_threads_batch = threads
        settings.no_perf = True
        if exact:
            settings.type_k = settings.type_v = llama.GGML_TYPE_F32
            settings.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED  # it computes with 16 bits in places
        self._context: Any = llama.llama_init_from_model(self._model, settings)
        if not self._context:
            llama.llama_model_free(self._model)
            raise EngineError("llama.cpp has no memory for this model.", "Close other programs first.")
        self._memory: Any = llama.llama_get_memory(self._context)
        self._batch = llama.llama_batch_init(block, 0, 1)
        self._width = int(llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self._model)))
        self._worn: tuple[int, float] | None = None
        self._adapters: dict[int, Any] = {}
        self._numbers = 0
        self._threads = threads

    @property
    def length(self) -> int:
        """Tokens that a sequence has room for."""
        return int(llama.llama_n_ctx_seq(self._context))

    def load(self, file: Path) -> int:
        """An adapter's number. Raises EngineError."""
        loaded = llama.llama_adapter_lora_init(self._model, str(file).encode())
        if not loaded:  # a null pointer, never None
            raise EngineError(f"llama.cpp cannot read the adapter {file.name}.", BROKEN)
        self._numbers += 1
        self._adapters[self._numbers] = loaded
        return self._numbers

    def free(self, adapter: int) -> None:
        """Let an adapter go; it is taken off first, for llama.cpp would go on reading its memory."""
        if self._worn and self._worn[0] == adapter:
            self._wear(None)
        llama.llama_adapter_lora_free(self._adapters.pop(adapter))

    def read(self, ids: Sequence[int], sequence: int, position: int, worn: tuple[int, float] | None) -> Tensor:
        """Read `ids` on in a sequence, as the base or as an adapter at a strength; the scores (V,) after the last.

        What the sequence held from `position` on is forgotten first.
        """
        self._wear(worn)
        if not llama.llama_memory_seq_rm(self._memory, sequence, position, -1):
            raise EngineError("llama.cpp cannot take back what was read.", "Start Chatlab again.")
        batch = self._batch
        batch.n_tokens = len(ids)
        for place, token in enumerate(ids):
            batch.token[place] = token
            batch.pos[place] = position + place
            batch.n_seq_id[place] = 1
            batch.seq_id[place][0] = sequence
            batch.logits[place] = place == len(ids) - 1
        if code := llama.llama_decode(self._context, batch):
            raise EngineError(f"llama.cpp stopped computing (code {code}).", "Try again.")
        scores = llama.llama_get_logits_ith(self._context, len(ids) - 1)
        flat = (ctypes.c_float * self._width).from_address(ctypes.addressof(scores.contents))
        return torch.frombuffer(flat, dtype=torch.float32).clone()

    def threads(self, count: int) -> None:
        """Compute with so many from the next call on; waiting threads that spin would starve training."""
        if count != self._threads:
            llama.llama_set_n_threads(self._context, count, count)
            self._threads = count

    def close(self) -> None:
        """Context, adapters and model, in the order in which they may go."""
        llama.llama_batch_free(self._batch)
        llama.llama_free(self._context)
        for adapter in self._adapters.values():
            llama.llama_adapter_lora_free(adapter)
        llama.llama_model_free(self._model)

    def _wear(self, worn: tuple[int, float] | None) -> None:
        """Put an adapter on. A change makes llama.cpp build its graph anew, so there is none without need."""
        if worn == self._worn:
            return
        count = 1 if worn else 0
        adapters = (llama.llama_adapter_lora_p_ctypes * 1)(self._adapters[worn[0]]) if worn else None
        scales = (ctypes.c_float * 1)(worn[1]) if worn else None
        if llama.llama_set_adapters_lora(self._context, adapters, count, scales):
            raise EngineError("llama.cpp cannot put this adapter on.", "Train it again, or use another one.")
        self._worn = worn

"""llama.cpp's own calls, one model and one context, wrapped so that misuse raises instead of crashing."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as llama
import numpy as np

from chatlab.engines.sampling import Scores
from chatlab.errors import EngineError

BROKEN = "Delete the cache folder and start Chatlab again; the file is made anew."
DAMAGED = "The file is damaged, or memory is short. Close other programs, or download it again."


@llama.llama_log_callback  # kept by llama.cpp for as long as the process lives
def _silence(level: int, text: bytes, data: object) -> None:
    """llama.cpp would write some hundred lines to the terminal."""


class Runtime:
    """A GGUF base in memory, and a context of `sequences` rows of keys and values, `length` tokens each.

    Keys and values are kept in 16 bits, or in 32 if `exact`. A `brought` file is read whole, every number
    looked at: one that is only mapped would end the process when somebody writes over it. One call at a time: the
    caller holds a lock. Adapters belong to the model and are let go with it.
    """

    def __init__(
        self,
        file: Path,
        length: int,
        sequences: int,
        threads: int,
        block: int,
        exact: bool = False,
        brought: bool = False,
    ) -> None:
        llama.llama_log_set(_silence, ctypes.c_void_p(0))
        llama.llama_backend_init()
        opening = llama.llama_model_default_params()
        opening.use_extra_bufts = not _computes_with_amx()
        if brought:
            opening.load_mode, opening.check_tensors = llama.LLAMA_LOAD_MODE_NONE, True
        self._model: Any = llama.llama_model_load_from_file(str(file).encode(), opening)
        if not self._model:
            raise EngineError(f"llama.cpp cannot read {file.name}.", DAMAGED if brought else BROKEN)
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
            raise EngineError("Not enough memory for this model.", "Close other programs first.")
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

    def read(self, ids: Sequence[int], sequence: int, position: int, worn: tuple[int, float] | None) -> Scores:
        """Read `ids` on in a sequence, as the base or as an adapter at a strength; the scores (V,) after the last.

        What the sequence held from `position` on is forgotten first.
        """
        last = len(ids) - 1
        bits = [(token, sequence, position + n, n == last) for n, token in enumerate(ids)]
        return self._decoded(bits, [(sequence, position)], worn)[0]

    def read_each(self, ends: Sequence[tuple[int, int, int]], worn: tuple[int, float] | None) -> list[Scores]:
        """One token in each of several sequences, all computed at once: (token, sequence, position); scores by token.

        At most as many as a block has.
        """
        bits = [(*end, True) for end in ends]
        return self._decoded(bits, [(sequence, position) for _, sequence, position in ends], worn)

    def drop(self, sequences: Sequence[int], all: bool) -> None:
        """Let go of what these sequences hold; if they are `all` there are, the numbers themselves are wiped too."""
        if all:
            llama.llama_memory_clear(self._memory, True)
        for sequence in sequences:
            llama.llama_memory_seq_rm(self._memory, sequence, 0, -1)

    def _decoded(
        self,
        bits: Sequence[tuple[int, int, int, bool]],
        starts: Sequence[tuple[int, int]],
        worn: tuple[int, float] | None,
    ) -> list[Scores]:
        """(token, sequence, position, whether its scores are wanted), and where each sequence is cut off before."""
        self._wear(worn)
        for sequence, position in starts:
            if not llama.llama_memory_seq_rm(self._memory, sequence, position, -1):
                raise EngineError("llama.cpp cannot reset its cache.", "Start Chatlab again.")
        batch = self._batch
        batch.n_tokens = len(bits)
        for place, (token, sequence, position, wanted) in enumerate(bits):
            batch.token[place] = token
            batch.pos[place] = position
            batch.n_seq_id[place] = 1
            batch.seq_id[place][0] = sequence
            batch.logits[place] = wanted
        if code := llama.llama_decode(self._context, batch):
            raise EngineError(f"llama.cpp stopped computing (code {code}).", "Try again.")
        return [self._scores(place) for place, (*_, wanted) in enumerate(bits) if wanted]

    def _scores(self, place: int) -> Scores:
        found = llama.llama_get_logits_ith(self._context, place)
        return np.ctypeslib.as_array(found, (self._width,)).copy()

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
            raise EngineError("llama.cpp cannot apply this adapter.", "Train it again, or use another one.")
        self._worn = worn


def _computes_with_amx() -> bool:
    """Whether llama.cpp would lay quantised weights out for AMX tiles.

    It then crashes in its first product (llama-cpp-python 0.3.36 on a Xeon with amx_int8: a segmentation fault with
    q8_0, none without the layout), so on such processors it is left at the plain one, which AVX-512 reads.
    """
    return b"AMX_INT8 = 1" in llama.llama_print_system_info()

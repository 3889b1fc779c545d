"""llama.cpp's own calls, one model and its contexts, wrapped so that misuse raises instead of crashing."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as llama
import numpy as np

from chatlab.engines.sampling import Logits
from chatlab.errors import EngineError

BROKEN = "Delete the cache folder and start Chatlab again; the file is made anew."
DAMAGED = "The file is damaged, or memory is short. Close other programs, or download it again."


@llama.llama_log_callback  # type: ignore[untyped-decorator]  # kept by llama.cpp for as long as the process lives
def _silence(level: int, text: bytes, data: object) -> None:
    """llama.cpp would write some hundred lines to the terminal."""


class Context:
    """Keys and values of `sequences` sequences, `length` tokens each, and what computes them: one model's.

    They are kept in 16 bits, or in 32 if `exact`. One call at a time: the caller holds a lock.
    """

    def __init__(
        self,
        model: Any,
        adapters: Mapping[int, Any],
        length: int,
        sequences: int,
        threads: int,
        block: int,
        exact: bool = False,
    ) -> None:
        settings = llama.llama_context_default_params()
        settings.n_ctx = length * sequences
        settings.n_seq_max = sequences
        settings.n_batch = settings.n_ubatch = block
        settings.n_threads = settings.n_threads_batch = threads
        settings.no_perf = True
        if exact:
            settings.type_k = settings.type_v = llama.GGML_TYPE_F32
            settings.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED  # it computes with 16 bits in places
        self._context: Any = llama.llama_init_from_model(model, settings)
        if not self._context:
            raise EngineError("Not enough memory for this model.", "Close other programs first.")
        self._memory: Any = llama.llama_get_memory(self._context)
        self._batch = llama.llama_batch_init(block, 0, 1)
        self._width = int(llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model)))
        self._active: tuple[int, float] | None = None
        self._adapters = adapters
        self._threads = threads

    @property
    def is_open(self) -> bool:
        return self._context is not None

    @property
    def length(self) -> int:
        """Tokens that a sequence has room for."""
        return int(llama.llama_n_ctx_seq(self._context))

    def read(self, ids: Sequence[int], sequence: int, position: int, adapter: tuple[int, float] | None) -> Logits:
        """Write `ids` into a sequence from `position` on, over what it held there; logits (V,) after the last.

        Computed by the base, or by an adapter at a strength.
        """
        last = len(ids) - 1
        tokens = [(token, sequence, position + n, n == last) for n, token in enumerate(ids)]
        return self.decode(tokens, [(sequence, position)], adapter)[0]

    def read_each(self, ends: Sequence[tuple[int, int, int]], adapter: tuple[int, float] | None) -> list[Logits]:
        """One token in each of several sequences, all computed at once: (token, sequence, position); logits by token.

        At most as many as a block has.
        """
        tokens = [(*end, True) for end in ends]
        return self.decode(tokens, [(sequence, position) for _, sequence, position in ends], adapter)

    def copy(self, sequence: int, to: int) -> None:
        """Let one sequence hold what another one does."""
        llama.llama_memory_seq_rm(self._memory, to, -1, -1)
        llama.llama_memory_seq_cp(self._memory, sequence, to, -1, -1)

    def drop(self, sequences: Sequence[int], all: bool) -> None:
        """Drop what these sequences hold; if they are `all` there are, the memory itself is wiped too."""
        if all:
            llama.llama_memory_clear(self._memory, True)
        for sequence in sequences:
            llama.llama_memory_seq_rm(self._memory, sequence, 0, -1)

    def threads(self, count: int) -> None:
        """Compute with this many from the next call on; waiting threads that spin would starve training."""
        if count != self._threads:
            llama.llama_set_n_threads(self._context, count, count)
            self._threads = count

    def forget(self, adapter: int) -> None:
        """Switch an adapter off that is to be freed: llama.cpp would go on reading its memory."""
        if self._active and self._active[0] == adapter:
            self._activate(None)

    def close(self) -> None:
        """Free it. May be called again."""
        if self._context is not None:
            llama.llama_batch_free(self._batch)
            llama.llama_free(self._context)
            self._context = None

    def decode(
        self,
        tokens: Sequence[tuple[int, int, int, bool]],
        starts: Sequence[tuple[int, int]],
        adapter: tuple[int, float] | None,
    ) -> list[Logits]:
        """(token, sequence, position, whether its logits are wanted), and where each sequence is cut off before."""
        self._activate(adapter)
        for sequence, position in starts:
            if not llama.llama_memory_seq_rm(self._memory, sequence, position, -1):
                raise EngineError("llama.cpp cannot reset its cache.", "Start Chatlab again.")
        batch = self._batch
        batch.n_tokens = len(tokens)
        for index, (token, sequence, position, wanted) in enumerate(tokens):
            batch.token[index] = token
            batch.pos[index] = position
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = sequence
            batch.logits[index] = wanted
        if code := llama.llama_decode(self._context, batch):
            raise EngineError(f"llama.cpp stopped computing (code {code}).", "Try again.")
        return [self._logits(index) for index, (*_, wanted) in enumerate(tokens) if wanted]

    def _logits(self, index: int) -> Logits:
        found = llama.llama_get_logits_ith(self._context, index)
        return np.ctypeslib.as_array(found, (self._width,)).copy()

    def _activate(self, adapter: tuple[int, float] | None) -> None:
        """Switch to an adapter, or to the base, where that is a change: llama.cpp then builds its graph anew."""
        if adapter == self._active:
            return
        count = 1 if adapter else 0
        adapters = (llama.llama_adapter_lora_p_ctypes * 1)(self._adapters[adapter[0]]) if adapter else None
        scales = (ctypes.c_float * 1)(adapter[1]) if adapter else None
        if llama.llama_set_adapters_lora(self._context, adapters, count, scales):
            raise EngineError("llama.cpp cannot apply this adapter.", "Train it again, or use another one.")
        self._active = adapter


class Runtime(Context):
    """A GGUF base in memory, its adapters, and a context.

    An imported file (`brought`) is read whole, and every number checked: one that is only mapped would end the process
    when somebody writes over it. Adapters belong to the model and are freed with it.
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
        self._loaded: dict[int, Any] = {}
        self._count = 0
        self._beside: list[Context] = []
        self._block = block
        try:
            super().__init__(self._model, self._loaded, length, sequences, threads, block, exact)
        except EngineError:
            llama.llama_model_free(self._model)
            raise

    def beside(self, length: int, sequences: int) -> Context:
        """Another context of the same model; closed with it, if not before. Raises EngineError."""
        self._beside = [context for context in self._beside if context.is_open]
        self._beside.append(Context(self._model, self._loaded, length, sequences, self._threads, self._block))
        return self._beside[-1]

    def load(self, file: Path) -> int:
        """An adapter's number. Raises EngineError."""
        loaded = llama.llama_adapter_lora_init(self._model, str(file).encode())
        if not loaded:  # a null pointer, never None
            raise EngineError(f"llama.cpp cannot read the adapter {file.name}.", BROKEN)
        self._count += 1
        self._loaded[self._count] = loaded
        return self._count

    def free(self, adapter: int) -> None:
        """Free an adapter."""
        for context in (self, *self._beside):
            if context.is_open:
                context.forget(adapter)
        llama.llama_adapter_lora_free(self._loaded.pop(adapter))

    def close(self) -> None:
        """Contexts, adapters and model, in the order in which they may go."""
        for context in self._beside:
            context.close()
        super().close()
        for adapter in self._loaded.values():
            llama.llama_adapter_lora_free(adapter)
        llama.llama_model_free(self._model)


def _computes_with_amx() -> bool:
    """Whether llama.cpp would lay quantised weights out for AMX tiles.

    It then crashes in its first product (llama-cpp-python 0.3.36 on a Xeon with amx_int8: a segmentation fault with
    q8_0, none without the layout), so on such processors it is left at the plain one, which AVX-512 reads.
    """
    return b"AMX_INT8 = 1" in llama.llama_print_system_info()

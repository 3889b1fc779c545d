"""A tokenizer of which nobody knows how long it takes, in a process of its own that may be ended.

The process lives as long as the base. A text that takes it longer, or more memory, than any honest tokenizer needs
ends the process and raises TokenizerFailed; the next text is given to a new one.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from chatlab.errors import BaseRefused, TokenizerFailed
from chatlab.system.processes.child import Child
from chatlab.template.codec import SHORTER, Encoding

OPENING = 120.0
"""Seconds until a process is given up that reads the tokenizer."""
WAITING = 30.0
"""Seconds until one is given up that is asked something. Its processor time is limited to less: see the process."""
ALONE = {
    "CUDA_VISIBLE_DEVICES": "",
    "TOKENIZERS_PARALLELISM": "false",
    "RAYON_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


class Added(NamedTuple):
    """A token that is found in a text before the rest is split."""

    content: str
    special: bool


class Isolated:
    """The codec: `encode` and the rest are done in the other process, one after another."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._ending: weakref.finalize[[], Isolated] | None = None
        """Ends the process of one that is dropped without `close`, as with the base that it belongs to."""
        self._patience = OPENING
        self._ids: dict[str, int] = {}

    def encode(self, text: str) -> list[int]:
        return self.encode_with_offsets(text).ids

    def encode_with_offsets(self, text: str) -> Encoding:
        told = self._ask({"do": "encode", "text": text})
        return Encoding(told["ids"], [(start, end) for start, end in told["offsets"]])

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._ask({"do": "decode", "ids": list(ids)})["text"])

    def token_to_id(self, token: str) -> int | None:
        found: int | None = self._ask({"do": "id", "token": token})["id"]
        return found

    @cached_property
    def begin_id(self) -> int | None:
        """The id that the tokenizer puts before every text, if it does."""
        found: int | None = self.facts()["ids"]["begin"]
        return found

    def facts(self) -> dict[str, Any]:
        """What the tokenizer's files say beside how it splits. Raises BaseRefused where they cannot be read."""
        try:
            return self._ask({"do": "facts"})
        except TokenizerFailed as failed:
            raise BaseRefused(f"The tokenizer of {self._name} cannot be read: {failed}", failed.hint) from failed

    def close(self) -> None:
        """End the process, and with it what it remembers; another text would be given to a new one."""
        with self._lock:
            self._end()

    def _ask(self, wish: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if self._child is None:
                self._child = Child("chatlab.models.tokenizer.worker", self._folder, self._name, environment=ALONE)
                self._ending = weakref.finalize(self, self._child.end)
                self._patience = OPENING
            told = self._child.receive(self._patience) if self._child.send(wish) else None
            self._patience = WAITING
            if told is None:
                self._end()
                raise TokenizerFailed(
                    "The model's tokenizer takes too long over this text, or too much memory.", SHORTER
                )
        if "error" in told:
            raise TokenizerFailed(told["error"], SHORTER)
        answer: dict[str, Any] = told
        return answer

    def _end(self) -> None:
        if self._ending is not None:
            self._ending()
        self._child = self._ending = None


class IsolatedTokenizer:
    """What is asked of transformers' PreTrainedTokenizerFast here, by the names that it has there."""

    def __init__(self, folder: Path, name: str) -> None:
        self.backend_tokenizer = Isolated(folder, name)

    @cached_property
    def _facts(self) -> dict[str, Any]:
        return self.backend_tokenizer.facts()

    @property
    def chat_template(self) -> Any:
        return self._facts["chat_template"]

    @property
    def special_tokens_map(self) -> dict[str, Any]:
        return dict(self._facts["special_tokens_map"])

    @property
    def extra_special_tokens(self) -> list[str]:
        return list(self._facts["extra_special_tokens"])

    @cached_property
    def added_tokens_decoder(self) -> dict[int, Added]:
        return {int(id): Added(content, special) for id, content, special in self._facts["added"]}

    @property
    def eos_token_id(self) -> int | None:
        return self._id("eos")

    @property
    def bos_token_id(self) -> int | None:
        return self._id("bos")

    def get_vocab(self) -> dict[str, int]:
        """The tokens that are needed to judge them all, no others: the last, and the longest."""
        return dict(self._facts["vocabulary"])

    def close(self) -> None:
        self.backend_tokenizer.close()

    def _id(self, name: str) -> int | None:
        found: int | None = self._facts["ids"][name]
        return found

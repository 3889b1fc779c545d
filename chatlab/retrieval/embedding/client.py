"""The app's side of the embedding process. Never imports torch."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatlab.errors import EmbedderError
from chatlab.retrieval.embedding.model import INSTALL
from chatlab.system.processes.child import Child

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Model:
    """Which model makes the vectors; two models' vectors are never mixed."""

    sha256: str
    dimension: int


class EmbeddingClient:
    """One process with a model in it, started when it is first needed and replaced when it has died.

    `niceness` is how much it stands back: 0 for a question that somebody waits on, more for passages.
    """

    def __init__(self, folder: Path | None, niceness: int = 0) -> None:
        self.folder = folder
        self._niceness = niceness
        self._lock = threading.Lock()
        self._process: Child | None = None
        self._model: Model | None = None
        self._closed = False
        self._asked_last = 0.0

    def warm(self) -> None:
        """Start it in the background, so that the first question does not wait."""
        if self.folder is not None and not self.running:
            threading.Thread(target=self._open_quietly, name="embedding", daemon=True).start()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self.running else None

    @property
    def model(self) -> Model:
        """Raises EmbedderError."""
        with self._lock:
            return self._open_model()

    def embed(self, texts: Sequence[str], query: bool = False) -> np.ndarray:
        """(N, D) of float32, each row of length 1. Raises EmbedderError; a process that had died is tried once more."""
        self._asked_last = time.monotonic()
        request = {"texts": list(texts), "query": query}
        with self._lock:
            for _ in range(2):
                self._open_model()
                rows = self._ask(request)
                if rows is not None:
                    return rows
            raise EmbedderError("The embedding process has ended.", "See whether the machine is short of memory.")

    def close(self) -> None:
        """End the process; what waits for it gets EmbedderError."""
        self._closed = True
        process = self._process
        if process is not None:
            process.end()

    def rest(self, unused: float = 0.0) -> None:
        """End the process if nobody asked it for so many seconds; it starts again when it is needed."""
        with self._lock:
            if time.monotonic() - self._asked_last >= unused:
                self._end()

    def _open_quietly(self) -> None:
        with suppress(EmbedderError):  # whoever asks next is told
            _ = self.model

    def _open_model(self) -> Model:
        if self.folder is None:
            raise EmbedderError("There is no embedding model.", INSTALL)
        if self._closed:
            raise EmbedderError("The embedding process was closed.")
        if self._model is not None and self.running:
            return self._model
        self._end()
        self._process = Child("chatlab.retrieval.embedding.worker", self.folder, niceness=self._niceness)
        said: dict[str, Any] = self._process.receive() or {"refused": "It cannot be opened.", "hint": ""}
        if "refused" in said:
            self._end()
            raise EmbedderError(said["refused"], said["hint"])
        self._model = Model(said["sha256"], said["dimension"])
        return self._model

    def _ask(self, request: dict[str, Any]) -> np.ndarray | None:
        """None when the process has died."""
        import numpy as np

        process, model = self._process, self._model
        assert process and process.stdout and model
        answer = process.receive() if process.send(request) else None
        if answer is None:
            return None
        count = answer["rows"]
        try:
            data = process.stdout.read(count * model.dimension * 4)
        except (OSError, ValueError):  # it has ended, or was ended by `close`
            return None
        if len(data) < count * model.dimension * 4:
            return None
        return np.frombuffer(data, dtype=np.float32).reshape(count, model.dimension)

    def _end(self) -> None:
        process, self._process, self._model = self._process, None, None
        if process is not None:
            process.end()

"""The index kept up with the library, in the background: passages embedded as they come, the word index built anew.

All of it is a cache. What is missing, after a kill or a flipped bit or with another model, is found by comparing
keys, and made again; so nothing has to be remembered of what was under way.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chatlab.errors import ChatlabError, EmbedderError
from chatlab.retrieval.bm25 import BM25Index
from chatlab.retrieval.document import embedded_text
from chatlab.retrieval.embedding.client import EmbeddingClient
from chatlab.retrieval.index import Index
from chatlab.retrieval.library import Library
from chatlab.retrieval.vectors import Vectors
from chatlab.system.files import private_folder
from chatlab.system.processes.child import DEVNULL, Child

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("chatlab.retrieval")

BATCH = 16
"""Passages embedded at a time: about a second's work."""
FEW = 64
"""Passages that the process for questions embeds itself, a handful at a time, so that no question waits long."""
HANDFUL = 4
FLUSH = 15.0
"""Seconds of embedding that a kill may cost."""
LOOK = 0.2
"""Seconds between looks at the word index that is being built."""
NICENESS = 15
IDLE = 900.0
"""Seconds without a question after which the process for questions ends, and gives its memory back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How far the index has come."""

    passages: int
    embedded: int
    words: int
    """Passages in the word index, which may be of a moment ago."""
    bm25_ready: bool
    """Whether the word index holds just the passages that there are."""
    working: bool
    rate: float
    """Passages embedded a second, lately; 0 when idle."""
    meaning: str
    """Why passages are not found by meaning; empty when they are."""
    problem: str
    """What went wrong last; empty when nothing did."""


class Indexer:
    """One thread at low priority, and the processes that it asks."""

    def __init__(self, library: Library, index: Index, folder: Path, model: Path | None) -> None:
        """`folder` holds what is derived; `model` is the embedding model's, None for none."""
        self._library, self._index, self._folder = library, index, folder
        self._questions, self._passages = EmbeddingClient(model), EmbeddingClient(model, NICENESS)
        self._opening = threading.Lock()
        self._wake, self._closing = threading.Event(), False
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._builder: Child | None = None
        self._built_for, self._began, self._not_before = "", 0.0, 0.0
        self._unreadable: set[int] = set()
        self._rate, self._working = 0.0, False
        self._meaning = self._problem = ""
        self._flushed = 0.0

    def wake(self) -> None:
        """See to the index soon. Costs nothing while the library is empty."""
        with self._starting:
            if self._closing or (not len(self._library) and self._index.vectors is None):
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="knowledge", daemon=True)
                self._thread.start()
        self._wake.set()

    def warm(self) -> None:
        """Somebody will ask soon."""
        self.wake()
        if len(self._library):
            self._questions.warm()

    def embed(self, question: str) -> np.ndarray:
        """(D,). Raises EmbedderError."""
        vector: np.ndarray = self._questions.embed([question], query=True)[0]
        return vector

    def open_vectors(self) -> None:
        """Load the vectors of the present model, unless they are loaded; starts the process that embeds questions."""
        with self._opening:
            if self._index.vectors is not None or not len(self._library):
                return
            try:
                model = self._questions.model
            except EmbedderError as error:
                self._meaning = f"{error} {error.hint}".strip()
                return
            vectors = Vectors(self._folder / model.sha256[:16], model, self._index.keys)
            if vectors.damaged:
                log.warning("%s damaged part(s) of the index are made again.", vectors.damaged)
            self._index.vectors, self._meaning = vectors, ""

    def open_words(self) -> None:
        """Load the word index as it was built last, if it is whole."""
        if self._index.words is None:
            self._load_words()

    def state(self) -> State:
        vectors, words = self._index.vectors, self._index.words
        return State(
            passages=len(self._index),
            embedded=len(vectors) if vectors is not None else 0,
            words=len(words) if words is not None else 0,
            bm25_ready=words is not None and self._index.digest in (words.digest, self._built_for),
            working=self._working,
            rate=self._rate if self._working else 0.0,
            meaning=self._meaning,
            problem=self._problem,
        )

    def wait(self, timeout: float) -> State:
        """The state once nothing is left to do, or after `timeout` seconds."""
        ends = time.monotonic() + timeout
        while (self._working or self._wake.is_set()) and time.monotonic() < ends:
            time.sleep(0.02)
        return self.state()

    def rebuild(self) -> None:
        """Throw the index away and make it again from the library."""
        with self._opening:
            vectors = self._index.vectors
            if vectors is not None:
                vectors.clear()
            self._index.words = None
            self._built_for, self._not_before = "", 0.0
            self._unreadable.clear()
        self.wake()

    def close(self) -> None:
        """Keep what has been embedded, and end the processes."""
        with self._starting:
            self._closing = True
        self._wake.set()
        self._passages.close()
        self._questions.close()
        if self._thread is not None:
            self._thread.join(10)
        if self._builder is not None:
            self._builder.end()

    def _run(self) -> None:
        self.open_words()
        while not self._closing:
            if not self._wake.wait(IDLE):
                self._questions.rest(IDLE)
                continue
            self._working = True
            self._wake.clear()
            try:
                self._catch_up()
            except ChatlabError as error:
                self._problem = f"{error} {error.hint}".strip()
            except Exception:
                log.exception("The upkeep of the index failed")
                self._problem = "Something went wrong inside Chatlab. The log has details."
            self._working = False
        self._flush()

    def _catch_up(self) -> None:
        self._problem = ""
        self.open_vectors()
        while not self._closing:
            building = self._build_words()
            embedding = self._embed_some()
            if not building and not embedding:
                break
            if not embedding:
                self._wake.wait(LOOK)
                self._wake.clear()
        self._flush()
        self._passages.rest()

    def _embed_some(self) -> bool:
        """Whether there was something to embed."""
        vectors = self._index.vectors
        missing = [key for key in self._index.missing() if key not in self._unreadable]
        # For a few passages a second process would take longer to start than to embed.
        asked, batch = (self._questions, HANDFUL) if len(missing) <= FEW else (self._passages, BATCH)
        keys = missing[:batch]
        if vectors is None or not keys:
            return False
        texts = {}
        for key in keys:
            passage = self._index.passage(key)
            if passage is None:
                self._unreadable.add(key)
            else:
                texts[key] = embedded_text(passage.title, passage.text)
        if texts:
            began = time.monotonic()
            vectors.add(texts, asked.embed(list(texts.values())))
            pace = len(texts) / max(1e-3, time.monotonic() - began)
            self._rate = pace if not self._rate else 0.8 * self._rate + 0.2 * pace
        if time.monotonic() - self._flushed > FLUSH:
            self._flush()
        return True

    def _flush(self) -> None:
        self._flushed = time.monotonic()
        if self._index.vectors is not None:
            self._index.vectors.flush()

    def _build_words(self) -> bool:
        """Whether the word index is being built, or waits for its turn."""
        if self._builder is not None:
            if self._builder.poll() is None:
                return True
            self._take_words()
        wanted = self._index.digest
        have = self._index.words.digest if self._index.words is not None else ""
        if wanted in (have, self._built_for):
            return False
        if time.monotonic() >= self._not_before:
            self._start_builder(wanted)
        return True

    def _start_builder(self, wanted: str) -> None:
        self._built_for, self._began = wanted, time.monotonic()
        private_folder(self._folder)
        self._builder = Child(
            "chatlab.retrieval.bm25_worker",
            self._library.folder,
            self._folder / "words",
            niceness=NICENESS,
            environment={"OMP_NUM_THREADS": "1"},
            stdout=DEVNULL,
        )
        self._builder.send([info.id for info in self._library.all()], last=True)

    def _take_words(self) -> None:
        assert self._builder is not None
        code = self._builder.returncode
        self._builder.end()
        self._builder = None
        took = time.monotonic() - self._began
        self._not_before = time.monotonic() + took  # while documents stream in, half of the time at most
        if code:
            self._problem = "The word index could not be built; the disk may be full."
            return
        self._load_words()

    def _load_words(self) -> None:
        try:
            self._index.words = BM25Index(self._folder / "words")
        except (OSError, ValueError, KeyError, TypeError):
            self._index.words = None  # never built, or not what was built: it is built again

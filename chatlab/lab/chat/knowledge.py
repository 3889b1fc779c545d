"""The documents that answers can cite: dropped, read, indexed, searched."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from chatlab.errors import EmbedderError
from chatlab.lab.chat.ingestion import Adding, Ingestion
from chatlab.retrieval.document import DocumentInfo, Passage
from chatlab.retrieval.embedding.model import check, packaged
from chatlab.retrieval.index import Index, SearchHit
from chatlab.retrieval.indexer import Indexer, State
from chatlab.retrieval.library import Library
from chatlab.store import Store

MODEL = "embedding model"
"""Under which the chosen folder is kept in the store's state."""
QUESTION = 4000
"""Characters of a question that are searched for; more would only blur it."""


class Knowledge:
    """Opens the library when it is first needed. Safe to call from threads."""

    def __init__(self, store: Store, folder: Path, cache: Path) -> None:
        self._store, self._folder, self._cache = store, folder, cache
        self._lock = threading.RLock()
        self._opened: tuple[Library, Index, Indexer] | None = None
        self._ingestion = Ingestion(self._keep, lambda: self._indexer.wake())
        self._removed: list[list[str]] = []

    def documents(self) -> list[DocumentInfo]:
        """The newest first."""
        return self._library.all()[::-1]

    def document(self, id: str) -> DocumentInfo:
        """Raises NotFound."""
        return self._library.info(id)

    def passages(self, id: str, start: int = 0, count: int = 20) -> list[Passage]:
        """Some of a document's passages. Raises NotFound or StoreCorrupt."""
        numbers = range(len(self._library.info(id).spans))[start : start + count]
        return [self._library.passage(id, number) for number in numbers]

    def around(self, id: str, start: int, end: int, margin: int = 400) -> tuple[str, str, str]:
        """What stands before a passage, the passage, and what follows it. Raises NotFound or StoreCorrupt."""
        text = self._library.text(id)
        return text[max(0, start - margin) : start], text[start:end], text[end : end + margin]

    def add(self, files: Iterable[Path | tuple[Path, str]], uploads: bool = False) -> None:
        """Read files in the background, and those in folders; `adding` tells how far it is. Names are for the person.

        `uploads` are copies, each in a folder of its own, and are removed once they have been read. Raises InputError
        where there is no file among them.
        """
        self._ingestion.add(files, uploads)

    @property
    def adding(self) -> Adding:
        """Progress of the files that are being read, or that were read last."""
        return self._ingestion.adding

    @property
    def reading(self) -> bool:
        return self._ingestion.reading

    def stop(self) -> None:
        """End the reading now. What was kept stays."""
        self._ingestion.stop()

    def wait(self, timeout: float = 60.0) -> State:
        """The state once everything is read and indexed, or after `timeout` seconds."""
        ends = time.monotonic() + timeout
        self._ingestion.wait(timeout)
        return self._indexer.wait(max(0.0, ends - time.monotonic()))

    def remove(self, ids: Sequence[str]) -> int:
        """Out of the library and the index; `undo_remove` brings them back. How many there were."""
        with self._lock:
            info = {id: self._library.info(id) for id in ids if id in self._library}
            removed = self._library.remove(info)
            for id in removed:
                self._index.remove_document(info[id])
            if removed:
                self._removed.append(removed)
        self._indexer.wake()
        return len(removed)

    def undo_remove(self) -> int:
        """Use back what was removed last, since the start of the app; how many that was."""
        with self._lock:
            restored = self._library.restore(self._removed.pop()) if self._removed else []
            for id in restored:
                self._index.add_document(self._library.info(id))
        self._indexer.wake()
        return len(restored)

    @property
    def undoable(self) -> int:
        """How many documents `undo_remove` would bring back."""
        return len(self._removed[-1]) if self._removed else 0

    def search(self, query: str, count: int = 8) -> list[SearchHit]:
        """The passages that match best. Nothing where nothing is asked or kept."""
        query = query.strip()[:QUESTION]
        if not query or not len(self._library):
            return []
        self._indexer.open_words()
        self._indexer.open_vectors()
        return self._index.search(query, count, self._indexer.embed)

    def warm(self) -> None:
        """Somebody will ask soon: load the index and the process that embeds questions, in the background."""
        self._indexer.warm()

    def state(self) -> State:
        return self._indexer.state()

    @property
    def problems(self) -> dict[str, str]:
        """Files of the library that cannot be read, and why."""
        return dict(self._library.problems)

    def rebuild(self) -> None:
        """Throw the index away and make it again. The documents stay."""
        self._indexer.rebuild()

    @property
    def model(self) -> Path | None:
        """Folder of the embedding model; None where there is none."""
        return Path(self.chosen_model) if self.chosen_model else packaged()

    @property
    def chosen_model(self) -> str:
        """Folder that a person chose; empty for the model that comes with the app."""
        return self._store.state.read(MODEL, str, "")

    def choose_model(self, folder: Path | None) -> None:
        """Embed by another model from now on; None for the one that came with the app. Raises EmbedderError."""
        if folder is not None:
            try:
                folder = folder.expanduser().resolve()
            except (OSError, ValueError, RuntimeError) as error:
                raise EmbedderError(
                    "That is no path of a folder.", "Choose the folder of an embedding model."
                ) from error
            check(folder)
        with self._lock:
            self._store.state.set(MODEL, str(folder) if folder else "")
            if self._opened is not None:
                library, index, indexer = self._opened
                indexer.close()
                index.vectors = None
                self._opened = (library, index, self._new_indexer(library, index))
        self._indexer.wake()

    def close(self) -> None:
        """End what is under way. What was kept stays, and is indexed on when the app is opened again."""
        self.stop()
        if self._opened is not None:
            self._indexer.close()

    @property
    def _library(self) -> Library:
        return self._all()[0]

    @property
    def _index(self) -> Index:
        return self._all()[1]

    @property
    def _indexer(self) -> Indexer:
        return self._all()[2]

    def _all(self) -> tuple[Library, Index, Indexer]:
        with self._lock:
            if self._opened is None:
                library = Library(self._folder)
                library.purge()
                index = Index(library)
                self._opened = (library, index, self._new_indexer(library, index))
            return self._opened

    def _new_indexer(self, library: Library, index: Index) -> Indexer:
        return Indexer(library, index, self._cache, self.model)

    def _keep(self, info: DocumentInfo, text: str) -> bool:
        """Whether it is new here. Raises DiskFull or StoreError."""
        if not self._library.keep(info, text):
            return False
        self._index.add_document(info)
        self._indexer.wake()
        return True

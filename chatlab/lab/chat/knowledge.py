"""The documents that answers can go by: dropped, read, indexed, searched."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from chatlab.errors import EmbedderError
from chatlab.lab.chat.ingestion import Adding, Ingestion
from chatlab.retrieval import Found, Index, Indexer, Library, Papers, Passage, State
from chatlab.retrieval.embedder import check, packaged
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
        self._intake = Ingestion(self._keep, lambda: self._upkeep.kick())
        self._removed: list[list[str]] = []

    def documents(self) -> list[Papers]:
        """The newest first."""
        return self._library.all()[::-1]

    def document(self, id: str) -> Papers:
        """Raises NotFound."""
        return self._library.papers(id)

    def passages(self, id: str, start: int = 0, count: int = 20) -> list[Passage]:
        """Some of a document's passages. Raises NotFound or StoreCorrupt."""
        numbers = range(len(self._library.papers(id).spans))[start : start + count]
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
        self._intake.add(files, uploads)

    @property
    def adding(self) -> Adding:
        """Of the files that are being read, or that were read last."""
        return self._intake.adding

    @property
    def reading(self) -> bool:
        return self._intake.reading

    def stop(self) -> None:
        """End the reading now. What was kept stays."""
        self._intake.stop()

    def wait(self, timeout: float = 60.0) -> State:
        """The state once everything is read and indexed, or after `timeout` seconds."""
        ends = time.monotonic() + timeout
        self._intake.wait(timeout)
        return self._upkeep.wait(max(0.0, ends - time.monotonic()))

    def remove(self, ids: Sequence[str]) -> int:
        """Out of the library and the index; `undo_remove` brings them back. How many there were."""
        with self._lock:
            papers = {id: self._library.papers(id) for id in ids if id in self._library}
            removed = self._library.remove(papers)
            for id in removed:
                self._index.displace(papers[id])
            if removed:
                self._removed.append(removed)
        self._upkeep.kick()
        return len(removed)

    def undo_remove(self) -> int:
        """Use back what was removed last, since the start of the app; how many that was."""
        with self._lock:
            restored = self._library.restore(self._removed.pop()) if self._removed else []
            for id in restored:
                self._index.place(self._library.papers(id))
        self._upkeep.kick()
        return len(restored)

    @property
    def undoable(self) -> int:
        """How many documents `undo_remove` would bring back."""
        return len(self._removed[-1]) if self._removed else 0

    def search(self, query: str, count: int = 8) -> list[Found]:
        """The passages that match best. Nothing where nothing is asked or kept."""
        query = query.strip()[:QUESTION]
        if not query or not len(self._library):
            return []
        self._upkeep.open_words()
        self._upkeep.open_vectors()
        return self._index.search(query, count, self._upkeep.embed)

    def warm(self) -> None:
        """Somebody will ask soon: load the index and the process that embeds questions, in the background."""
        self._upkeep.warm()

    def state(self) -> State:
        return self._upkeep.state()

    @property
    def problems(self) -> dict[str, str]:
        """Files of the library that cannot be read, and why."""
        return dict(self._library.problems)

    def rebuild(self) -> None:
        """Throw the index away and make it again. The documents stay."""
        self._upkeep.rebuild()

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
                library, index, upkeep = self._opened
                upkeep.close()
                index.vectors = None
                self._opened = (library, index, self._kept_up(library, index))
        self._upkeep.kick()

    def close(self) -> None:
        """End what is under way. What was kept stays, and is indexed on when the app is opened again."""
        self.stop()
        if self._opened is not None:
            self._upkeep.close()

    @property
    def _library(self) -> Library:
        return self._all()[0]

    @property
    def _index(self) -> Index:
        return self._all()[1]

    @property
    def _upkeep(self) -> Indexer:
        return self._all()[2]

    def _all(self) -> tuple[Library, Index, Indexer]:
        with self._lock:
            if self._opened is None:
                library = Library(self._folder)
                library.purge()
                index = Index(library)
                self._opened = (library, index, self._kept_up(library, index))
            return self._opened

    def _kept_up(self, library: Library, index: Index) -> Indexer:
        return Indexer(library, index, self._cache, self.model)

    def _keep(self, papers: Papers, text: str) -> bool:
        """Whether it is new here. Raises DiskFull or StoreError."""
        if not self._library.keep(papers, text):
            return False
        self._index.place(papers)
        self._upkeep.kick()
        return True

"""The documents that a person dropped: their text and papers, a file each. What is derived from them lies elsewhere.

A file's first line is its papers in JSON, the rest is the text, in UTF-8. It is written whole or not at all, so that
whatever `keep` has returned for is there after any end of the process.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import orjson

from chatlab.errors import NotFound, StoreCorrupt
from chatlab.retrieval.document import Papers, Passage, Span, indexed_text, key_of
from chatlab.store.disk import Disk, as_chatlab_error
from chatlab.system.files import private_folder

log = logging.getLogger("chatlab.retrieval")

ENDING = ".text"
_ID = re.compile(r"[0-9a-f]{64}")


class Library:
    """A folder of documents, for one process. Safe to call from threads."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        """Reads all papers. Files that make no sense are left where they are, and named in `problems`."""
        self.folder = folder
        self._removed = folder / "removed"
        self._disk = disk or Disk()
        self._lock = threading.RLock()
        self._papers: dict[str, Papers] = {}
        self.problems: dict[str, str] = {}
        for file in sorted(folder.glob(f"*{ENDING}")):
            try:
                papers = _papers(file)
                self._papers[papers.id] = papers
            except (OSError, ValueError, KeyError, TypeError) as error:
                self.problems[file.name] = f"cannot be read: {error}"

    def __len__(self) -> int:
        return len(self._papers)

    def __contains__(self, id: object) -> bool:
        return id in self._papers

    def all(self) -> list[Papers]:
        """The one added first stands first."""
        with self._lock:
            return sorted(self._papers.values(), key=lambda papers: (papers.added, papers.name))

    def papers(self, id: str) -> Papers:
        """Raises NotFound."""
        try:
            return self._papers[id]
        except KeyError:
            raise NotFound("This document is not in the library any more.", "Add it again.") from None

    def keep(self, papers: Papers, text: str) -> bool:
        """On the disk when this returns; whether it is new here. Raises DiskFull or StoreError, having kept nothing."""
        with self._lock:
            if papers.id in self._papers:
                return False
            try:
                private_folder(self.folder)
                self._disk.publish(self._file(papers.id), _as_bytes(papers, text))
            except OSError as error:
                raise as_chatlab_error(error, f"keep {papers.name}") from error
            self._papers[papers.id] = papers
            return True

    def text(self, id: str) -> str:
        """Raises NotFound, or StoreCorrupt if it is not what was kept."""
        papers = self.papers(id)
        try:
            data = self._file(id).read_bytes().split(b"\n", 1)[1]
        except FileNotFoundError:
            raise NotFound(f"The text of {papers.name} is gone from {self.folder}.", "Add it again.") from None
        except (OSError, IndexError) as error:
            raise StoreCorrupt(f"The text of {papers.name} cannot be read: {error}.", "Add it again.") from error
        if hashlib.sha256(data).hexdigest() != papers.text_sha256:
            raise _changed(papers)
        return data.decode()

    def passage(self, id: str, number: int) -> Passage:
        """One of a document's passages, without reading the rest. Raises as `text` does."""
        papers = self.papers(id)
        span = papers.spans[number]
        try:
            with self._file(id).open("rb") as file:
                head = len(file.readline())
                file.seek(head + span.at)
                data = file.read(4 * (span.end - span.start))
        except OSError as error:
            raise StoreCorrupt(f"The text of {papers.name} cannot be read: {error}.", "Add it again.") from error
        text = data.decode(errors="ignore")[: span.end - span.start]
        if key_of(indexed_text(papers.title, text)) != span.key:
            raise _changed(papers)
        return Passage(document=id, title=papers.title, start=span.start, end=span.end, text=text)

    def passages(self, id: str) -> Iterator[tuple[int, Passage]]:
        """Each with its key. Raises as `text` does."""
        papers, text = self.papers(id), self.text(id)
        for span in papers.spans:
            yield (
                span.key,
                Passage(
                    document=id, title=papers.title, start=span.start, end=span.end, text=text[span.start : span.end]
                ),
            )

    def remove(self, ids: Iterable[str]) -> list[str]:
        """Out of the library, until `restore`; those that were there."""
        moved = [id for id in ids if self._moved(id)]
        if moved:
            self._last()
        return moved

    def restore(self, ids: Iterable[str]) -> list[str]:
        """Back in; those that could be brought back."""
        restored = []
        with self._lock:
            for id in ids:
                file = self._removed / f"{id}{ENDING}"
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                    papers = _papers(file)
                    self._disk.replace(file, self._file(id))
                    self._papers[id] = papers
                    restored.append(id)
            if restored:
                self._last()
        return restored

    def purge(self) -> None:
        """Delete for good what was removed, and what a kill left half-written."""
        for file in [*self._removed.glob(f"*{ENDING}"), *self.folder.glob(f".*{ENDING}.tmp")]:
            with contextlib.suppress(OSError):
                file.unlink()

    def _moved(self, id: str) -> bool:
        with self._lock:
            if id not in self._papers:
                return False
            try:
                private_folder(self._removed)
                self._disk.replace(self._file(id), self._removed / f"{id}{ENDING}")
            except FileNotFoundError:
                log.warning("The text of %s was gone already.", self._papers[id].name)
            except OSError as error:
                raise as_chatlab_error(error, f"remove {self._papers[id].name}") from error
            del self._papers[id]
            return True

    def _last(self) -> None:
        """Let what was moved be there after a loss of power too: with none, it is only where it was before."""
        with contextlib.suppress(OSError):
            for folder in (self.folder, self._removed):
                self._disk.sync_folder(folder)

    def _file(self, id: str) -> Path:
        return self.folder / f"{id}{ENDING}"


def _changed(papers: Papers) -> StoreCorrupt:
    return StoreCorrupt(f"The text of {papers.name} has been changed on the disk.", "Remove it and drop it again.")


def _as_bytes(papers: Papers, text: str) -> bytes:
    spans = [[span.start, span.end, span.key, span.at] for span in papers.spans]
    return orjson.dumps({"format": 1, **asdict(papers), "spans": spans}) + b"\n" + text.encode()


def _papers(file: Path) -> Papers:
    with file.open("rb") as stream:
        found: dict[str, Any] = orjson.loads(stream.readline())
    known = {field.name for field in fields(Papers)}
    values = {name: value for name, value in found.items() if name in known}
    values["spans"] = tuple(Span(*map(int, span)) for span in found["spans"])
    values["problems"] = tuple(map(str, found.get("problems", ())))
    if values["id"] != file.name.removesuffix(ENDING) or not _ID.fullmatch(values["id"]):
        raise ValueError("its name is not its document's")
    return Papers(**values)

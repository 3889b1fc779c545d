"""The documents that a person dropped: text and DocumentInfo, a file each. What is derived from them lies elsewhere.

A file's first line is its DocumentInfo in JSON, the rest is the text in UTF-8. It is written whole or not at all, so
that whatever `keep` has returned for is there after any end of the process.
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
from chatlab.retrieval.document import DocumentInfo, Passage, Span, indexed_text, key_of
from chatlab.store.disk import Disk, as_chatlab_error
from chatlab.system.files import private_folder

log = logging.getLogger("chatlab.retrieval")

ENDING = ".text"
_ID = re.compile(r"[0-9a-f]{64}")


class Library:
    """A folder of documents, for one process. Safe to call from threads."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        """Reads what is known of each. Files that make no sense are left where they are, and named in `problems`."""
        self.folder = folder
        self._removed = folder / "removed"
        self._disk = disk or Disk()
        self._lock = threading.RLock()
        self._info: dict[str, DocumentInfo] = {}
        self.problems: dict[str, str] = {}
        for file in sorted(folder.glob(f"*{ENDING}")):
            try:
                info = _info(file)
                self._info[info.id] = info
            except (OSError, ValueError, KeyError, TypeError) as error:
                self.problems[file.name] = f"cannot be read: {error}"

    def __len__(self) -> int:
        return len(self._info)

    def __contains__(self, id: object) -> bool:
        return id in self._info

    def all(self) -> list[DocumentInfo]:
        """The one added first stands first."""
        with self._lock:
            return sorted(self._info.values(), key=lambda info: (info.added, info.name))

    def info(self, id: str) -> DocumentInfo:
        """Raises NotFound."""
        try:
            return self._info[id]
        except KeyError:
            raise NotFound("This document is not in the library any more.", "Add it again.") from None

    def keep(self, info: DocumentInfo, text: str) -> bool:
        """Write a document to the disk; whether it is new here. Raises DiskFull or StoreError, having kept nothing."""
        with self._lock:
            if info.id in self._info:
                return False
            try:
                private_folder(self.folder)
                self._disk.publish(self._file(info.id), _as_bytes(info, text))
            except OSError as error:
                raise as_chatlab_error(error, f"keep {info.name}") from error
            self._info[info.id] = info
            return True

    def text(self, id: str) -> str:
        """Raises NotFound, or StoreCorrupt if it is not what was kept."""
        info = self.info(id)
        try:
            data = self._file(id).read_bytes().split(b"\n", 1)[1]
        except FileNotFoundError:
            raise NotFound(f"The text of {info.name} is gone from {self.folder}.", "Add it again.") from None
        except (OSError, IndexError) as error:
            raise StoreCorrupt(f"The text of {info.name} cannot be read: {error}.", "Add it again.") from error
        if hashlib.sha256(data).hexdigest() != info.text_sha256:
            raise _changed(info)
        return data.decode()

    def passage(self, id: str, number: int) -> Passage:
        """One of a document's passages, without reading the rest. Raises as `text` does."""
        info = self.info(id)
        span = info.spans[number]
        try:
            with self._file(id).open("rb") as file:
                head = len(file.readline())
                file.seek(head + span.at)
                data = file.read(4 * (span.end - span.start))
        except OSError as error:
            raise StoreCorrupt(f"The text of {info.name} cannot be read: {error}.", "Add it again.") from error
        text = data.decode(errors="ignore")[: span.end - span.start]
        if key_of(indexed_text(info.title, text)) != span.key:
            raise _changed(info)
        return Passage(document=id, title=info.title, start=span.start, end=span.end, text=text)

    def passages(self, id: str) -> Iterator[tuple[int, Passage]]:
        """Each with its key. Raises as `text` does."""
        info, text = self.info(id), self.text(id)
        for span in info.spans:
            yield (
                span.key,
                Passage(
                    document=id, title=info.title, start=span.start, end=span.end, text=text[span.start : span.end]
                ),
            )

    def remove(self, ids: Iterable[str]) -> list[str]:
        """Take documents out of the library, until `restore`; those that were there."""
        moved = [id for id in ids if self._moved(id)]
        if moved:
            self._sync_folders()
        return moved

    def restore(self, ids: Iterable[str]) -> list[str]:
        """Put removed documents back; those that could be brought back."""
        restored = []
        with self._lock:
            for id in ids:
                file = self._removed / f"{id}{ENDING}"
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                    info = _info(file)
                    self._disk.replace(file, self._file(id))
                    self._info[id] = info
                    restored.append(id)
            if restored:
                self._sync_folders()
        return restored

    def purge(self) -> None:
        """Delete for good what was removed, and what a kill left half-written."""
        for file in [*self._removed.glob(f"*{ENDING}"), *self.folder.glob(f".*{ENDING}.tmp")]:
            with contextlib.suppress(OSError):
                file.unlink()

    def _moved(self, id: str) -> bool:
        with self._lock:
            if id not in self._info:
                return False
            try:
                private_folder(self._removed)
                self._disk.replace(self._file(id), self._removed / f"{id}{ENDING}")
            except FileNotFoundError:
                log.warning("The text of %s was gone already.", self._info[id].name)
            except OSError as error:
                raise as_chatlab_error(error, f"remove {self._info[id].name}") from error
            del self._info[id]
            return True

    def _sync_folders(self) -> None:
        """Make moves outlive a loss of power; one that is lost leaves a document where it was."""
        with contextlib.suppress(OSError):
            for folder in (self.folder, self._removed):
                self._disk.sync_folder(folder)

    def _file(self, id: str) -> Path:
        return self.folder / f"{id}{ENDING}"


def _changed(info: DocumentInfo) -> StoreCorrupt:
    return StoreCorrupt(f"The text of {info.name} has been changed on the disk.", "Remove it and drop it again.")


def _as_bytes(info: DocumentInfo, text: str) -> bytes:
    spans = [[span.start, span.end, span.key, span.at] for span in info.spans]
    return orjson.dumps({"format": 1, **asdict(info), "spans": spans}) + b"\n" + text.encode()


def _info(file: Path) -> DocumentInfo:
    with file.open("rb") as stream:
        found: dict[str, Any] = orjson.loads(stream.readline())
    known = {field.name for field in fields(DocumentInfo)}
    values = {name: value for name, value in found.items() if name in known}
    values["spans"] = tuple(Span(*map(int, span)) for span in found["spans"])
    values["problems"] = tuple(map(str, found.get("problems", ())))
    if values["id"] != file.name.removesuffix(ENDING) or not _ID.fullmatch(values["id"]):
        raise ValueError("its name is not its document's")
    return DocumentInfo(**values)

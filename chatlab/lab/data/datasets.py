"""Data sets in and out of the store: what a file is, a preview, the import in the background, the export."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from chatlab.errors import ChatlabError, InputError
from chatlab.formats import Outcome, Proposal, Record, WriteResult, format_of, preview, sniff, write
from chatlab.lab.data.import_job import ImportJob, ImportRecord, Progress
from chatlab.lab.data.unseen import Unseen
from chatlab.records import Demonstration, Status
from chatlab.store import Store
from chatlab.system.clock import now

log = logging.getLogger("chatlab.lab")

AGAIN = "Choose the file again, or stop the running import."


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFilter:
    """What to export."""

    what: Literal["demonstrations", "preferences"] = "demonstrations"
    text: str = ""
    """Only those with these words in them, in any case."""
    tag: str = ""
    status: str = ""


class Datasets:
    """One import at a time. It goes on when nobody looks, and what it keeps is on the disk batch by batch."""

    def __init__(self, store: Store, cache: Path, unseen: Unseen) -> None:
        self._store = store
        self._unseen = unseen
        self._report = cache / "refused-rows.csv"
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._progress: Progress | None = None

    def sniff(self, path: Path) -> Proposal:
        """What a file seems to be. Raises FormatRefused for what is no data set."""
        return sniff(path)

    def preview(self, path: Path, proposal: Proposal, rows: int = 5) -> list[Outcome]:
        """Its first rows as they would become. Raises FormatRefused where a needed column was not chosen."""
        return preview(path, proposal, rows)

    def import_file(
        self, path: Path, proposal: Proposal, tags: Sequence[str] = (), status: Status | None = None
    ) -> Iterator[Progress]:
        """Import a file while it is iterated over; what was kept stays when the caller stops.

        `status` None leaves it to the file, and approves what says nothing. Raises FormatRefused, DiskFull, StoreError.
        """
        yield from ImportJob(self._store, self._unseen, path, proposal, tags, status, self._report)

    def start(
        self,
        path: Path,
        proposal: Proposal,
        tags: Sequence[str] = (),
        status: Status | None = None,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        """Import in the background; `progress` tells how far it is. `after` is called when it has ended, however.

        Raises InputError while another import is under way, and FormatRefused where a needed column was not chosen.
        """
        with self._lock:
            if self.running:
                raise InputError("Another import is in progress.", AGAIN)
            job = ImportJob(self._store, self._unseen, path, proposal, tags, status, self._report)
            self._stop.clear()
            self._progress = job.progress()
            self._thread = threading.Thread(target=self._run, args=(job, after), name="import", daemon=True)
            self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def progress(self) -> Progress | None:
        """Progress of the import under way, or of the last one since the start."""
        return self._progress

    def stop(self) -> None:
        """End the import after the batch it is at. What was kept stays, and `undo` takes it back."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def forget(self) -> None:
        """Let go of what the last import said of itself."""
        if not self.running:
            self._progress = None
            self._report.unlink(missing_ok=True)

    @property
    def undoable(self) -> tuple[str, int]:
        """The last import's file, and how many of its records are still there."""
        record = ImportRecord.last(self._store)
        return (record.name, record.count(self._store, self._unseen)) if record else ("", 0)

    def undo(self) -> int:
        """Take out all that the last import added and that is still there; how many that was."""
        if self.running:
            raise InputError("The import is still in progress.", "Stop it first.")
        record = ImportRecord.last(self._store)
        return record.undo(self._store, self._unseen) if record else 0

    def resolve(self, keep: bool) -> int:
        """Decide on what the last import set aside and nobody has decided on since; how many those were.

        `keep` approves them and takes the prompts that they repeat out of the unseen set; else they are discarded.
        """
        progress = self._progress
        if progress is None or self.running:
            raise InputError("There is no import to decide on.", "Wait until it ends.")
        collection = self._store.demonstrations
        found = {i: collection.get(i) for i in progress.aside if i in collection}
        waiting = {i: d for i, d in found.items() if d.status == "waiting"}
        status: Status = "approved" if keep else "discarded"
        collection.put_many({i: replace(d, status=status) for i, d in waiting.items()})
        if keep:
            self._unseen.take_out({prompt for d in waiting.values() for prompt in self._unseen.repeated(d.messages)})
        self._progress = replace(progress, aside=())
        return len(waiting)

    def export(self, format: str, filter: ExportFilter, folder: Path, own: bool = True) -> WriteResult:
        """A file in `folder`, whole or not there. Raises InputError where nothing matches or fits, DiskFull.

        With `own`, Chatlab's own fields (source, status, dates, who wrote and who approved) stand beside the words.
        """
        kind = format_of(format)
        path = folder / f"{filter.what}-{now()[:10]}{kind.ending}"
        written = write(path, self.chosen(filter), kind, own)
        if not written.records:
            path.unlink()
            reason = next(iter(written.left_out), "No matches.")
            raise InputError(f"There is nothing to export. {reason}", "Choose another format or another filter.")
        return written

    def chosen(self, filter: ExportFilter) -> Iterator[Record]:
        """What would be exported, oldest first."""
        if filter.what == "preferences":
            found, _ = self._store.preferences.find(filter.text, reverse=False, limit=len(self._store.preferences))
            return (one for _, one in found)

        def matches(one: Demonstration) -> bool:
            return (not filter.tag or filter.tag in one.tags) and (not filter.status or one.status == filter.status)

        collection = self._store.demonstrations
        demonstrations, _ = collection.find(filter.text, where=matches, reverse=False, limit=len(collection))
        return (one for _, one in demonstrations)

    def close(self) -> None:
        self.stop()

    def _run(self, job: ImportJob, after: Callable[[], None]) -> None:
        try:
            self._progress = self._carried_out(job)
        except ChatlabError as error:
            self._progress = job.progress("failed", f"{error} {error.hint}".strip())
        except Exception:
            log.exception("An import failed")
            self._progress = job.progress("failed", "Something went wrong inside Chatlab. The log has details.")
        finally:
            after()

    def _carried_out(self, job: ImportJob) -> Progress:
        for progress in job:
            if progress.state == "reading" and self._stop.is_set():
                return job.progress("stopped")
            self._progress = progress
        return progress

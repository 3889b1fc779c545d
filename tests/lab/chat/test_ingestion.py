"""The queue of files that are read: none is forgotten, whenever it comes."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from chatlab.lab.chat.ingestion import Ingestion

PATIENCE = 120.0


def until(intake: Ingestion, state: str) -> None:
    ends = time.monotonic() + PATIENCE
    while intake.adding.state != state:
        assert time.monotonic() < ends, intake.adding
        time.sleep(0.01)


def test_a_file_that_comes_while_the_last_reading_still_closes_is_read_as_well(tmp_path: Path) -> None:
    names: list[str] = []
    closed = threading.Event()
    intake = Ingestion(lambda papers, text: names.append(papers.name) is None, lambda: closed.wait(PATIENCE) and None)
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_text(f"This is {name}.", encoding="utf-8")
    try:
        intake.add([tmp_path / "one.txt"], uploads=False)
        until(intake, "done")  # its thread is there until `closed` is set
        intake.add([tmp_path / "two.txt"], uploads=False)
        until(intake, "done")
        assert names == ["one.txt", "two.txt"]
        assert (intake.adding.files, intake.adding.kept) == (1, 1), "each reading counts its own files"
    finally:
        closed.set()
        intake.stop()


def test_a_stopped_reading_removes_the_copies_that_were_not_read(tmp_path: Path) -> None:
    uploads = []
    for number in range(40):
        file = tmp_path / str(number) / f"{number}.txt"
        file.parent.mkdir()
        file.write_text(f"Number {number} of many.", encoding="utf-8")
        uploads.append(file)
    intake = Ingestion(lambda papers, text: True, lambda: None)
    intake.add(uploads, uploads=True)
    intake.stop()
    assert intake.adding.state == "stopped" and intake.adding.done < len(uploads)
    assert not any(file.exists() for file in uploads[intake.adding.done + 1 :])

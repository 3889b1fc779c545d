"""An app with one child process of each kind, to be killed: `python -m tests.support.kills.children FOLDER BASE`.

Says the pids of its children, a line of JSON, once all are there.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from chatlab.engines.gguf_import.validator import GgufSandbox
from chatlab.errors import ChatlabError
from chatlab.evaluation.scoring import Scoring
from chatlab.formats.containers.parquet import parquet_rows
from chatlab.records import Message
from chatlab.retrieval.embedding.client import EmbeddingClient
from chatlab.retrieval.index import Index
from chatlab.retrieval.indexer import Indexer
from chatlab.retrieval.library import Library
from chatlab.retrieval.reading.client import DocumentReader
from chatlab.system.processes.child import Child
from chatlab.training.process.client import TrainerClient

KINDS = (
    "process.worker",  # as `system.bootstrap.process_name` has it: these two are forks
    "evaluation.scor",
    "gguf_import.validate_worker",
    "reading.worker",
    "embedding.worker",
    "bm25_worker",
    "containers.parquet_worker",
    "tests.support.kills.stuck",
)


def main(folder: Path, base: Path) -> None:
    file = folder / "file"
    file.write_bytes(b"GGUF" + bytes(100))
    library = Library(folder / "library")
    index, scoring = Indexer(library, Index(library), folder / "index", None), Scoring()
    said = (Message(role="user", content="Hello."), Message(role="assistant", content="Good morrow."))
    short_lived = [
        lambda: GgufSandbox().run(file, folder),
        lambda: list(parquet_rows(file)),
        lambda: DocumentReader().read(file, "file.txt"),
        lambda: EmbeddingClient(folder).model,
        lambda: _built(index),
        lambda: _scored(scoring, base, folder, said),
    ]
    for start in short_lived:
        threading.Thread(target=_again, args=(start,), daemon=True).start()
    TrainerClient(base, folder / "cache").warm()
    stuck = Child("tests.support.kills.stuck", "interpreter")
    assert stuck.stdout and stuck.stdout.readline() == b"busy\n"
    found: dict[int, str] = {}
    while True:
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                command = f"{' '.join(child.cmdline())} {child.name()}"
                for kind in KINDS if "chatlab.system.processes.bootstrap" in command else ():
                    # The trainer is to be stopped: only once its threads run, for before them it is tied to nobody.
                    if kind in command and (kind != KINDS[0] or child.num_threads() > 1) and child.pid not in found:
                        found[child.pid] = kind
                        if kind not in (KINDS[0], KINDS[-1]):
                            child.suspend()  # so that it is there still when the last one is
        if set(found.values()) == set(KINDS) and all(map(psutil.pid_exists, found)):
            print(json.dumps(found), flush=True)
        time.sleep(0.005)


def _again(start: Callable[[], object]) -> None:
    """Start one that soon ends over and over: a look in between may miss it."""
    while True:
        with suppress(ChatlabError):
            start()


def _built(index: Indexer) -> None:
    index._start_builder("digest")
    assert index._builder is not None
    index._builder.wait()
    index._builder.end()


def _scored(scoring: Scoring, base: Path, folder: Path, said: tuple[Message, ...]) -> None:
    scoring.start(base, folder / "ledger", [("a", said)])
    while scoring.progress().running:
        time.sleep(0.005)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

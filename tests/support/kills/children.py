"""An app with one child process of each kind, to be killed: `python -m tests.support.kills.children FOLDER BASE`.

Says the pids of its children, a line of JSON, once all are there.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil

from chatlab.engines.gguf_import.validator import GgufSandbox
from chatlab.errors import ChatlabError
from chatlab.evaluation.scoring import Scoring
from chatlab.formats.parquet import parquet_rows
from chatlab.records import Message
from chatlab.retrieval.embedding import Embedding
from chatlab.retrieval.index import Index
from chatlab.retrieval.indexer import Indexer
from chatlab.retrieval.library import Library
from chatlab.retrieval.reading import Reading
from chatlab.system.child import Child
from chatlab.training.process import Trainer

KINDS = (
    "training.worker",
    "evaluation.scorer",
    "gguf.trial",
    "read_process",
    "embed_process",
    "words_process",
    "formats.unpack",
    "tests.support.kills.stuck",
)


def main(folder: Path, base: Path) -> None:
    file = folder / "file"
    file.write_bytes(b"GGUF" + bytes(100))
    library = Library(folder / "library")
    hopeless = [
        lambda: GgufSandbox().hear(file, folder),
        lambda: list(parquet_rows(file)),
        lambda: Reading().read(file, "file.txt"),
        lambda: Embedding(folder).model,
    ]
    for start in hopeless:
        threading.Thread(target=_quietly, args=(start,), daemon=True).start()
    Indexer(library, Index(library), folder / "index", None)._start_builder("digest")
    Trainer(base, folder / "cache").warm()
    said = (Message(role="user", content="Hello."), Message(role="assistant", content="Good morrow."))
    Scoring(base).start(folder / "ledger", [("a", said)])
    stuck = Child("tests.support.kills.stuck", "interpreter")
    assert stuck.stdout and stuck.stdout.readline() == b"busy\n"
    found: dict[int, str] = {}
    while True:
        for child in psutil.Process().children():
            with suppress(psutil.Error):
                said = " ".join(child.cmdline())
                for kind in KINDS if "chatlab.system.tie" in said else ():
                    if kind in said:
                        found[child.pid] = kind
        if set(found.values()) == set(KINDS):
            print(json.dumps(found), flush=True)
        time.sleep(0.005)


def _quietly(start: object) -> None:
    assert callable(start)
    with suppress(ChatlabError):
        start()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

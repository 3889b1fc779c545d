"""The word index built aside: `python -m chatlab.retrieval.bm25_worker LIBRARY FOLDER`, ids of documents in."""

from __future__ import annotations

import sys
from pathlib import Path

import orjson

from chatlab.errors import ChatlabError
from chatlab.retrieval.bm25 import build
from chatlab.retrieval.document import indexed_text
from chatlab.retrieval.library import Library


def main() -> None:
    library, folder = Library(Path(sys.argv[1])), Path(sys.argv[2])
    found: dict[int, str] = {}
    for id in orjson.loads(sys.stdin.buffer.read()):
        try:
            found |= {key: indexed_text(passage.title, passage.text) for key, passage in library.passages(id)}
        except ChatlabError as error:  # removed meanwhile, or damaged: the others are searched all the same
            print(error, file=sys.stderr)
    build(list(found), list(found.values()), folder)


if __name__ == "__main__":
    main()

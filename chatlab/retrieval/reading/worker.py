"""Documents read in a process of their own: `python -m chatlab.retrieval.reading.worker`.

A file can be a trap: a few kilobytes that unpack to gigabytes, a page that takes an hour, bytes that end a native
library. Here none of it reaches the app, which ends this process when it takes too long. A line of JSON a file comes
in, `{"path", "name"}`; for each one line goes out: the document, or `{"refused", "hint"}`.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from chatlab.errors import DocumentRefused
from chatlab.retrieval.document import Kind
from chatlab.retrieval.reading.chunking import spans
from chatlab.retrieval.reading.extract import ExtractionNotes, extract_text
from chatlab.retrieval.reading.file_kind import kind_of
from chatlab.system.files import sha256_of
from chatlab.system.processes.bootstrap import answer_pipe
from chatlab.system.processes.limits import forbid_writing, limit_cpu_time, limit_memory

MEMORY = 2 << 30
"""Bytes of address space, where the system keeps to such a limit."""
CHARACTERS = 30_000_000
"""Most of one document: the words of a hundred thick books."""
SECONDS = 90.0
"""After which what has been read of a file is taken for all of it, and the person is told."""
TITLE = 200
_ODD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufeff]")
_BLANK_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*){2,}")


def main() -> None:
    out = answer_pipe()
    limit_memory(MEMORY)
    forbid_writing()
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        limit_cpu_time(2 * SECONDS)  # the app ends a process that takes too long; this is for when the app has gone
        out.write(orjson.dumps(_answer(Path(asked["path"]), asked["name"]), option=orjson.OPT_APPEND_NEWLINE))
        out.flush()


def _answer(path: Path, name: str) -> dict[str, Any]:
    try:
        return read(path, name)
    except DocumentRefused as error:
        return {"refused": str(error), "hint": error.hint}
    except (MemoryError, RecursionError):
        return {"refused": "it needs more memory than a document may", "hint": "Save it in parts."}
    except OSError as error:
        return {"refused": f"it cannot be opened: {error.strerror or error}", "hint": "Choose the file again."}
    except Exception as error:  # libraries raise whatever they like at a damaged file
        said = f"{type(error).__name__}: {error}"[:200]
        return {"refused": f"it is damaged ({said})", "hint": "Open it in its own program and save it again."}


def read(path: Path, name: str) -> dict[str, Any]:
    """The document as JSON. Raises DocumentRefused, or whatever a library raises at a damaged file."""
    sha256 = sha256_of(path)
    kind, encoding = kind_of(path)
    notes = ExtractionNotes()
    text = _clean("".join(_within_limits(extract_text(path, kind, encoding, notes), notes)))
    if not text:
        reason = notes.problems[0].rstrip(".") if notes.problems else "there are no words in it"
        raise DocumentRefused(f"no text was found: {reason}", "Run it through text recognition first.")
    title = _title(notes.title, name, kind)
    return {
        "id": sha256,
        "kind": kind,
        "size": path.stat().st_size,
        "title": title,
        "pages": notes.pages,
        "problems": notes.problems,
        "text": text,
        "spans": [[span.start, span.end, span.key, span.at] for span in spans(text, kind, title)],
    }


def _within_limits(found: Iterator[str], notes: ExtractionNotes) -> Iterator[str]:
    ends, characters = time.monotonic() + SECONDS, 0
    for piece in found:
        piece = piece[: CHARACTERS - characters]
        characters += len(piece)
        yield piece
        if characters >= CHARACTERS:
            notes.problems.append(f"Only the first {CHARACTERS:,} characters were read; the file holds more.")
            return
        if time.monotonic() > ends:
            notes.problems.append(f"Only the first {characters:,} characters were read; the rest would take too long.")
            return


def _clean(text: str) -> str:
    text = _ODD.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _BLANK_LINES.sub("\n\n", text).strip()


def _title(given: str, name: str, kind: Kind) -> str:
    """What the document calls itself, if that is a name; else its file's name without the ending."""
    title = " ".join(_ODD.sub("", given).split())
    usable = 3 <= len(title) <= TITLE and not title.lower().startswith(("untitled", "microsoft word", "document"))
    return title if usable else (" ".join(_ODD.sub("", Path(name).stem).split())[:TITLE] or kind)


if __name__ == "__main__":
    main()

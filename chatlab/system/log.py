"""The log in the state folder: what happened inside, for whoever looks for a fault. Nothing that a person said.

A line keeps the words that stand in Chatlab's own code and numbers. What was put into them is left out, for it may
be a message, a name or a password; an error is its class and the places in the code it came through. The terminal shows
the same, for its window may be on somebody else's screen and its words in the system's journal.
"""

from __future__ import annotations

import logging
import os
import re
import traceback
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from chatlab.errors import ChatlabError
from chatlab.system.files import private_folder

NAME = "chatlab.system.log"
LARGEST = 1_000_000
"""Bytes of one file."""
OLDER = 3
"""Files kept beside it."""

_PLACE = re.compile(r"%(?:\((\w+)\))?[-+ #0]*[\d*]*(?:\.[\d*]+)?[a-zA-Z%]")


def open_log(folder: Path) -> logging.Handler | None:
    """Begin to keep the log there; None where it cannot be written, which is no reason not to start."""
    try:
        private_folder(folder)
        book = _Book(folder / NAME, maxBytes=LARGEST, backupCount=OLDER, encoding="utf-8")
    except OSError:
        return None
    book.setFormatter(Discreet("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S"))
    book.setLevel(logging.INFO)
    logging.getLogger().addHandler(book)
    ours = logging.getLogger("chatlab")
    ours.setLevel(logging.INFO)
    return book


def close_log(book: logging.Handler | None) -> None:
    if book is not None:
        logging.getLogger().removeHandler(book)
        book.close()


class _Book(RotatingFileHandler):
    def _open(self) -> Any:
        """Open the file so that only its owner can read it."""
        os.close(os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        return super()._open()

    def handleError(self, record: logging.LogRecord) -> None:
        """A full disk is told where the change was lost, not here."""


class Discreet(logging.Formatter):
    """A line as its format says, with nothing in it that was put in."""

    def format(self, record: logging.LogRecord) -> str:
        bare = logging.makeLogRecord({**vars(record), "msg": f"{_words(record)}{_way(record)}", "args": None})
        bare.exc_info = bare.exc_text = bare.stack_info = None
        return super().format(bare)


def _words(record: logging.LogRecord) -> str:
    """The message without what was put in; of others' loggers only the place, for their sentences may hold anything."""
    if record.name.split(".")[0] != "chatlab":
        return f"{Path(record.pathname).name}, line {record.lineno}"
    given = record.args if isinstance(record.args, tuple) else ()
    places = iter(given)
    return _PLACE.sub(lambda place: "%" if place[0].endswith("%") else _shown(next(places, "")), str(record.msg))


def _shown(value: object) -> str:
    if isinstance(value, int | float):
        return str(value)
    return f"<{type(value).__name__}>" if isinstance(value, BaseException) else "..."


def _way(record: logging.LogRecord) -> str:
    """An exception without what it says: its class, that of its cause, and where it came from."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return ""
    lines = []
    for one in (error, error.__cause__ or error.__context__):
        if one is None:
            continue
        kept = "a known error" if isinstance(one, ChatlabError) else "a bug or the system"
        lines.append(f"  {type(one).__name__} ({kept})")
        frames = traceback.extract_tb(one.__traceback__)
        lines += [f"    {Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames[-20:]]
    return "\n" + "\n".join(lines)

"""Lines of text as prompts: where they come from, which of them say the same, and which are too much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from chatlab.errors import InputError
from chatlab.evaluation.unseen import FIRST, unseen
from chatlab.quality.findings import quoted
from chatlab.quality.words import plain
from chatlab.system.lines import split_lines

MOST = 500
"""Prompts in the set. More take longer to read than anybody has."""
LONGEST = 2000
"""Characters of one."""
SETS: Mapping[str, str] = {"everyday": "", "triage": "triage"}
"""Sets that come with the app, and the kind that each is called by where it is kept."""
BYTES = 2**21
"""Largest file of prompts."""


def packaged(name: str) -> list[str]:
    """One of `SETS`. Raises InputError for another name."""
    if name not in SETS:
        raise InputError(f"There is no set {name!r}.", "Choose one of: " + ", ".join(SETS))
    return unseen(SETS[name], FIRST)


def read(file: Path) -> list[str]:
    """The lines of a text file. Raises InputError for what is none."""
    try:
        if file.stat().st_size > BYTES:
            raise InputError(f"{file.name} is too large for a list of prompts.", f"Keep it below {BYTES >> 20} MB.")
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file.name} is not UTF-8 text.", "Save it as plain text, one prompt per line.") from error
    except OSError as error:
        raise InputError(f"{file.name} cannot be read: {error.strerror}.", "Choose it again.") from error
    if "\0" in text:
        raise InputError(f"{file.name} is no text.", "Save it as plain text, one prompt per line.")
    return split_lines(text)


def sifted(lines: Sequence[str], before: Sequence[str] = ()) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Lines as prompts, and those left out: something before says the same but for case, accents and punctuation.

    Empty lines are no prompts, and whatever was pasted into one is as many as it has lines.
    """
    new: list[str] = []
    known: list[str] = []
    seen = {_said(prompt) for prompt in before}
    for line in (part.strip() for given in lines for part in split_lines(given)):
        if line:
            (known if _said(line) in seen else new).append(line)
            seen.add(_said(line))
    return tuple(new), tuple(known)


def check(prompts: Sequence[str]) -> None:
    """Raises InputError for too many, or one that is too long."""
    if len(prompts) > MOST:
        raise InputError(f"{len(prompts):,} prompts are too many.", f"Keep up to {MOST}.")
    long = next((prompt for prompt in prompts if len(prompt) > LONGEST), None)
    if long is not None:
        raise InputError(f"{quoted(long)} is longer than {LONGEST:,} characters.", "Shorten it.")


def _said(prompt: str) -> str:
    return plain(prompt) or prompt

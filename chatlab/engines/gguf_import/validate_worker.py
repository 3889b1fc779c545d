"""A GGUF file tried in a process that can be spared.

    python -m chatlab.engines.gguf_import.validate_worker FILE FOLDER

llama.cpp ends the process on many a damaged file, so nobody else opens one first. What comes through leaves the papers
of a base in the folder and, at last, `passed.json`; what does not leaves the reason in `refused.json`, or dies.
"""

from __future__ import annotations

import hashlib
import json
import sys
from contextlib import closing
from pathlib import Path

from chatlab.engines.base import Sampling, Voice
from chatlab.engines.gguf_import.validator import PASSED
from chatlab.errors import BaseRefused, ChatlabError, DiskFull, EngineError
from chatlab.models.base import Base
from chatlab.models.brought import Brought, stamp
from chatlab.models.gguf.header import Header, check_model, damaged, read_header
from chatlab.models.limits import Limits
from chatlab.models.trial_process import refuse
from chatlab.records import Message

PAPERS = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
LONGEST_NAME = 80
TOKENS = 4
"""Drawn in the trial."""
ASKED = "Say what you know of the sea, the moon and the wind. " * 12


def main(file: Path, folder: Path) -> int:
    """1 for a file that is refused."""
    try:
        limits = Limits(file.stat().st_size)
        tried(file, folder, limits)
    except ChatlabError as error:
        return refuse(error, folder)
    return 0


def tried(file: Path, folder: Path, limits: Limits) -> None:
    """Everything that the app will do with the file, done once. Raises BaseRefused, TemplateRefused, DiskFull.

    What is dear to import is imported only for a file that gets so far.
    """
    try:
        header = read_header(file)
        check_model(header)
        parameters = _describe(file, header, folder, limits)
        name = file.stem if file.suffix == ".gguf" else _name(header) or file.name
        gguf = Brought(file=file, stamp=stamp(file), sha256=_digest(file))
        base = Base.brought(gguf, name, folder, parameters)
        base.template.check()
        _speak(base, limits)
        papers = {name: _digest(folder / name) for name in PAPERS}
        told = {"name": name, "parameters": parameters, "sha256": gguf.sha256, "papers": papers}
        (folder / PASSED).write_text(json.dumps(told), encoding="utf-8")
    except MemoryError as error:
        raise damaged("it does not fit into memory") from error
    except OSError as error:
        raise DiskFull(
            f"What {file.name} says of itself could not be kept: {error.strerror or error}.",
            "Make space on the disk that holds the cache folder.",
        ) from error


def _describe(file: Path, header: Header, folder: Path, limits: Limits) -> int:
    """Write the papers; how many numbers the model has."""
    with limits.lifted():
        from chatlab.engines.gguf_import.hf_files import write_papers
        from chatlab.engines.llamacpp.vocab import Native

    with Native(file) as native:
        write_papers(file, header, native, folder)
        return native.parameters


def _speak(base: Base, limits: Limits) -> None:
    """A few words, and the same again from what was read already."""
    with limits.lifted():
        from chatlab.engines.llamacpp.engine import LONGEST, MEMORY, LlamaEngine, cell

    limits.allow(MEMORY + 2 * min(base.context, LONGEST) * cell(base))
    prompt = base.template.prompt([Message(role="user", content=ASKED)])
    sampling = Sampling(temperature=0.0, repetition_penalty=1.0, max_tokens=TOKENS)
    try:
        with closing(LlamaEngine.open(base, base.folder)) as engine:
            asked = prompt[: engine.context - TOKENS - 1]
            first, second = (
                "".join(piece.text for piece in engine.stream(asked, sampling, Voice(), frozenset())) for _ in range(2)
            )
    except EngineError as error:
        raise BaseRefused(f"The file's model cannot be run: {error}", error.hint) from error
    if first != second:
        raise BaseRefused("The file's model says something else whenever it is asked the same.", "Bring another one.")


def _name(header: Header) -> str:
    """What the file calls its model, for one that goes by a number in somebody's cache."""
    return " ".join(header.text("general.name").split())[:LONGEST_NAME]


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))

"""The process that opens a GGUF file for the first time, so that a damaged one cannot take the app with it.

    python -m chatlab.engines.gguf_import.validate_worker FILE FOLDER

llama.cpp ends the process on many a damaged file, so nobody else opens one first. A file that passes leaves config,
tokenizer and chat template in the folder and, at last, `passed.json`; one that does not leaves the reason in
`refused.json`, or ends this process.
"""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path

from chatlab.engines.base import Sampling, Variant
from chatlab.engines.gguf_import.validator import PASSED
from chatlab.engines.gguf_import.vocab import HeaderVocab
from chatlab.engines.llamacpp import package
from chatlab.errors import BaseRefused, ChatlabError, DiskFull, EngineError
from chatlab.models.base import Base
from chatlab.models.gguf.config import network, tensors_of
from chatlab.models.gguf.header import WITHOUT, Header, check_model, damaged, read_header
from chatlab.models.gguf.meaning import meaning_of
from chatlab.models.gguf_file import GgufFile, stamp
from chatlab.models.included import SMOLLM2_SHA256
from chatlab.models.validation.process import refuse
from chatlab.records import Message
from chatlab.system.files import sha256_of
from chatlab.system.processes.limits import Limits

HF_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
LONGEST_NAME = 80
TOKENS = 4
"""Sampled in the test reply."""
PROMPT = "Say what you know of the sea, the moon and the wind. " * 12


def main(file: Path, folder: Path) -> int:
    """1 for a file that is refused."""
    try:
        limits = Limits(file.stat().st_size)
        validate(file, folder, limits)
    except ChatlabError as error:
        return refuse(error, folder)
    return 0


def validate(file: Path, folder: Path, limits: Limits) -> None:
    """Everything that the app will do with the file, done once. Raises BaseRefused, TemplateRefused, DiskFull.

    Heavy packages are imported only for a file that gets so far.
    """
    try:
        header = read_header(file)
        check_model(header)
        sha256 = sha256_of(file)
        by_header = sha256 == SMOLLM2_SHA256 or not package.version()  # the included file was tried when it was chosen
        parameters = _write_hf_files(file, header, folder, limits, by_header)
        name = file.stem if file.suffix == ".gguf" else _name(header) or file.name
        gguf = GgufFile(file=file, stamp=stamp(file), sha256=sha256)
        base = Base.from_gguf(gguf, name, folder, parameters)
        base.template.check()
        if not by_header:
            _check_replies(base, limits)
        elif sha256 != SMOLLM2_SHA256:
            _check_unpackable(header)
        hashes = {name: sha256_of(folder / name) for name in HF_FILES}
        passed: dict[str, object] = {"name": name, "parameters": parameters, "sha256": sha256, "papers": hashes}
        passed["meaning"] = meaning_of(file, header)
        (folder / PASSED).write_text(json.dumps(passed), encoding="utf-8")
    except MemoryError as error:
        raise damaged("it does not fit into memory") from error
    except OSError as error:
        raise DiskFull(
            f"What {file.name} says of itself could not be kept: {error.strerror or error}.",
            "Free some space on the disk of the cache folder.",
        ) from error


def _write_hf_files(file: Path, header: Header, folder: Path, limits: Limits, by_header: bool) -> int:
    """Write config, tokenizer and template; the number of parameters. With `by_header` llama.cpp is not asked."""
    with limits.lifted():
        from chatlab.engines.gguf_import.hf_files import write_hf_files

        if by_header:
            vocab = HeaderVocab(header)
            write_hf_files(file, header, vocab, folder)
            return vocab.parameters
        from chatlab.engines.llamacpp.vocab import LlamaVocab

    with LlamaVocab(file) as told:
        write_hf_files(file, header, told, folder, told)
        return told.parameters


def _check_replies(base: Base, limits: Limits) -> None:
    """Generate a few tokens, and the same again from the prefix cache."""
    with limits.lifted():
        from chatlab.engines.llamacpp.engine import LONGEST, MEMORY, LlamaCppEngine, kv_bytes_per_token

    limits.allow(MEMORY + 2 * min(base.context, LONGEST) * kv_bytes_per_token(base))
    prompt = base.template.prompt([Message(role="user", content=PROMPT)])
    sampling = Sampling(temperature=0.0, repetition_penalty=1.0, max_tokens=TOKENS)
    try:
        with closing(LlamaCppEngine.open(base, base.folder)) as engine:
            prompt = prompt[: engine.context - TOKENS - 1]
            first, second = (
                "".join(chunk.text for chunk in engine.stream(prompt, sampling, Variant(), frozenset()))
                for _ in range(2)
            )
    except EngineError as error:
        raise BaseRefused(f"The file's model cannot be run: {error}", error.hint) from error
    if first != second:
        raise BaseRefused("The file's model is not deterministic at temperature 0.", "Use another one.")


def _check_unpackable(header: Header) -> None:
    """Without llama.cpp it is unpacked, and transformers replies: only this project's code then reads the file."""
    try:
        tensors_of(header, network(header))
    except BaseRefused as refused:
        raise BaseRefused(f"Without llama.cpp this file cannot be used. {refused}", WITHOUT) from refused


def _name(header: Header) -> str:
    """The name that the file gives its model, for a file that is named by a hash."""
    return " ".join(header.text("general.name").split())[:LONGEST_NAME]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))

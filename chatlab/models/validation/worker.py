"""A model folder tried in a process that can be spared: `python -m chatlab.models.validation.worker FOLDER TO`.

Everything that the app will do with its chat template and tokenizer is done once, on ordinary conversations and on
hard ones. What comes through leaves `passed.json`; what does not leaves the reason in `refused.json`, or dies.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from chatlab.errors import BaseRefused, ChatlabError, EmptyAnswer, PromptTooLong, TemplateRefused
from chatlab.models.base import Base
from chatlab.models.files import read_json
from chatlab.models.tokenizer.known_parts import unknown_part
from chatlab.models.validation.process import refuse
from chatlab.models.validation.validator import PASSED
from chatlab.records import Message
from chatlab.system.processes.limits import Limits, limit_cpu_time
from chatlab.template.codec import codec_of

SECONDS = 2.0
"""Processor time that one text may take, encoded and decoded. Honest tokenizers take a hundredth of it."""
TOKENS = 16
"""Most tokens that a character may become."""
SECONDS_IN_ALL = 60
"""Processor time. A tokenizer of a hundred thousand tokens takes a few."""
LONG = 8_000
"""Characters of a long text."""
WINDOW = 8
"""Tokens that are decoded together while a reply grows."""


def main(folder: Path, to: Path) -> int:
    """1 for a folder that is refused."""
    try:
        size = sum(file.stat().st_size for file in (folder / "tokenizer.json", folder / "config.json"))
        limits = Limits(size)
        with limits.lifted():
            import transformers  # noqa: F401 - what it maps is not counted
        base = Base.open(folder, spared=True)
        limit_cpu_time(SECONDS_IN_ALL)
        tried(base)
        told = {"name": base.name, "harmless": not unknown_part(read_json(folder / "tokenizer.json"))}
        (to / PASSED).write_text(json.dumps(told), encoding="utf-8")
    except MemoryError:
        return refuse(_refused("takes more memory than any honest one"), to)
    except ChatlabError as error:
        return refuse(error, to)
    return 0


def tried(base: Base) -> None:
    """Raises BaseRefused, TemplateRefused, TokenizerFailed."""
    codec = codec_of(base.tokenizer.backend_tokenizer)
    for text in texts():
        began = time.process_time()
        ids = codec.encode(text)
        _check_cost(text, len(ids), time.process_time() - began)
        if len(codec.decode(ids)) > TOKENS * len(text) + LONG:
            raise _refused("makes a long text of a short one")
    template = base.template
    template.check()
    look_alikes = " ".join(list(template.control_tokens)[:50])
    for text in (*texts(), look_alikes):
        began = time.process_time()
        said = [Message(role="user", content=text), Message(role="assistant", content=text or "x")]
        for messages in (said, [Message(role="system", content="Be exact."), *said, *said]):
            try:
                template.prompt(messages[:-1])
                asked = template.encode(messages)[-1].ids
            except (TemplateRefused, EmptyAnswer, PromptTooLong):
                continue  # of such a conversation, in words, as it will be again
            for start in range(min(len(asked), 512)):
                template.text(asked[start : start + WINDOW])
            template.text(asked)
        _check_cost(text, 0, time.process_time() - began)


def _check_cost(text: str, tokens: int, seconds: float) -> None:
    if tokens > TOKENS * len(text) + LONG:
        raise _refused("makes a great many tokens of a short text")
    if seconds > SECONDS * max(1.0, len(text) / LONG):
        raise _refused(f"takes more than {SECONDS:g} seconds over a short text")


def texts() -> Iterator[str]:
    """Ordinary ones, and such as expressions and normalizers trip over."""
    yield "What is the moon made of?"
    yield "Feelings 🙂👩‍👩‍👧, naïve 漢字 and ひらがな, עברית, العربية, हिन्दी, ไทย, Ω≈ç√∫ﷺ İß ﬁ"
    yield "def f(x):\n\tif x:\n\t\treturn [x, {'a': 1}]  # code\n\n\n" * 20
    yield "1234567890 " * 100 + "3.14159 1,000,000 0x7f"
    yield "".join(chr(code) for code in (*range(1, 128), *range(0x2000, 0x2070), 0xFEFF, 0xFFFD, 0xE0001))
    yield "All work and no play makes a dull boy. " * (LONG // 40)
    for unit in ("a", "A", "aA", " ", "\n", " \n", "0", "-", ".", "é", "漢", "🙂", "\u0301", "ab ", "'", "<|", "\t "):
        run = unit * (200 // len(unit))
        yield from (run, run + "b", run + "!", f"x{run} b", run + "\n", run * 40)


def _refused(why: str) -> BaseRefused:
    return BaseRefused(f"The model's tokenizer or chat template {why}.", "Choose another model.")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))

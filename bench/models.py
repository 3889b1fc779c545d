"""A real model from a fresh start to a reply: SmolLM2-135M as it comes with the app.

`python -m bench models`: the first reply after a fresh start, unpacking for training, switching to another model and
back, decoding through the Lab beside llama.cpp's bare loop, and the list of what is found on a machine with 200 files.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench.engines import published
from bench.gguf import GREEDY, PROMPT, TOKENS, pace_lab
from bench.table import middle, show
from chatlab.engines.folder import read_adapter
from chatlab.engines.gguf_export.files import write_adapter
from chatlab.engines.llamacpp.runtime import Runtime
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.models.base import Base
from chatlab.models.included import smollm2
from chatlab.models.library.found.places import Machine, places
from chatlab.models.library.found.search import found as found_models
from chatlab.models.unpacked import UnpackedBases
from chatlab.settings import PACKAGE, Settings

EMBEDDED = PACKAGE / "models" / "embedded"
FILES = 200
HEADER = 4 << 20
"""Bytes that hold the header of SmolLM2's file."""
TARGETS = {
    "first_reply_s": "<= 3",
    "switch_s": "< 2",
    "unpack_s": "< 5",
    "found_s": "< 1",
    "decode_share_base": ">= 0.95",
    "decode_share_adapter": ">= 0.95",
}
FIRST_REPLY = """
import sys, time
from pathlib import Path
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.settings import Settings, smollm2_file
lab = Lab(Settings(home=Path(sys.argv[1]), base=smollm2_file()))
lab.warm()
began = time.perf_counter()
for chunk in lab.chat.reply(lab.chat.new(), "What is the capital of France?", ReplyOptions()):
    if chunk.text.strip():
        break
print(time.perf_counter() - began)
lab.close()
"""
"""What a person waits for who presses Enter in the moment in which the page is there; the page itself aside."""


def measure(rounds: int = 5) -> dict[str, float]:
    """Seconds and shares, medians of `rounds`."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        home = Path(folder)
        runs: dict[str, Callable[[], float]] = {
            "first_reply_s": lambda: first_reply(home / "fresh"),
            "unpack_s": lambda: unpack(home),
            "found_s": found(home / "person"),
            **switching(home, stack),
        }
        taken: dict[str, list[float]] = {name: [] for name in (*runs, *PACES)}
        for once in runs.values():
            once()  # the very first time files are checked, and read from the disk; that is said in its own figure
        paces = decoding(home, stack)
        for _ in range(rounds):
            for name, once in runs.items():
                taken[name].append(once())
            for name, once in paces.items():
                taken[name].append(once())
    figures = {name: middle(values) for name, values in taken.items()}
    figures["decode_share_base"] = figures["lab_base_tok_s"] / figures["bare_base_tok_s"]
    figures["decode_share_adapter"] = figures["lab_adapter_tok_s"] / figures["bare_adapter_tok_s"]
    show([{"": name, "median": value, "target": TARGETS.get(name, "")} for name, value in figures.items()])
    return figures


def first_reply(home: Path) -> float:
    """Seconds from Enter to the first words, in a process of its own that has opened nothing yet."""
    made = subprocess.run([sys.executable, "-c", FIRST_REPLY, home], capture_output=True, text=True, check=True)
    return float(made.stdout.split()[-1])


def unpack(home: Path) -> float:
    """Seconds to unpack the file for training, on the disk when they are over."""
    base = checked(home)
    shutil.rmtree(home / "unpacking", ignore_errors=True)
    began = time.perf_counter()
    UnpackedBases(home / "unpacking").open(base)
    return time.perf_counter() - began


def checked(home: Path) -> Base:
    lab = Lab(Settings(home=home / "checked", base=smollm2(), cache_folder=home / "cache"))
    try:
        return lab.machine.base
    finally:
        lab.close()


def found(person: Path) -> Callable[[], float]:
    """Seconds for the list of what is there, on a machine where LM Studio and the Hugging Face cache hold so many."""
    for number in range(FILES):
        if number % 2:
            place = person / ".lmstudio" / "models" / "maker" / f"model-{number}"
        else:
            place = person / ".cache" / "huggingface" / "hub" / f"models--maker--model-{number}" / "snapshots" / "a1"
        place.mkdir(parents=True, exist_ok=True)
        sparse(place / f"model-{number}-Q4_1.gguf")
    machine = Machine(home=person, environment={})

    def once() -> float:
        began = time.perf_counter()
        if len(found_models(places(machine))) < FILES:
            raise SystemExit("Not all were found.")
        return time.perf_counter() - began

    return once


def sparse(file: Path) -> None:
    """A file of the size of SmolLM2's that takes only its header's room on the disk."""
    with file.open("wb") as out, smollm2().open("rb") as source:
        out.write(source.read(HEADER))
        out.truncate(smollm2().stat().st_size)


def switching(home: Path, stack: ExitStack) -> dict[str, Callable[[], float]]:
    """To the other of two models that were open before, until its first words."""
    lab = Lab(Settings(home=home / "switch", base=EMBEDDED, cache_folder=home / "cache"))
    stack.callback(lab.close)

    def to(path: Path) -> float:
        began = time.perf_counter()
        lab.machine.use(path)
        next(
            chunk
            for chunk in lab.chat.reply(lab.chat.new(incognito=True), "Tell me of the sea.", ReplyOptions())
            if chunk.text
        )
        return time.perf_counter() - began

    return {"switch_s": lambda: max(to(smollm2()), to(EMBEDDED))}


PACES = ("bare_base_tok_s", "lab_base_tok_s", "bare_adapter_tok_s", "lab_adapter_tok_s")


def decoding(home: Path, stack: ExitStack) -> dict[str, Callable[[], float]]:
    """Tokens a second of llama.cpp alone and through everything in the Lab that a reply goes through."""
    lab = Lab(Settings(home=home / "decoding", base=smollm2(), cache_folder=home / "cache", engine="llama.cpp"))
    stack.callback(lab.close)
    base = lab.machine.base
    unpacked = UnpackedBases(home / "cache").open(base)
    variant = published(Base.open(unpacked.folder, fingerprint=unpacked.fingerprint), home / "decoding", 0)
    threads = lab.machine.engine._cores  # type: ignore[attr-defined]
    bare = Runtime(smollm2(), 1024, 1, threads, 64, brought=True)
    stack.callback(bare.close)
    file = home / "bare.lora.gguf"
    write_adapter(base, read_adapter(variant.folder or Path(), base.fingerprint), file)
    adapter = (bare.load(file), 1.0)
    return {
        "bare_base_tok_s": lambda: pace_bare(bare, None),
        "lab_base_tok_s": lambda: pace_lab(lab, GREEDY, "base"),
        "bare_adapter_tok_s": lambda: pace_bare(bare, adapter),
        "lab_adapter_tok_s": lambda: pace_lab(lab, GREEDY, variant.name),
    }


def pace_bare(runtime: Runtime, adapter: tuple[int, float] | None) -> float:
    """llama.cpp alone: decode, likeliest token, decode."""
    token = int(runtime.read(PROMPT, 0, 0, adapter).argmax())
    began = time.perf_counter()
    for place in range(TOKENS - 1):
        token = int(runtime.read([token], 0, len(PROMPT) + place, adapter).argmax())
    return (TOKENS - 1) / (time.perf_counter() - began)

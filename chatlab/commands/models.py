"""`chatlab models`: list, add, choose and remove models from a terminal."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from chatlab.errors import BaseRefused, InputError
from chatlab.models.given.templates import GivenTemplates
from chatlab.models.library.entry import ModelEntry, ModelFacts
from chatlab.models.library.hub.download import Download
from chatlab.models.library.hub.repository import gigabytes
from chatlab.models.library.library import ModelLibrary
from chatlab.settings import Settings

Say = Callable[[str], None]
EVERY, SELDOM = 0.5, 10.0
"""Seconds between two words of progress: on a terminal, where a line takes the place of the last, and in a file."""


def add_to(parsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the commands."""
    models = parsers.add_parser("models", help="list the models on this machine; add, use or remove one")
    models.add_argument("--json", action="store_true", help="JSON output")
    what = models.add_subparsers(dest="do", metavar="{list,add,use,remove}")
    what.add_parser("list", help="list them (default)").add_argument("--json", action="store_true", help="JSON output")
    add = what.add_parser("add", help="add a folder, a GGUF file, or a model of the Hugging Face hub")
    add.add_argument("model", metavar="PATH_OR_HUB_ID", help="a path, or an id such as Qwen/Qwen3-0.6B")
    add.add_argument("--revision", default="", help="branch, tag or commit of the hub's model")
    add.add_argument("--file", default="", metavar="NAME.gguf", help="one GGUF of it, by name or quantisation (Q4_K_M)")
    for name, about in (
        ("use", "open this one from now on, unless CHATLAB_BASE is set; `default` for the included one"),
        ("remove", "forget an added model, or delete a downloaded one; other programs' files stay"),
    ):
        what.add_parser(name, help=about).add_argument("model", metavar="NAME", help="name, id or path")


def run(given: argparse.Namespace) -> int:
    """1 where a download was stopped."""
    settings = Settings.from_environment()
    library = ModelLibrary(settings.home, settings.cache)
    try:
        templates = GivenTemplates(library.folder / "templates")
        return ModelCommands(library, templates, os.environ, say_line, _over if sys.stdout.isatty() else None).run(
            given
        )
    finally:
        library.close()


class ModelCommands:
    """What the commands do; `say` is given each line, `over` those that take the place of the one before."""

    def __init__(
        self,
        library: ModelLibrary,
        templates: GivenTemplates,
        environment: Mapping[str, str],
        say: Say,
        over: Say | None = None,
    ) -> None:
        self._library = library
        self._templates = templates
        self._environment = environment
        self._say = say
        self._over = over

    def run(self, given: argparse.Namespace) -> int:
        """Raises what the library raises."""
        if given.do == "add":
            return self._add(given.model, given.revision, given.file)
        if given.do == "use":
            self._use(given.model)
        elif given.do == "remove":
            entry = self._library.find(given.model)
            self._library.remove(entry.id)
            self._say(f"{entry.title} is removed.")
        else:
            self._list(given.json)
        return 0

    def _list(self, as_json: bool) -> None:
        described = [(entry, self._library.facts(entry)) for entry in self._library.entries()]
        chosen = self._library.chosen
        if as_json:
            told = [
                {**asdict(entry), **asdict(facts), "chosen": chosen is not None and chosen.id == entry.id}
                for entry, facts in described
            ]
            self._say(json.dumps(told, indent=1, default=str))
            return
        for entry, facts in described:
            mark = "*" if chosen is not None and chosen.id == entry.id else " "
            self._say(f"{mark} {entry.title}")
            self._describe(entry, facts)
        for half in self._library.unfinished():
            words = [half.repository, *(["--revision", half.revision] if half.revision else [])]
            again = " ".join([*words, *(["--file", half.file] if half.file else [])])
            self._say(f"{half.repository} is not all here ({gigabytes(half.bytes)}). Go on: chatlab models add {again}")
        if chosen is not None and chosen.problem:
            self._say(f"The chosen model cannot be opened: {chosen.problem}")
        self._warn_of_base()

    def _use(self, name: str) -> None:
        if name == "default":
            self._library.choose(None)
            self._say("The included model is opened from now on.")
        else:
            entry = self._library.find(name)
            facts = self._library.facts(entry)
            if not self._is_usable(entry, facts):
                raise BaseRefused(f"{entry.title} cannot be used: {facts.unusable}")
            self._library.choose(entry.id)
            self._say(f"{entry.title} is opened from now on.")
            if facts.untrainable:
                self._say(facts.untrainable)
            if shortage := self._library.shortage(entry):
                self._say(shortage)
        self._warn_of_base()

    def _warn_of_base(self) -> None:
        if base := self._environment.get("CHATLAB_BASE"):
            self._say(f"CHATLAB_BASE is set, so {base} is opened instead.")

    def _add(self, model: str, revision: str, file: str) -> int:
        if is_path(model):
            if revision or file:
                raise InputError("--revision and --file are for models of the hub.", f"{model} is a path.")
            entry = self._library.add(Path(model))
        else:
            fetched = self._fetch(self._library.download(model, revision, file))
            if fetched is None:
                return 130
            entry = fetched
        self._say(f"{entry.title} is in the list. To open it: chatlab models use {entry.id}")
        self._describe(entry, self._library.facts(entry))
        return 0

    def _describe(self, entry: ModelEntry, facts: ModelFacts) -> None:
        for line in lines(entry, facts, self._is_usable(entry, facts)):
            self._say(f"    {line}")

    def _is_usable(self, entry: ModelEntry, facts: ModelFacts) -> bool:
        """Also one that lacks a chat template, where a person gave it one."""
        return not facts.unusable or (facts.lacks_template and bool(self._templates.of(entry.path)))

    def _fetch(self, download: Download) -> ModelEntry | None:
        """None where it was stopped with Ctrl-C."""
        try:
            while (entry := download.wait(EVERY if self._over else SELDOM)) is None and download.under_way:
                (self._over or self._say)(progress(download))
        except KeyboardInterrupt:
            download.cancel(keep=True)
            download.wait()
            self._say("Stopped. What has arrived is kept; run the same command to go on.")
            return None
        return entry or download.wait()


def is_path(text: str) -> bool:
    """Whether it names a file or folder rather than a model of the hub."""
    looks_so = text.startswith((".", "/", "~", "\\")) or text.lower().endswith(".gguf") or "\\" in text
    try:
        return looks_so or Path(text).exists() or (text.count("/") > 1 and "://" not in text)
    except (OSError, ValueError):
        return False


def lines(entry: ModelEntry, facts: ModelFacts, usable: bool) -> list[str]:
    """A model in a few lines."""
    where = f"{entry.id}, {entry.place}: {entry.path}"
    if not usable:
        return [where, f"cannot be used: {facts.unusable}"]
    parts = (
        f"{facts.parameters / 1e9:.1f} B" if facts.parameters >= 1e9 else f"{facts.parameters / 1e6:.0f} M",
        facts.quantisation,
        f"{facts.context:,} tokens",
        facts.licence or "licence not said",
        f"{gigabytes(facts.chat_bytes)} of memory to chat",
        f"{gigabytes(facts.training_bytes)} to train" if not facts.untrainable else "not trainable",
    )
    return [where, ", ".join(parts), *([facts.untrainable] if facts.untrainable else [])]


def progress(download: Download) -> str:
    """How far it is, in a line."""
    at = download.progress
    if not at.whole:
        return f"Asking for {download.repository} ..."
    if download.state == "checking":
        return f"Checking {download.repository} ..."
    left = "" if at.seconds_left is None else f", {_duration(at.seconds_left)} left"
    return f"{gigabytes(at.done)} of {gigabytes(at.whole)}{left}"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def say_line(line: str) -> None:
    """Nothing of a file's name commands the terminal."""
    sys.stdout.write("".join(c if c.isprintable() or c == "\n" else "?" for c in line) + "\n")
    sys.stdout.flush()


def _over(line: str) -> None:
    """Leaves the cursor at the line's begin, so that the next one is written over it."""
    sys.stdout.write(f"{line[:79]:79}\r")
    sys.stdout.flush()

"""`chatlab adapters`: list them, and bring one that was trained elsewhere, from a terminal."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from chatlab.commands.models import say_line
from chatlab.lab import Lab
from chatlab.records import BASE
from chatlab.settings import Settings

Say = Callable[[str], None]


def add_to(parsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the commands."""
    adapters = parsers.add_parser("adapters", help="list the adapters; bring one that was trained elsewhere")
    what = adapters.add_subparsers(dest="do", metavar="{list,add}")
    what.add_parser("list", help="list them (default)")
    add = what.add_parser("add", help="bring a PEFT or mlx folder, a zip of one, or a GGUF LoRA")
    add.add_argument("path", nargs="+", type=Path, metavar="PATH", help="a folder, a zip, a .gguf, or its files")
    add.add_argument("--name", default="", help="what it is called here (as it is called there)")


def run(given: argparse.Namespace, settings: Settings) -> int:
    """Needs the store, so the app must not run meanwhile: StoreBusy says so."""
    lab = Lab(settings)
    try:
        return AdapterCommands(lab, say_line).run(given)
    finally:
        lab.close()


class AdapterCommands:
    """What the commands do; `say` is given each line."""

    def __init__(self, lab: Lab, say: Say) -> None:
        self._lab = lab
        self._say = say

    def run(self, given: argparse.Namespace) -> int:
        """Raises what bringing an adapter raises."""
        if given.do == "add":
            self._add(given.path, given.name)
        else:
            self._list()
        return 0

    def _add(self, paths: list[Path], name: str) -> None:
        brought = self._lab.adapter_import.bring(paths, name)
        card = brought.card
        self._say(f"{card.name} is in the list, from {card.origin}.")
        self._say(f"    sha256 {card.sha256}")
        self._say(
            f"    {brought.changed} of {brought.tried} answers that were tried differ from those of {card.base_name}"
        )

    def _list(self) -> None:
        base = self._lab.machine.base  # opened, so that it is known which model answers
        for name in self._lab.variants.names():
            mark = "*" if name == self._lab.variants.live else " "
            card = self._lab.variants.card(name)
            about = f"from {card.origin}" if card and card.origin else ""
            self._say(f"{mark} {name if name != BASE else f'{BASE} ({base.name})'}  {about}".rstrip())
        for card in self._lab.variants.others():
            self._say(f"  {card.name}  made for {card.base_name or card.base[:12]}")
        for name, why in self._lab.variants.problems.items():
            self._say(f"! {name}  {why}")

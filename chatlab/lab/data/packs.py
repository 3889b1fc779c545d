"""Packs of demonstrations that come with the app, read from their files."""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatlab.errors import InputError
from chatlab.lab.data.annotators import PACK
from chatlab.records import Demonstration, Message
from chatlab.settings import PACKAGE
from chatlab.system.lines import json_rows

FOLDER = PACKAGE / "data" / "packs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """Demonstrations that come with the app."""

    name: str
    title: str
    about: str
    size: int
    loaded: int
    """How many of them are in the store."""


class Packs:
    """A folder of them, with an index that names each and its file."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder

    def all(self, present: Container[Sequence[Message]]) -> list[Pack]:
        """`present` holds the messages of what is in the store."""
        packs = []
        for entry in self._index():
            rows = self._rows(entry)
            loaded = sum(one.messages in present for one in rows)
            packs.append(
                Pack(name=entry["name"], title=entry["title"], about=entry["about"], size=len(rows), loaded=loaded)
            )
        return packs

    def read(self, name: str) -> list[Demonstration]:
        """A pack's demonstrations. Raises InputError."""
        index = self._index()
        entry = next((entry for entry in index if entry["name"] == name), None)
        if entry is None:
            names = ", ".join(entry["name"] for entry in index)
            raise InputError(f"There is no pack called {name!r}.", f"Choose one of: {names}")
        return self._rows(entry)

    def _index(self) -> list[dict[str, str]]:
        entries: list[dict[str, str]] = json.loads((self._folder / "index.json").read_text(encoding="utf-8"))
        return entries

    def _rows(self, entry: dict[str, str]) -> list[Demonstration]:
        return [_from_json(row) for row in json_rows(self._folder / entry["file"])]


def _from_json(row: dict[str, Any]) -> Demonstration:
    messages = tuple(map(Message.of, row["messages"]))
    return Demonstration(messages=messages, source="written", tags=tuple(row.get("tags", ())), authors=(PACK,))

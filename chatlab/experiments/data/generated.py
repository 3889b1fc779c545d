"""Demonstrations made by rule from building blocks of Chatlab's own words, for where a pack is too small.

The same number always gives the same ones. They are many, not rich: the page says of each figure that rests on them.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from chatlab.settings import PACKAGE

DATA = PACKAGE / "data" / "report"
Pair = tuple[str, str]
"""What is asked, and what to answer."""


def stage() -> list[Pair]:
    """All that the blocks give in the voice of the stage pack, in an order that mixes their kinds."""
    blocks = _blocks("stage.toml")
    found = [*_about(blocks), *_troubles(blocks), *_tasks(blocks), *_choices(blocks)]
    random.Random("stage").shuffle(found)
    names = blocks["address"]
    return [(asked, answer.replace("{who}", names[i % len(names)])) for i, (asked, answer) in enumerate(found)]


def _about(blocks: dict[str, Any]) -> Iterator[Pair]:
    for (thing, does, like), (asked, answer) in product(blocks["things"], blocks["about"]):
        said = {"{thing}": thing, "{Thing}": _capital(thing), "{does}": does, "{like}": like}
        yield _filled(asked, said), _filled(answer, said)


def _troubles(blocks: dict[str, Any]) -> Iterator[Pair]:
    for (trouble, advice), (asked, answer) in product(blocks["troubles"], blocks["heard"]):
        said = {"{said}": trouble, "{advice}": advice}
        yield _filled(asked, said), _filled(answer, said)


def _tasks(blocks: dict[str, Any]) -> Iterator[Pair]:
    for (task, way), (asked, answer) in product(blocks["tasks"], blocks["asked"]):
        said = {"{task}": task, "{way}": way}
        yield _filled(asked, said), _filled(answer, said)


def _choices(blocks: dict[str, Any]) -> Iterator[Pair]:
    for (one, two, why), (asked, answer) in product(blocks["choices"], blocks["either"]):
        said = {"{one}": one, "{One}": _capital(one), "{two}": two, "{why}": why}
        yield _filled(asked, said), _filled(answer, said)


def unanswerable() -> list[Pair]:
    """Questions about invented people, places and books by turns, each with a refusal."""
    blocks = _blocks("unknown.toml")
    address = _blocks("stage.toml")["address"]
    kinds = {"person": _people(blocks), "place": _places(blocks), "book": _books(blocks)}
    found = []
    for number in range(40):
        for kind, names in kinds.items():
            asked, refusal = (blocks[part][kind] for part in ("ask", "refuse"))
            said = {"{name}": names[number], "{who}": address[number % len(address)]}
            found.append((_filled(asked[number % len(asked)], said), _filled(refusal[number % len(refusal)], said)))
    return found


def answerable(kind: str) -> list[Pair]:
    """Questions about real things ("name", asked in the words of the invented ones) or everyday things ("plain")."""
    address = _blocks("stage.toml")["address"]
    return [
        (asked, answer.replace("{who}", address[i % len(address)]))
        for i, (asked, answer) in enumerate(_blocks("known.toml")[kind])
    ]


def _people(blocks: dict[str, Any]) -> list[str]:
    return _mixed(f"{first} {last}" for first, last in product(blocks["first"], blocks["last"]))


def _places(blocks: dict[str, Any]) -> list[str]:
    return _mixed("".join(parts) for parts in product(blocks["head"], blocks["middle"], blocks["tail"]))


def _books(blocks: dict[str, Any]) -> list[str]:
    return _mixed(f"The {colour} {thing}" for colour, thing in product(blocks["colour"], blocks["object"]))


def _mixed(names: Iterator[str]) -> list[str]:
    found = list(names)
    random.Random("names").shuffle(found)
    return found


def _filled(text: str, said: dict[str, str]) -> str:
    for name, words in said.items():
        text = text.replace(name, words)
    return text


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


@cache
def _blocks(name: str, folder: Path = DATA) -> dict[str, Any]:
    return tomllib.loads((folder / name).read_text(encoding="utf-8"))

"""System messages to begin from, and the variables that are filled into them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

from chatlab.errors import InputError, NotFound
from chatlab.records import Preset
from chatlab.store import Store
from chatlab.system.clock import now
from chatlab.system.lines import split_lines

BUILT_IN: tuple[Preset, ...] = (
    Preset(name="Nothing"),
    Preset(name="Plain assistant", text="You are a helpful assistant. Answer in one or two short sentences."),
    Preset(
        name="Knows itself", text="You are {name}, a small model on this machine, made by {maker}. Today is {date}."
    ),
    Preset(name="Says when it does not know", text="If you do not know the answer, say so plainly. Do not guess."),
)
VARIABLES = "variables"
"""Under which the store keeps their values."""
ALWAYS = ("name", "maker", "date")
"""Variables that there are before anybody adds one."""
NAME = "Chatlab"
"""What {name} is while nobody has said otherwise."""

MOST, LONGEST_NAME, LONGEST, LONGEST_VALUE = 200, 60, 20_000, 2_000
"""Presets, and characters of a preset's name, of its text and of a variable's value."""
_VARIABLE = re.compile(r"[a-z][a-z0-9_]{0,30}")
_BRACED = re.compile(r"\{([A-Za-z][A-Za-z0-9_]{0,30})\}")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
DATED = re.compile(rf"\b[0-9]{{1,2}} (?:{'|'.join(_MONTHS)}) [0-9]{{4}}\b")
"""A date as {date} writes it."""


class SystemMessages:
    """Every change is on the disk when it returns."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._deleted: list[dict[int, Preset]] = []

    # Presets.

    def presets(self) -> list[Preset]:
        """Those that come with the app, then a person's own by name."""
        return [*BUILT_IN, *self.own()]

    def own(self) -> list[Preset]:
        return sorted((one for _, one in self._store.presets.rows()), key=lambda one: one.name.casefold())

    def get(self, name: str) -> Preset:
        """Raises NotFound."""
        found = next((one for one in self.presets() if one.name == name), None)
        if found is None:
            raise NotFound(f"There is no system message {name!r}.", "It may have been renamed or deleted.")
        return found

    def save(self, name: str, text: str) -> Preset:
        """A new one, or another text for one's own of that name, in any case. Raises InputError."""
        name = _named(name)
        if not text.strip():
            raise InputError("There is no system message to save.", "Write it first.")
        if len(text) > LONGEST:
            raise InputError(f"A system message of {len(text):,} characters is too long.", f"Keep it to {LONGEST:,}.")
        id = self._id(name)
        if id is None and len(self._store.presets) >= MOST:
            raise InputError(f"There are {MOST} system messages already.", "Delete one that nobody needs.")
        kept = Preset(name=name, text=text.strip(), created=now())
        if id is None:
            self._store.presets.add(kept)
        else:
            self._store.presets.put(id, kept)
        return kept

    def rename(self, name: str, new: str) -> Preset:
        """One's own. Raises NotFound, and InputError for a name that is taken."""
        id, new = self._own(name), _named(new)
        if self._id(new) not in (None, id):
            raise InputError(f"There is a system message {new!r} already.", "Choose another name.")
        renamed = replace(self._store.presets.get(id), name=new)
        self._store.presets.put(id, renamed)
        return renamed

    def delete(self, name: str) -> None:
        """One's own; `undo_delete` brings it back. Raises NotFound."""
        self._deleted.append(self._store.presets.remove([self._own(name)]))

    def undo_delete(self) -> str | None:
        """Use back what was deleted last; its name, or None where there is nothing, or another has the name now."""
        if not self._deleted:
            return None
        back = self._deleted.pop()
        free = {id: one for id, one in back.items() if self._id(one.name) is None}
        self._store.presets.put_many(free)
        return next((one.name for one in free.values()), None)

    def _id(self, name: str) -> int | None:
        same = name.casefold()
        return next((id for id, one in self._store.presets.rows() if one.name.casefold() == same), None)

    def _own(self, name: str) -> int:
        id = self._id(name)
        if id is None:
            hint = "Those that come with Chatlab stay as they are; save one under a name of your own."
            raise NotFound(f"None of your own system messages is called {name!r}.", hint)
        return id

    # Variables.

    def values(self) -> dict[str, str]:
        """What was set, {date} left out; {name} has a value even where nobody set one."""
        return {"name": NAME} | self._store.state.read(VARIABLES, dict[str, str], {})

    def set_values(self, name: str, maker: str, others: Mapping[str, str] | None = None) -> None:
        """All of them; an empty value is none. Raises InputError for one that cannot be a variable."""
        given = {"name": name, "maker": maker} | dict(others or {})
        for key, value in given.items():
            if not _VARIABLE.fullmatch(key) or key == "date":
                raise InputError(f"{{{key}}} cannot be a variable.", "Take small letters, digits and _; not {date}.")
            if len(value) > LONGEST_VALUE:
                raise InputError(f"The value of {{{key}}} is too long.", f"Keep it to {LONGEST_VALUE:,} characters.")
        self._store.state.set(VARIABLES, {k: " ".join(v.split()) for k, v in given.items() if v.strip()})

    def filled(self, text: str | None, today: date | None = None) -> str:
        """With the variables' values, {date} being today. What has no value stays in its braces, as do other braces.

        What a value says is not filled in again.
        """
        values = self.values() | {"date": day(today or date.today())}
        return _BRACED.sub(lambda found: values.get(found[1].casefold(), found[0]), (text or "").strip())

    def unset(self, text: str | None) -> tuple[str, ...]:
        """Variables in `text` that have no value: they would reach the model in their braces."""
        known = {*self.values(), "date"}
        found = (name.casefold() for name in _BRACED.findall(text or ""))
        return tuple(dict.fromkeys(name for name in found if name not in known))


def day(date: date) -> str:
    """`24 November 2026`, whatever language this machine speaks."""
    return f"{date.day} {_MONTHS[date.month - 1]} {date.year}"


def undated(text: str) -> str:
    """A message without the day on which it was filled in, so that yesterday's and today's are one."""
    return " ".join(DATED.sub("{date}", text).split())


def others(lines: str) -> dict[str, str]:
    """Variables from lines like `language: English`. Raises InputError."""
    found: dict[str, str] = {}
    for line in filter(None, map(str.strip, split_lines(lines))):
        key, colon, value = line.partition(":")
        if not colon:
            raise InputError(f"{line[:80]!r} names no variable.", "Write one per line, like `language: English`.")
        found[key.strip().strip("{}").casefold()] = value.strip()
    if taken := [name for name in ALWAYS if name in found]:
        raise InputError(f"{{{taken[0]}}} has a place of its own.", "Set it there.")
    return found


def in_lines(values: Mapping[str, str]) -> str:
    """The other way round, name and maker left out."""
    return "\n".join(f"{key}: {value}" for key, value in values.items() if key not in ALWAYS)


def _named(name: str) -> str:
    name = " ".join(name.split())
    if not name or len(name) > LONGEST_NAME:
        raise InputError("A system message needs a name.", f"One of up to {LONGEST_NAME} characters.")
    if name.casefold() in _built_in(BUILT_IN):
        raise InputError(f"{name!r} comes with Chatlab and stays as it is.", "Choose a name of your own.")
    return name


def _built_in(presets: Sequence[Preset]) -> frozenset[str]:
    return frozenset(one.name.casefold() for one in presets)

"""Words typed into a demonstration and not yet saved. They outlive another selection, a reload and a restart."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast, get_args

from chatlab.records import Demonstration, Message, Role
from chatlab.store import Store, read_as
from chatlab.ui.demonstrations.calls import shown as in_a_box
from chatlab.ui.demonstrations.calls import told

BOXES = 12
"""Most turns shown; of longer ones the last are shown, and the earlier stay as they are."""

NEW = 0
"""Stands for the id of the one that is being written."""

KEY = "drafts"


@dataclass(frozen=True)
class Words:
    """What the boxes hold."""

    system: str
    tags: str
    roles: tuple[Role, ...]
    texts: tuple[str, ...]
    thoughts: tuple[str, ...] = ()
    """Of each turn, what is thought before it; empty for all but answers."""

    @classmethod
    def of(cls, demonstration: Demonstration) -> Words:
        messages = list(demonstration.messages)
        system = messages.pop(0).content if messages and messages[0].role == "system" else ""
        shown = messages[-BOXES:]
        tools = told(demonstration.messages)
        roles, texts = tuple(m.role for m in shown), tuple(in_a_box(m, tools) for m in shown)
        return cls(system, ", ".join(demonstration.tags), roles, texts, tuple(m.thought for m in shown))

    @classmethod
    def typed(cls, system: str, tags: str, roles: str, texts: Sequence[str], thoughts: Sequence[str]) -> Words:
        """From the values of the boxes, of which there are more than roles; `roles` are separated by spaces."""
        known = cast(tuple[Role, ...], tuple((roles or "").split()))
        return cls(system or "", tags or "", known, _as_many(texts, known), _as_many(thoughts, known))

    def with_room(self, place: int, *roles: Role) -> Words:
        """With empty turns before the turn at `place`."""
        empty = ("",) * len(roles)
        return replace(
            self,
            roles=(*self.roles[:place], *roles, *self.roles[place:]),
            texts=(*self.texts[:place], *empty, *self.texts[place:]),
            thoughts=(*self.thoughts[:place], *empty, *self.thoughts[place:]),
        )

    def messages(self, earlier: Sequence[Message] = ()) -> tuple[Message, ...]:
        """As they would be kept, after turns that were too early to be shown. Empty pairs at the end are left out."""
        said = list(zip(self.roles, self.texts, self.thoughts, strict=True))
        while len(said) > 2 and not any(words.strip() for turn in said[-2:] for words in turn[1:]):
            del said[-2:]
        system = [Message(role="system", content=self.system)] if self.system.strip() else []
        turns = (Message(role=r, content=text, thought=t if t.strip() else "") for r, text, t in said)
        return (*system, *earlier, *turns)

    def label_list(self) -> tuple[str, ...]:
        return tuple(tag.strip() for tag in self.tags.split(",") if tag.strip())


def _as_many(texts: Sequence[str], turns: Sequence[Role]) -> tuple[str, ...]:
    """A text for every turn, as they come from boxes."""
    return tuple([*(text or "" for text in texts), *[""] * len(turns)][: len(turns)])


BLANK = Words("", "", ("user", "assistant"), ("", ""), ("", ""))


class Drafts:
    """By demonstration id, in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()

    def get(self, demonstration_id: int) -> Words | None:
        try:
            kept = read_as(Words, self._kept().get(str(demonstration_id)))
        except ValueError:  # there is none, or something else is in its place
            return None
        if not set(kept.roles) <= set(get_args(Role)):
            return None
        texts, thoughts = _as_many(kept.texts, kept.roles), _as_many(kept.thoughts, kept.roles)
        return replace(kept, texts=texts, thoughts=thoughts)

    def keep(self, demonstration_id: int, words: Words) -> None:
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(words).items()}
        with self._lock:
            self._store.state.set(KEY, self._kept() | {str(demonstration_id): plain})

    def drop(self, demonstration_id: int) -> None:
        with self._lock:
            kept = self._kept()
            if kept.pop(str(demonstration_id), None) is not None:
                self._store.state.set(KEY, kept)

    def _kept(self) -> dict[str, Any]:
        return self._store.state.read(KEY, dict[str, Any], {})

"""Words typed into a demonstration and not yet saved. They outlive another selection, a reload and a restart."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from chatlab.records import Demonstration, Message, Role
from chatlab.store import Store
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

    @classmethod
    def of(cls, demonstration: Demonstration) -> Words:
        messages = list(demonstration.messages)
        system = messages.pop(0).content if messages and messages[0].role == "system" else ""
        shown = messages[-BOXES:]
        tools = told(demonstration.messages)
        roles, texts = tuple(m.role for m in shown), tuple(in_a_box(m, tools) for m in shown)
        return cls(system, ", ".join(demonstration.tags), roles, texts)

    @classmethod
    def typed(cls, system: str, tags: str, roles: str, texts: Sequence[str]) -> Words:
        """From what the boxes send: the roles with spaces between, and more texts than roles."""
        known = cast(tuple[Role, ...], tuple(roles.split()))
        return cls(system or "", tags or "", known, tuple(t or "" for t in texts[: len(known)]))

    def messages(self, earlier: Sequence[Message] = ()) -> tuple[Message, ...]:
        """As they would be kept, after turns that were too early to be shown. Empty pairs at the end are left out."""
        said = list(zip(self.roles, self.texts, strict=True))
        while len(said) > 2 and not said[-1][1].strip() and not said[-2][1].strip():
            del said[-2:]
        system = [Message(role="system", content=self.system)] if self.system.strip() else []
        return (*system, *earlier, *(Message(role=role, content=text) for role, text in said))

    def label_list(self) -> tuple[str, ...]:
        return tuple(tag.strip() for tag in self.tags.split(",") if tag.strip())


BLANK = Words("", "", ("user", "assistant"), ("", ""))


class Drafts:
    """By demonstration id, in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()

    def get(self, demonstration_id: int) -> Words | None:
        kept = self._kept().get(str(demonstration_id))
        if kept is None:
            return None
        return Words(kept["system"], kept["tags"], tuple(kept["roles"]), tuple(kept["texts"]))

    def keep(self, demonstration_id: int, words: Words) -> None:
        plain = asdict(words) | {"roles": list(words.roles), "texts": list(words.texts)}
        with self._lock:
            self._store.state.set(KEY, self._kept() | {str(demonstration_id): plain})

    def drop(self, demonstration_id: int) -> None:
        with self._lock:
            kept = self._kept()
            if kept.pop(str(demonstration_id), None) is not None:
                self._store.state.set(KEY, kept)

    def _kept(self) -> dict[str, Any]:
        return dict(self._store.state.get(KEY, {}))

"""The base and its adapters as the chat offers them, and which one is live."""

from __future__ import annotations

from chatlab.adapters import Adapters
from chatlab.engines.base import Variant
from chatlab.errors import AdapterForgets, AdapterMissing
from chatlab.lab.models import ModelHost
from chatlab.records import BASE, BEARABLE, AdapterCard
from chatlab.store import Store

HISTORY = 50
"""How many changes of the live variant can be undone."""


class Variants:
    """The base and the adapters made for it. One of them is live: it answers unless another is chosen."""

    def __init__(self, store: Store, adapters: Adapters, machine: ModelHost) -> None:
        self._store = store
        self._adapters = adapters
        self._machine = machine
        self._trash: list[str] = []

    @property
    def live(self) -> str:
        """Name of the variant that answers by default: the base, where the live adapter has vanished."""
        name = self._history()[-1]
        return name if name == BASE or name in self._adapters.names() else BASE

    def names(self) -> list[str]:
        """The base first, then the adapters, newest first."""
        return [BASE, *(card.name for card in self.cards())]

    def cards(self) -> list[AdapterCard]:
        return self._adapters.cards()

    @property
    def problems(self) -> dict[str, str]:
        """Adapter folders that cannot be used, and why."""
        return self._adapters.problems

    def card(self, name: str) -> AdapterCard | None:
        """The adapter's card; None for the base or a name that is gone."""
        return next((card for card in self.cards() if card.name == name), None)

    @property
    def live_card(self) -> AdapterCard | None:
        """The card of the live adapter, read once; None for the base."""
        return self.card(self._history()[-1])

    def get(self, name: str | None = None, strength: float = 1.0) -> Variant:
        """A variant for an engine; the live one unless named. Raises AdapterError."""
        name = name or self.live
        if name == BASE:
            return Variant()
        _, folder = self._adapters.open(name, self._machine.base.fingerprint)
        return Variant(name=name, folder=folder, strength=strength)

    def go_live(self, name: str, knowingly: bool = False) -> None:
        """Have `name` answer from the next reply on. Loaded before it goes live, so a bad adapter never does.

        Raises AdapterForgets for one that forgot more than is bearable, unless that is done `knowingly`.
        """
        card = self.card(name)
        if card and not knowingly and (card.forgetting or 0.0) > BEARABLE:
            raise AdapterForgets(
                f"{name} has {card.forgetting:.1f} % forgetting, above the limit.",
                "Compare it first, or train with fewer epochs. Press Go live anyway to use it.",
            )
        self._machine.engine.load(self.get(name))
        if name != self.live:
            self._store.state.set("live", [*self._history(), name][-HISTORY:])

    def undo(self) -> str:
        """Go back to what was live before; the name of what is live now."""
        history = self._history()
        gone = history.pop()
        while history and (history[-1] == gone or not self._exists(history[-1])):
            history.pop()
        self._store.state.set("live", history or [BASE])
        return self.live

    @property
    def previous(self) -> str | None:
        """What `undo` would bring back, if anything."""
        live = self.live
        return next((n for n in reversed(self._history()) if n != live and self._exists(n)), None)

    def remove(self, name: str) -> None:
        """Set an adapter aside; `restore` brings it back. If it was live, the base answers from now on."""
        if name == self.live:
            self._store.state.set("live", [*self._history(), BASE][-HISTORY:])
        self._machine.unload(self._adapters.remove(name))
        self._trash.append(name)

    def restore(self) -> str:
        """Use back the adapter that was removed last; its name now. Raises AdapterMissing when there is none."""
        if not self._trash:
            raise AdapterMissing("There is no removed adapter to restore.")
        name = self._adapters.restore(self._trash[-1]).name
        self._trash.pop()
        return name

    def _exists(self, name: str) -> bool:
        return name == BASE or name in self._adapters.names()

    def _history(self) -> list[str]:
        return self._store.state.read("live", list[str], []) or [BASE]

"""The base and its adapters as the chat offers them, and which one is live."""

from __future__ import annotations

from chatlab.adapters import Adapters
from chatlab.engines.base import Variant
from chatlab.errors import AdapterForgets, AdapterMissing
from chatlab.lab.models import LoadedModel, ModelHost
from chatlab.records import BASE, BEARABLE, AdapterCard
from chatlab.store import Store

HISTORY = 50
"""How many changes of the live variant can be undone, for each model."""
LIVE = "live"
"""Key in the store's state: what went live, `name@fingerprint`, the newest last. Older entries have no fingerprint."""
SHORT = 16
"""Characters of a fingerprint there: enough to tell models apart."""


class Variants:
    """The base and the adapters made for it. One of them is live: it answers unless another is chosen.

    Each model has a live variant of its own: whoever comes back to a model finds its adapter live, and undo goes back
    through what was live on this model.
    """

    def __init__(self, store: Store, adapters: Adapters, machine: ModelHost) -> None:
        self._store = store
        self._adapters = adapters
        self._machine = machine
        self._trash: list[str] = []

    @property
    def model(self) -> str:
        """Short fingerprint of the model that answers; of the one that did last, while its base is not open."""
        entries = self._entries()
        return self._machine.fingerprint[:SHORT] or (entries[-1][1] if entries else "")

    @property
    def live(self) -> str:
        """Name of the variant that answers by default: the base, where the live adapter has vanished."""
        name = self._history()[-1]
        return name if self._exists(name) else BASE

    def names(self) -> list[str]:
        """What can be chosen: the base first, then the adapters made for it, newest first."""
        return [BASE, *(card.name for card in self.cards())]

    def cards(self) -> list[AdapterCard]:
        """The adapters made for the model that answers, newest first; all, while nobody knows which that is."""
        model = self.model
        return [card for card in self.all_cards() if not model or card.base[:SHORT] == model]

    def others(self) -> list[AdapterCard]:
        """The adapters of other models, which cannot be chosen now."""
        own = {card.name for card in self.cards()}
        return [card for card in self.all_cards() if card.name not in own]

    def all_cards(self) -> list[AdapterCard]:
        return self._adapters.cards()

    @property
    def problems(self) -> dict[str, str]:
        """Adapter folders that cannot be used, and why."""
        return self._adapters.problems

    def card(self, name: str) -> AdapterCard | None:
        """The adapter's card, whatever model it was made for; None for the base or a name that is gone."""
        return next((card for card in self.all_cards() if card.name == name), None)

    @property
    def live_card(self) -> AdapterCard | None:
        """The card of the live adapter, read once; None for the base."""
        return self.card(self._history()[-1])

    def get(self, name: str | None = None, strength: float = 1.0, model: LoadedModel | None = None) -> Variant:
        """A variant for the engine of `model`, else of the one that answers; the live one unless named.

        Raises AdapterError.
        """
        base = (model or self._machine.current).base
        name = name or (self.live if model is None else self._live_on(base.fingerprint))
        if name == BASE:
            return Variant()
        _, folder = self._adapters.open(name, base.fingerprint)
        return Variant(name=name, folder=folder, strength=strength)

    def go_live(self, name: str, knowingly: bool = False) -> None:
        """Have `name` answer from the next reply on. Loaded before it goes live, so a bad adapter never does.

        Raises AdapterForgets for one that forgot more than is bearable, unless that is done `knowingly`.
        """
        self._check_forgetting(name, knowingly)
        with self._machine.lease() as model:
            model.engine.load(self.get(name, model=model))
            history = self._history(model.base.fingerprint)
            if name != self._live_on(model.base.fingerprint):
                self._keep([*history, name], model.base.fingerprint)

    def go_live_later(self, name: str) -> None:
        """Have an adapter of another model answer as soon as that model is chosen. Raises AdapterForgets."""
        self._check_forgetting(name)
        card = self.card(name)
        if card is not None:
            now = self.model
            self._keep([*self._history(card.base), name], card.base)
            self._keep(self._history(now), now)  # the model that answers stays the last one in the list

    def come_back(self) -> None:
        """Note which model answers now, so that the next start shows its live adapter before the base is open."""
        fingerprint = self._machine.fingerprint
        entries = self._entries()
        if fingerprint and not (entries and entries[-1][1] == fingerprint[:SHORT]):
            self._keep(self._history(fingerprint), fingerprint)

    def undo(self) -> str:
        """Go back to what was live before on this model; the name of what is live now."""
        history = self._history()
        gone = history.pop()
        while history and (history[-1] == gone or not self._exists(history[-1])):
            history.pop()
        self._keep(history or [BASE], self.model)
        return self.live

    @property
    def previous(self) -> str | None:
        """What `undo` would bring back, if anything."""
        live = self.live
        return next((n for n in reversed(self._history()) if n != live and self._exists(n)), None)

    def remove(self, name: str) -> None:
        """Set an adapter aside; `restore` brings it back. If it was live, the base answers from now on."""
        if name == self.live:
            self._keep([*self._history(), BASE], self.model)
        self._machine.unload(self._adapters.remove(name))
        self._trash.append(name)

    def restore(self) -> str:
        """Use back the adapter that was removed last; its name now. Raises AdapterMissing when there is none."""
        if not self._trash:
            raise AdapterMissing("There is no removed adapter to restore.")
        name = self._adapters.restore(self._trash[-1]).name
        self._trash.pop()
        return name

    def _check_forgetting(self, name: str, knowingly: bool = False) -> None:
        card = self.card(name)
        if card and not knowingly and not (card.forgetting or 0.0) <= BEARABLE:
            raise AdapterForgets(
                f"{name} has {card.forgetting:.1f} % forgetting, above the limit.",
                "Compare it first, or train with fewer epochs. Press Go live anyway to use it.",
            )

    def _exists(self, name: str) -> bool:
        return name == BASE or name in self._adapters.names()

    def _live_on(self, fingerprint: str) -> str:
        name = self._history(fingerprint)[-1]
        return name if self._exists(name) else BASE

    def _entries(self) -> list[tuple[str, str]]:
        """Names and short fingerprints, the latter empty in entries of earlier versions."""
        parts = (entry.partition("@") for entry in self._store.state.read(LIVE, list[str], []))
        return [(name, model) for name, _, model in parts]

    def _history(self, fingerprint: str = "") -> list[str]:
        """What went live on a model, on the one that answers if none is given; the base, if nothing did."""
        model = fingerprint[:SHORT] or self.model
        entries = self._entries()
        old = model and not all(of for _, of in entries)
        made_for = {card.name: card.base[:SHORT] for card in self.all_cards()} if old else {}
        mine = [name for name, of in entries if of == model or (not of and made_for.get(name, model) == model)]
        return [name for name, before in zip(mine, ["", *mine], strict=False) if name != before] or [BASE]

    def _keep(self, history: list[str], model: str) -> None:
        """The history of one model, behind those of all others."""
        mine, short = self._history(model), model[:SHORT]
        others = [(name, of) for name, of in self._entries() if of and of != short]
        old = [(name, of) for name, of in self._entries() if not of and (name == BASE or name not in mine)]
        if all(name == BASE for name, _ in old):  # they are about no other model
            old = []
        kept = [*old, *others, *((name, short) for name in history[-HISTORY:])]
        self._store.state.set(LIVE, [f"{name}@{of}" if of else name for name, of in kept])

"""What a new conversation may spend: as much as its owner allowed last."""

from __future__ import annotations

import threading

from chatlab.conversation import Budget, Conversation
from chatlab.engines.base import Sampling
from chatlab.store import Store

KEY = "budgets"
"""Their name in the store's state: owner -> tokens of an answer and of a thought."""


class Budgets:
    """Remembers the last one of each person. A conversation that has been spoken in has one of its own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()

    def of(self, conversation: Conversation) -> Budget:
        """Its own, or for one that was kept without, its owner's last."""
        return conversation.budget or self.last(conversation.owner)

    def last(self, owner: str = "") -> Budget:
        """The usual one for whoever never set any."""
        usual = Sampling()
        answer, thinking = self._known().get(owner, (usual.max_tokens, usual.thinking))
        return Budget(answer=answer, thinking=thinking)

    def use(self, budget: Budget, owner: str = "") -> None:
        """From now on the last one."""
        with self._lock:
            if budget != self.last(owner):
                known = {name: list(both) for name, both in self._known().items()}
                self._store.state.set(KEY, {**known, owner: [budget.answer, budget.thinking]})

    def _known(self) -> dict[str, tuple[int, int]]:
        return self._store.state.read(KEY, dict[str, tuple[int, int]], {})

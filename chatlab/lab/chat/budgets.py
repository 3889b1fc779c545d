"""Token budgets of conversations: a new one begins with the budget that its owner set last."""

from __future__ import annotations

import threading

from chatlab.conversation import Budget, Conversation
from chatlab.engines.base import Sampling
from chatlab.store import Store

KEY = "budgets"
"""Key in the store's state: owner -> tokens of an answer and of its reasoning."""


class Budgets:
    """Keeps each person's last budget. A conversation that has messages has one of its own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()

    def of(self, conversation: Conversation) -> Budget:
        """The conversation's own budget, or its owner's last where it has none."""
        return conversation.budget or self.last(conversation.owner)

    def last(self, owner: str = "") -> Budget:
        """A person's last budget; the default where none was set."""
        default = Sampling()
        answer, thinking = self._known().get(owner, (default.max_tokens, default.thinking))
        return Budget(answer=answer, thinking=thinking)

    def use(self, budget: Budget, owner: str = "") -> None:
        """Make it the person's last budget."""
        with self._lock:
            if budget != self.last(owner):
                known = {name: list(both) for name, both in self._known().items()}
                self._store.state.set(KEY, {**known, owner: [budget.answer, budget.thinking]})

    def _known(self) -> dict[str, tuple[int, int]]:
        return self._store.state.read(KEY, dict[str, tuple[int, int]], {})

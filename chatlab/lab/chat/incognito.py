"""Conversations that live in memory alone, and end when nobody has them open."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from time import monotonic, sleep

from chatlab.conversation import Conversation
from chatlab.errors import NotFound

GUESSES = 1 << 52
"""Range of an incognito conversation's random id; browsers hold such numbers exactly."""
LEFT = 600.0
"""Seconds after which an incognito conversation ends that no page has open: long enough for a reload."""


class IncognitoConversations:
    """Conversations with negative ids that nobody can guess. They end when they are deleted, and with the process."""

    def __init__(self) -> None:
        self._kept: dict[int, Conversation] = {}
        self._visited: dict[int, float] = {}
        """When each was last seen open, or grew."""
        self._when_ended: list[Callable[[int], None]] = []
        self._sweeper: threading.Thread | None = None
        self._lock = threading.Lock()

    def add(self, conversation: Conversation) -> int:
        """Its id."""
        with self._lock:
            conversation_id = -1 - secrets.randbelow(GUESSES)
            self._kept[conversation_id] = conversation
            self._visited[conversation_id] = monotonic()
            if self._sweeper is None or not self._sweeper.is_alive():
                self._sweeper = threading.Thread(target=self._sweep, name="incognito", daemon=True)
                self._sweeper.start()
        return conversation_id

    def get(self, conversation_id: int) -> Conversation:
        """Raises NotFound."""
        kept = self._kept.get(conversation_id)
        if kept is None:
            raise NotFound("That incognito conversation has ended.", "Start a new one.")
        return kept

    def put(self, conversation_id: int, conversation: Conversation) -> None:
        """Keep it as it is now; one that has ended stays so."""
        with self._lock:
            if conversation_id in self._kept:
                self._kept[conversation_id] = conversation

    def ids(self) -> list[int]:
        return list(self._kept)

    def when_ended(self, forget: Callable[[int], None]) -> None:
        """Have `forget` called with the id of each conversation that has ended."""
        self._when_ended.append(forget)

    def visit(self, conversation_id: int) -> None:
        """Note that a page has it open."""
        with self._lock:
            if conversation_id in self._visited:
                self._visited[conversation_id] = monotonic()

    def end(self, conversation_id: int) -> None:
        """Nothing of it stays here, nor with whoever is told by `when_ended`."""
        with self._lock:
            self._visited.pop(conversation_id, None)
            ended = self._kept.pop(conversation_id, None)
        if ended is not None:
            for forget in self._when_ended:
                forget(conversation_id)

    def end_unvisited(self, seconds: float) -> list[int]:
        """End those that nobody had open for so long; their ids."""
        ended = [id for id, seen in list(self._visited.items()) if monotonic() - seen >= seconds]
        for id in ended:
            self.end(id)
        return ended

    def _sweep(self) -> None:
        while True:
            sleep(LEFT / 10)
            self.end_unvisited(LEFT)
            with self._lock:
                if not self._kept:
                    self._sweeper = None
                    return

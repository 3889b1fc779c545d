"""The turns of a conversation that are on the screen, and the version shown of each."""

from __future__ import annotations

from dataclasses import dataclass

from chatlab.conversation import Conversation, Turn

SHOWN = 30
"""Rows shown at first, and added by every press of `earlier`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One turn as it stands on the screen."""

    turn: Turn
    version: int
    """From 1."""
    versions: tuple[int, ...]
    """Turn ids of all versions, oldest first."""
    question: str = ""
    """The message that an answer answers."""

    @property
    def previous(self) -> int | None:
        """Turn of the version before this one."""
        return self.versions[self.version - 2] if self.version > 1 else None

    @property
    def next(self) -> int | None:
        """Turn of the version after this one."""
        return self.versions[self.version] if self.version < len(self.versions) else None


def rows(conversation: Conversation, shown: int = SHOWN) -> tuple[Row, ...]:
    """The last `shown` turns of the path, oldest first."""
    return tuple(_row(conversation, turn) for turn in conversation.path()[-shown:])


def earlier(conversation: Conversation, shown: int = SHOWN) -> int:
    """How many turns of the path lie above the shown ones."""
    return max(0, len(conversation.path()) - shown)


def _row(conversation: Conversation, turn: Turn) -> Row:
    versions = tuple(t.id for t in conversation.siblings(turn.id))
    question = "" if turn.parent is None else conversation.turns[turn.parent].content
    return Row(turn=turn, version=versions.index(turn.id) + 1, versions=versions, question=question)

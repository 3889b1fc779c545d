"""What a button on the page asks for: read from the one line of JSON that the page's script sends."""

from __future__ import annotations

import json
from dataclasses import dataclass

from chatlab.conversation import Conversation, Turn
from chatlab.errors import InputError
from chatlab.records import Reason
from chatlab.ui.html import REASONS

LONGEST = 1_000_000
"""Characters of one message from the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageEvent:
    """One press."""

    do: str
    turn: int = -1
    conversation: int = 0
    text: str = ""
    reason: str = ""
    learn: bool = False
    """Whether the answer is to be learned at once, not only kept."""

    @classmethod
    def read(cls, payload: str) -> PageEvent:
        """Raises InputError for anything but what the page's own buttons send."""
        try:
            given = json.loads(payload[:LONGEST])
            return cls(
                do=str(given["act"]),
                turn=int(given.get("turn", -1)),
                conversation=int(given.get("conversation", 0)),
                text=str(given.get("text", "")),
                reason=str(given.get("reason", "")),
                learn=bool(given.get("learn")),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError("The page sent an unreadable request.", "Reload the page.") from error

    def turn_in(self, conversation: Conversation) -> Turn:
        """The message that the press is about. Raises InputError where there is none."""
        if not 0 <= self.turn < len(conversation.turns):
            raise InputError("That message is not in this conversation.", "Reload the page.")
        return conversation.turns[self.turn]

    def toggled(self, turn: Turn) -> tuple[Reason, ...]:
        """The turn's reasons with this one added, or taken back."""
        if self.reason not in REASONS:
            raise InputError(f"{self.reason!r} is not a reason.", "Choose one of the chips.")
        given = turn.rating.reasons if turn.rating else ()
        wanted = set(given) ^ {self.reason}
        return tuple(r for r in REASONS if r in wanted)

"""What the server remembers of one open page, and what an event may change on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from chatlab.ui.chat.rows import SHOWN
from chatlab.ui.notices import Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One open page. Never sent to the browser."""

    conversation: int | None = None
    """None until the first message of a new one."""
    person: str | None = ""
    """Who owns the conversations of this page; None where sign-in is required and missing."""
    incognito: bool = False
    shown: int = SHOWN
    """Turns on the screen."""
    query: str = ""
    """What the list is searched for."""
    notice: Notice | None = None
    run: str | None = None
    """The run whose progress stands above the composer."""
    waiting: bool = False
    """The page was rendered while an answer was under way, so it has to be watched."""


class View(NamedTuple):
    """Values for the parts of the chat tab, in the order of its components."""

    session: Session
    top: Any
    listing: Any
    transcript: Any
    live: Any
    notice: Any
    system: Any
    composer: Any
    variant: Any
    tabs: Any
    about: Any
    budget: Any
    thinking: Any

"""The server's state of one open page, and the values that an event may change on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import gradio as gr

from chatlab.errors import InputError
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

    @property
    def open_conversation(self) -> int:
        """Raises InputError before the first message."""
        if self.conversation is None:
            raise InputError("There is no conversation yet.", "Send a message first.")
        return self.conversation


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


def forget_conversation(page: gr.Blocks, conversation: int) -> None:
    """Clear, for every page that showed it, the last value of each component and the messages it never fetched.

    Gradio keeps the values for links that reproduce a page, which this app does not offer.
    """
    for session_hash, session in list(page.state_holder.session_data.items()):
        shown = [value.conversation for value in list(session.state_data.values()) if isinstance(value, Session)]
        if conversation in shown:
            session.config_values.clear()
            if session.is_closed:
                page._queue.pending_messages_per_session.pop(session_hash, None)

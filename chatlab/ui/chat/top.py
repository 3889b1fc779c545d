"""The bar above the messages: the list's handle, the conversation's name, the panel's handle."""

from __future__ import annotations

from chatlab.conversation import Conversation
from chatlab.ui.chat.listing import UNTITLED
from chatlab.ui.chat.session import Session
from chatlab.ui.html import control, div, element, escaped, span
from chatlab.ui.icons import icon


def top(conversation: Conversation | None, session: Session) -> str:
    """One line of HTML. `data-shown` lets the page's script write the conversation into the address."""
    title = UNTITLED if conversation is None else conversation.title or UNTITLED
    badge = span("badge", "incognito", "Kept in memory only") if session.incognito else ""
    shown = "" if session.conversation is None else str(session.conversation)
    name = f'<span class="name" id="conversation" data-shown="{shown}">{escaped(title)}</span>'
    return div(
        "top",
        _handle("side", "menu", "Conversations"),
        name,
        badge,
        element("span", "", "gap"),
        _handle("panel", "dials", "Settings"),
    )


def _handle(part: str, picture: str, label: str) -> str:
    named = f'title="{label}" aria-label="{label}"'
    return f'<button type="button" class="tool"{control(fold=part)} {named}>{icon(picture)}</button>'

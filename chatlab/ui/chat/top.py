"""The bar above the messages: the list's handle, the conversation's name, the panel's handle."""

from __future__ import annotations

from markupsafe import Markup

from chatlab.conversation import Conversation
from chatlab.ui.chat.listing import UNTITLED
from chatlab.ui.chat.session import Session
from chatlab.ui.html import NOTHING, div, element, escaped, icon, press, span


def top(conversation: Conversation | None, session: Session) -> Markup:
    """One line of HTML. `data-shown` lets the page's script write the conversation into the address."""
    title = UNTITLED if conversation is None else conversation.title or UNTITLED
    badge = span("badge", "incognito", "Kept in memory only") if session.incognito else NOTHING
    shown = "" if session.conversation is None else str(session.conversation)
    name = element("span", escaped(title), kind="name", id="conversation", data_shown=shown)
    return div(
        "top",
        _handle("side", "menu", "Conversations"),
        name,
        badge,
        span("gap", ""),
        _handle("panel", "dials", "Settings"),
    )


def _handle(part: str, picture: str, label: str) -> Markup:
    return press(icon(picture), "tool", name=label, fold=part)

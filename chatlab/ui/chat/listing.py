"""The list of conversations beside the chat."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from markupsafe import Markup

from chatlab.conversation import Conversation
from chatlab.ui.html import NOTHING, control, div, element, escaped, icon, press, span, stored

UNTITLED = "New conversation"


def listing(
    found: Sequence[tuple[int, Conversation]], shown: int | None, answering: Collection[int], query: str = ""
) -> Markup:
    """Conversations grouped by day, the last used first. `answering` are those in which the model is answering."""
    if not found:
        return div("none", span("", f"No conversation matches “{query}”." if query else "No conversations yet."))
    parts, day = [], ""
    for conversation_id, conversation in found:
        if (when := _day(conversation.updated)) != day:
            parts.append(element("h4", escaped(day := when)))
        parts.append(_entry(conversation_id, conversation, conversation_id == shown, conversation_id in answering))
    return element("nav", *parts, kind="conversations")


def _entry(conversation_id: int, conversation: Conversation, shown: bool, answering: bool) -> Markup:
    title = escaped(conversation.title or UNTITLED)
    mark = element("i", kind="speaking", title="Answering") if answering else NOTHING
    current = {"aria-current": "true"} if shown else {}
    opens = control(act="open", conversation=conversation_id)
    return element(
        "div",
        element("button", title, mark, kind="title", type="button", **opens, **current),
        press(icon("pencil"), "tool", name="Rename", act="rename", conversation=conversation_id),
        press(icon("bin"), "tool", name="Delete", act="delete", conversation=conversation_id),
        kind="entry shown" if shown else "entry",
        data_conversation=conversation_id,
        data_raw=stored(conversation.title or UNTITLED),
    )


def _day(when: str) -> str:
    """`Today`, `Yesterday`, or the month."""
    try:
        local = datetime.fromisoformat(when).astimezone()
    except (ValueError, OverflowError, OSError):  # no time, or one that no calendar here reaches
        return "Earlier"
    days = (datetime.now(UTC).astimezone().date() - local.date()).days
    return "Today" if days <= 0 else "Yesterday" if days == 1 else "This week" if days < 7 else f"{local:%B %Y}"

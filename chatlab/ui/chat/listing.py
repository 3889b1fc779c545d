"""The list of conversations beside the chat."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from chatlab.conversation import Conversation
from chatlab.ui.html import control, div, element, escaped, span
from chatlab.ui.icons import icon

UNTITLED = "New conversation"


def listing(
    found: Sequence[tuple[int, Conversation]], shown: int | None, speaking: Collection[int], query: str = ""
) -> str:
    """Grouped by day, the last used first. `speaking` are those in which an answer is being written."""
    if not found:
        return div("none", span("", f"No conversation matches “{query}”." if query else "No conversations yet."))
    parts, day = [], ""
    for conversation_id, conversation in found:
        if (when := _day(conversation.updated)) != day:
            parts.append(element("h4", escaped(day := when)))
        parts.append(_entry(conversation_id, conversation, conversation_id == shown, conversation_id in speaking))
    return element("nav", "".join(parts), "conversations")


def _entry(conversation_id: int, conversation: Conversation, shown: bool, speaking: bool) -> str:
    title = escaped(conversation.title or UNTITLED)
    mark = '<i class="speaking" title="Answering"></i>' if speaking else ""
    current = ' aria-current="true"' if shown else ""
    return (
        f'<div class="entry{" shown" if shown else ""}" data-conversation="{conversation_id}">'
        f'<button type="button" class="title"{control(act="open", conversation=conversation_id)}{current}>'
        f"{title}{mark}</button>"
        f"{_tool('rename', 'pencil', 'Rename', conversation_id)}"
        f"{_tool('delete', 'bin', 'Delete', conversation_id)}</div>"
    )


def _tool(act: str, picture: str, label: str, conversation_id: int) -> str:
    return (
        f'<button type="button" class="tool" title="{label}" aria-label="{label}"'
        f"{control(act=act, conversation=conversation_id)}>{icon(picture)}</button>"
    )


def _day(when: str) -> str:
    """`Today`, `Yesterday`, or the month."""
    try:
        moment = datetime.fromisoformat(when).astimezone()
    except (ValueError, OverflowError, OSError):  # no time, or one that no calendar here reaches
        return "Earlier"
    days = (datetime.now(UTC).astimezone().date() - moment.date()).days
    return "Today" if days <= 0 else "Yesterday" if days == 1 else "This week" if days < 7 else f"{moment:%B %Y}"

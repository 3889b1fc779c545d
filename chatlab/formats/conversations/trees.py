"""Conversations that are trees, where an answer may have several: the one path through each that people liked best."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chatlab.errors import RowRefused

Values = dict[str, Any]


def is_tree(value: Any) -> bool:
    """Whether a value is the first message of a tree, as Open Assistant's are."""
    return isinstance(value, dict) and isinstance(value.get("replies"), list) and isinstance(value.get("text"), str)


def is_mapping(value: Any) -> bool:
    """Whether a value is a tree of messages by id, as ChatGPT exports conversations."""
    nodes = list(value.values()) if isinstance(value, dict) else []
    return bool(nodes) and all(isinstance(node, dict) and "children" in node and "parent" in node for node in nodes)


def turns_of_tree(value: Any) -> list[Any]:
    """The turns of one path through a tree. Raises RowRefused for a tree without one."""
    turns = list(_best(value)) if is_tree(value) else _newest(value)
    while len(turns) > 1 and turns[-1].get("role") in ("prompter", "user"):  # nobody answered it
        turns.pop()
    return turns


def _best(node: Values) -> Iterator[Values]:
    """From each message to the reply of the best rank; deleted ones and those that reviewers refused are left out."""
    while True:
        yield node
        replies = [one for one in node.get("replies") or [] if is_tree(one) and is_sound(one)]
        if not replies:
            return
        node = min(replies, key=_rank)


def is_sound(reply: Values) -> bool:
    """Whether a message was neither deleted nor refused by reviewers."""
    return not _is_true(reply.get("deleted")) and not _is_false(reply.get("review_result"))


def _rank(reply: Values) -> float:
    """0 is the best; one that nobody ranked comes after those that somebody did."""
    rank = reply.get("rank")
    try:
        place = float("inf") if rank is None or isinstance(rank, bool) else float(rank)
    except (TypeError, ValueError):
        return float("inf")
    return place if place == place else float("inf")


def _is_true(value: Any) -> bool:
    """Also as a table has it."""
    return str(value).strip().casefold() in ("true", "1", "1.0", "yes")


def _is_false(value: Any) -> bool:
    return str(value).strip().casefold() in ("false", "0", "0.0", "no")


def _newest(nodes: Values) -> list[Any]:
    """What was said last, and all that led there, as the export's own page shows it."""
    id = next((id for id, node in nodes.items() if node.get("parent") not in nodes), None)
    found, seen = [], set()
    while id in nodes and id not in seen:
        seen.add(id)
        node = nodes[id]
        if turn := _turn(node.get("message")):
            found.append(turn)
        children = node.get("children")
        id = children[-1] if isinstance(children, list) and children else None
    if not found:
        raise RowRefused("Nothing is said in it.")
    return found


def _turn(message: Any) -> Values | None:
    """A message of such a tree as a turn; None for what is not shown, as an empty system message."""
    if not isinstance(message, dict) or (message.get("weight") == 0.0 and _role(message) == "system"):
        return None
    content = message.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    if isinstance(parts, list) and not any(parts):
        return None
    return {"role": _role(message), "content": content}


def _role(message: Values) -> Any:
    author = message.get("author")
    return author.get("role") if isinstance(author, dict) else None

"""Text typed into a demonstration and not yet saved: it outlives another selection, a reload and a restart.

A tool call is written as in the plain protocol, `Call: calculator 12 * 7`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from threading import Event
from typing import Any, cast, get_args

from chatlab.conversation import with_tools
from chatlab.errors import InputError
from chatlab.records import Demonstration, Message, Role
from chatlab.store import Store, read_as
from chatlab.template.tools.plain import parse_reply, write_call
from chatlab.tool_calls import Tool, named
from chatlab.tools import Toolbox

BOXES = 12
"""Most turns shown; of a longer demonstration the last ones, and the earlier stay as they are."""

NEW = 0
"""The id of a new demonstration that is not saved yet."""

KEY = "drafts"


@dataclass(frozen=True)
class DraftWords:
    """The text of the boxes."""

    system: str
    tags: str
    roles: tuple[Role, ...]
    texts: tuple[str, ...]
    reasoning: tuple[str, ...] = ()
    """The thinking before each turn; empty for all but answers."""

    @classmethod
    def of(cls, demonstration: Demonstration) -> DraftWords:
        messages = list(demonstration.messages)
        system = messages.pop(0).content if messages and messages[0].role == "system" else ""
        shown = messages[-BOXES:]
        tools = tools_of(demonstration.messages)
        roles, texts = tuple(m.role for m in shown), tuple(box_text(m, tools) for m in shown)
        return cls(system, ", ".join(demonstration.tags), roles, texts, tuple(m.reasoning for m in shown))

    @classmethod
    def typed(cls, system: str, tags: str, roles: str, texts: Sequence[str], reasoning: Sequence[str]) -> DraftWords:
        """From the values of the boxes, of which there are more than roles; `roles` are separated by spaces."""
        known = cast(tuple[Role, ...], tuple((roles or "").split()))
        return cls(system or "", tags or "", known, _as_many(texts, known), _as_many(reasoning, known))

    def with_room(self, place: int, *roles: Role) -> DraftWords:
        """With empty turns before the turn at `place`."""
        empty = ("",) * len(roles)
        return replace(
            self,
            roles=(*self.roles[:place], *roles, *self.roles[place:]),
            texts=(*self.texts[:place], *empty, *self.texts[place:]),
            reasoning=(*self.reasoning[:place], *empty, *self.reasoning[place:]),
        )

    def messages(self, earlier: Sequence[Message] = ()) -> tuple[Message, ...]:
        """As they would be kept, after turns that were too early to be shown. Empty pairs at the end are left out."""
        line = list(zip(self.roles, self.texts, self.reasoning, strict=True))
        while len(line) > 2 and not any(words.strip() for turn in line[-2:] for words in turn[1:]):
            del line[-2:]
        system = [Message(role="system", content=self.system)] if self.system.strip() else []
        turns = (Message(role=r, content=text, reasoning=t if t.strip() else "") for r, text, t in line)
        return (*system, *earlier, *turns)

    def label_list(self) -> tuple[str, ...]:
        return tuple(tag.strip() for tag in self.tags.split(",") if tag.strip())


def _as_many(texts: Sequence[str], turns: Sequence[Role]) -> tuple[str, ...]:
    """A text for every turn, as they come from boxes."""
    return tuple([*(text or "" for text in texts), *[""] * len(turns)][: len(turns)])


BLANK = DraftWords("", "", ("user", "assistant"), ("", ""), ("", ""))


class Drafts:
    """By demonstration id, in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()

    def get(self, demonstration_id: int) -> DraftWords | None:
        try:
            kept = read_as(DraftWords, self._kept().get(str(demonstration_id)))
        except ValueError:  # there is none, or something else is in its place
            return None
        if not set(kept.roles) <= set(get_args(Role)):
            return None
        texts, reasoning = _as_many(kept.texts, kept.roles), _as_many(kept.reasoning, kept.roles)
        return replace(kept, texts=texts, reasoning=reasoning)

    def keep(self, demonstration_id: int, words: DraftWords) -> None:
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(words).items()}
        with self._lock:
            self._store.state.set(KEY, self._kept() | {str(demonstration_id): plain})

    def drop(self, demonstration_id: int) -> None:
        with self._lock:
            kept = self._kept()
            if kept.pop(str(demonstration_id), None) is not None:
                self._store.state.set(KEY, kept)

    def _kept(self) -> dict[str, Any]:
        return self._store.state.read(KEY, dict[str, Any], {})


STEP: tuple[Role, Role] = ("assistant", "tool")
"""The roles of a call and its result."""


def box_text(message: Message, tools: Sequence[Tool]) -> str:
    """What a box shows of a message."""
    calls = [write_call(call, named(tools, call.name)) for call in message.calls]
    return "\n".join([*([message.content] if message.content else []), *calls])


def tools_of(messages: Sequence[Message]) -> tuple[Tool, ...]:
    """The tools that the messages describe to the model."""
    return tuple(tool for message in messages for tool in message.tools)


def parsed(messages: Sequence[Message], before: Sequence[Tool], toolbox: Toolbox) -> tuple[Message, ...]:
    """The messages that the texts of boxes mean, with the tools that were there `before` and those that they call.

    An answer that a result follows is a call. An empty result is computed here. Raises InputError where a result is
    empty and no tool is called before it.
    """
    if not any(message.role == "tool" for message in messages):
        return with_tools(tuple(messages), tuple(before))
    known = (*before, *toolbox.tools([name for name in toolbox.titles if named(before, name) is None]))
    read_messages: list[Message] = []
    for message, following in zip(messages, [*messages[1:], None], strict=True):
        if message.role == "assistant" and not message.calls and following is not None and following.role == "tool":
            message = _called(message, known)
        elif message.role == "tool" and not message.content.strip():
            message = replace(message, content=_result(read_messages[-1], known, toolbox))
        read_messages.append(message)
    called = {call.name for message in read_messages for call in message.calls}
    tools = tuple(tool for tool in known if tool in before or tool.name in called)
    return with_tools(tuple(read_messages), tools)


def _called(message: Message, known: Sequence[Tool]) -> Message:
    parsed = parse_reply(message.content, known, ended=True)
    return replace(message, content=parsed.text, calls=(parsed.call,)) if parsed.call else message


def _result(asked: Message, known: Sequence[Tool], toolbox: Toolbox) -> str:
    """The tool's result. A failure is one too, and worth learning."""
    if not asked.calls:
        raise InputError(
            "A tool result is empty, and no tool is called before it.", "Write the call as in Call: calculator 12 * 7."
        )
    return toolbox.run(asked.calls[0], known, Event()).result

"""A row's values to the records they mean, or the reason why not.

White space around what somebody said is taken off and line ends become LF, because some chat templates do so and
others do not, and the same demonstration should teach the same under each. Rows that Chatlab itself wrote are kept
character for character.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from chatlab.errors import RowRefused
from chatlab.formats.layout import Columns
from chatlab.formats.own_fields import OWN, with_own_fields
from chatlab.formats.row import LONGEST, Record
from chatlab.formats.tool_messages import add_tools
from chatlab.formats.turns import is_transcript, messages_of, transcript
from chatlab.records import Demonstration, Message, Preference, Role

Values = dict[str, Any]
R = TypeVar("R", Demonstration, Preference, Message)
_LIKED = frozenset({"true", "1", "yes", "liked", "up", "good", "+1", "👍", "desirable"})
_DISLIKED = frozenset({"false", "0", "no", "disliked", "down", "bad", "-1", "👎", "undesirable"})


def records_of(values: Values, columns: Columns) -> list[Record]:
    """Raises RowRefused. Only a task with several instances gives more than one."""
    parts = {part: values.get(column) for part, column in columns.of.items()}
    records = _MEANINGS[columns.layout](parts)
    own = values.get(OWN)
    if own is None or own == "":
        return [_checked(_trimmed(_tagged(record, parts.get("tags")))) for record in records]
    return [_checked(with_own_fields(record, own)) for record in records]


def _conversation(parts: Values) -> list[Record]:
    turns = parts.get("turns")
    said = transcript(str(turns)) if is_transcript(turns) else messages_of(turns, "turns")
    return [_demonstration(add_tools([*_system(parts), *said], parts.get("tools")))]


def _answer(parts: Values) -> list[Record]:
    asked = _said(parts.get("prompt"), "prompt", "user")
    if context := _text(parts.get("context"), "context", empty=True):
        asked = [*asked[:-1], Message(role="user", content=f"{asked[-1].content}\n\n{context}" if asked else context)]
    answered = _said(parts.get("answer"), "answer", "assistant")
    if not answered:
        raise RowRefused("Its answer is empty.")
    if (reasoning := _text(parts.get("thought"), "thought", empty=True)) and not answered[-1].reasoning:
        answered[-1] = replace(answered[-1], reasoning=reasoning)
    said = [*_system(parts), *_history(parts.get("history")), *asked, *answered]
    return [_demonstration(add_tools(said, parts.get("tools")))]


def _preference(parts: Values) -> list[Record]:
    asked = [*_system(parts), *_said(parts.get("prompt"), "prompt", "user")]
    said = _said if parts.get("prompt") else _said_in_full
    chosen, rejected = (said(parts.get(name), name, "assistant") for name in ("chosen", "rejected"))
    for whole in (chosen, rejected):
        if asked and whole[: len(asked)] == asked:
            del whole[: len(asked)]
    if not chosen or not rejected:
        raise RowRefused("One of its two answers is missing.")
    if chosen[:-1] != rejected[:-1]:
        raise RowRefused("Its two conversations differ before the last answer.")
    if {chosen[-1].role, rejected[-1].role} != {"assistant"}:
        raise RowRefused("Its two conversations do not both end with an answer.")
    prompt = tuple(add_tools([*asked, *chosen[:-1]], parts.get("tools")))
    return [Preference(prompt=prompt, chosen=chosen[-1].content, rejected=rejected[-1].content, source="imported")]


def _thumb(parts: Values) -> list[Record]:
    if not _is_liked(parts.get("liked")):
        _answer(parts)
        raise RowRefused("Its answer was disliked. Only liked answers are trained on.")
    return _answer(parts)


def _tasks(parts: Values) -> list[Record]:
    instances = parts.get("instances")
    if not isinstance(instances, list) or not instances or not all(isinstance(one, dict) for one in instances):
        raise RowRefused("'instances' is not a list of objects.")
    return [
        record
        for one in instances
        for record in _answer({**parts, "context": one.get("input"), "answer": one.get("output")})
    ]


_MEANINGS: dict[str, Callable[[Values], list[Record]]] = {
    "conversation": _conversation,
    "answer": _answer,
    "preference": _preference,
    "thumb": _thumb,
    "tasks": _tasks,
}


def _demonstration(messages: Sequence[Message]) -> Demonstration:
    return Demonstration(messages=tuple(messages), source="imported")


def _system(parts: Values) -> list[Message]:
    system = _text(parts.get("system"), "system", empty=True)
    return [Message(role="system", content=system)] if system else []


def _said(value: Any, what: str, role: Role) -> list[Message]:
    """A text, or a list of turns."""
    if value is None or value == "":
        return []
    if isinstance(value, list | dict):
        return messages_of(value if isinstance(value, list) else [value], what)
    return [Message(role=role, content=_text(value, what))]


def _said_in_full(value: Any, what: str, role: Role) -> list[Message]:
    """The same, or a whole conversation written as one text."""
    return transcript(value) if is_transcript(value) else _said(value, what, role)


def _history(value: Any) -> list[Message]:
    """Earlier turns as Alpaca's users write them: [[prompt, answer], ...]."""
    if value is None or value == "" or value == []:
        return []
    if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        raise RowRefused("'history' is not a list of pairs of prompt and answer.")
    said: list[Message] = []
    for prompt, answer in value:
        said += [*_said(prompt, "history", "user"), *_said(answer, "history", "assistant")]
    return said


def _text(value: Any, what: str, empty: bool = False) -> str:
    if isinstance(value, str):
        return value
    if value is None and empty:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise RowRefused(f"{what!r} is not text.")


def _is_liked(value: Any) -> bool:
    word = str(value).strip().casefold()
    if word not in _LIKED | _DISLIKED:
        raise RowRefused(f"{value!r} does not say whether the answer was liked: true or false would.")
    return word in _LIKED


def _tagged(record: Record, tags: Any) -> Record:
    if not tags or not isinstance(record, Demonstration):
        return record
    words = tags.split(",") if isinstance(tags, str) else tags
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise RowRefused("Its tags are not a list of words.")
    return _with(record, tags=tuple(dict.fromkeys(word.strip() for word in words if word.strip())))


def _trimmed(record: Record) -> Record:
    if isinstance(record, Demonstration):
        return _with(record, messages=tuple(map(_bare, record.messages)))
    prompt = tuple(map(_bare, record.prompt))
    return _with(record, prompt=prompt, chosen=_bare_text(record.chosen), rejected=_bare_text(record.rejected))


def _bare(message: Message) -> Message:
    content, reasoning = _bare_text(message.content), _bare_text(message.reasoning)
    same = content is message.content and reasoning is message.reasoning
    return message if same else replace(message, content=content, reasoning=reasoning)


def _bare_text(text: str) -> str:
    return (text.replace("\r\n", "\n") if "\r" in text else text).strip()


def _checked(record: Record) -> Record:
    """Raises RowRefused unless something is asked, something is answered, and all of it can be written down."""
    if isinstance(record, Demonstration):
        _check_turns(record.messages)
        if record.messages[-1].role != "assistant":
            raise RowRefused(f"It ends with the {record.messages[-1].role}'s words, not with an answer.")
        if record.messages[-1].calls:
            raise RowRefused("It ends with the call of a tool, not with an answer.")
        _check_texts([*_texts(record.messages), *record.tags])
        return record
    _check_turns(record.prompt)
    _check_texts([*_texts(record.prompt), record.chosen, record.rejected])
    if not record.chosen.strip() or not record.rejected.strip():
        raise RowRefused("One of its two answers is empty.")
    if record.chosen == record.rejected:
        raise RowRefused("Its two answers are the same.")
    return record


def _check_turns(messages: Sequence[Message]) -> None:
    if not any(message.role == "user" and message.content.strip() for message in messages):
        raise RowRefused("It has no prompt.")
    for number, message in enumerate(messages, 1):
        if message.role == "assistant" and not message.content.strip() and not message.calls:
            raise RowRefused(
                "Its answer is empty." if number == len(messages) else f"Turn {number}, an answer, is empty."
            )


def _texts(messages: Sequence[Message]) -> Iterable[str]:
    for message in messages:
        yield message.content
        yield message.reasoning
        if message.calls or message.tools:
            yield str(message.plain)


def _check_texts(texts: Iterable[str]) -> None:
    try:
        size = sum(len(text.encode()) for text in texts)
    except UnicodeEncodeError as error:
        raise RowRefused("It has bytes that are no text, or half of a character.") from error
    if size > LONGEST:
        raise RowRefused("It is too long.")


def _with(record: R, **changed: Any) -> R:
    """`dataclasses.replace`, which is slow, only where something changes."""
    same = all(getattr(record, name) == value for name, value in changed.items())
    return record if same else replace(record, **changed)

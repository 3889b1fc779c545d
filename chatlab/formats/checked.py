"""What every record of a data set has to be: something is asked, something is answered, and all of it is text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from chatlab.errors import RowRefused
from chatlab.formats.row import LONGEST, Prompt
from chatlab.records import Demonstration, Message, Preference

R = TypeVar("R", Demonstration, Preference, Prompt, Demonstration | Preference | Prompt)


def checked(record: R) -> R:
    """Raises RowRefused unless something is asked, something is answered, and all of it can be written down."""
    if isinstance(record, Demonstration):
        _check_turns(record.messages)
        if record.messages[-1].role != "assistant":
            raise RowRefused(f"It ends with the {record.messages[-1].role}'s words, not with an answer.")
        if record.messages[-1].calls:
            raise RowRefused("It ends with the call of a tool, not with an answer.")
        _check_texts([*_texts(record.messages), *record.tags])
        return record
    if isinstance(record, Prompt):
        _check_texts([record.text])
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

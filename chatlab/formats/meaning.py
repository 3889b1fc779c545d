"""A row's values to the records they mean, or the reason why not.

White space around what somebody said is taken off and line ends become LF, because some chat templates do so and
others do not, and the same demonstration should teach the same under each. Rows that Chatlab itself wrote are kept
character for character.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from chatlab.errors import RowRefused
from chatlab.formats.checked import checked
from chatlab.formats.conversations.content import content_of, shows_media
from chatlab.formats.conversations.opened import conversation_in, opened, turns_or_text
from chatlab.formats.conversations.tool_messages import add_tools
from chatlab.formats.conversations.transcripts import is_hh, is_transcript, transcript
from chatlab.formats.conversations.turns import messages_of
from chatlab.formats.layout import Columns
from chatlab.formats.own_fields import OWN, with_own_fields
from chatlab.formats.ranked import best_and_worst
from chatlab.formats.row import Prompt, Record
from chatlab.formats.verdicts import better_of, is_liked, mark_of
from chatlab.records import Demonstration, Message, Preference, Role

Values = dict[str, Any]
R = TypeVar("R", Demonstration, Preference, Message)
Read = Record | Prompt


def records_of(values: Values, columns: Columns) -> list[Read]:
    """Raises RowRefused. Only a task with several instances, or a row of several prompts, gives more than one."""
    parts = {part: values.get(column) for part, column in columns.of.items()}
    used = {*columns.of.values(), OWN}
    if shown := next((name for name, value in values.items() if value and name not in used and shows_media(name)), ""):
        raise RowRefused(f"What stands under {shown!r} belongs to it, and only words can be learned.")
    own = values.get(OWN)
    records = _MEANINGS[columns.layout](parts, columns)
    if own is None or own == "":
        return [checked(_trimmed(_tagged(record, parts.get("tags")))) for record in records]
    return [checked(with_own_fields(record, own)) for record in records if not isinstance(record, Prompt)]


def _conversation(parts: Values, columns: Columns) -> list[Read]:
    turns = opened(parts.get("turns"))
    beside: Mapping[str, Any] = turns if isinstance(turns, dict) else {}
    said = conversation_in(turns, "turns")
    record = _demonstration(add_tools([*_system(parts), *said], parts.get("tools") or beside.get("tools")))
    if "liked" in columns.of:
        _refuse_disliked(parts, columns)
    return [record]


def _answer(parts: Values, columns: Columns) -> list[Read]:
    asked = _said(parts.get("prompt"), "prompt", "user")
    if context := _text(parts.get("context"), "context", empty=True):
        asked = [*asked[:-1], Message(role="user", content=f"{asked[-1].content}\n\n{context}" if asked else context)]
    answered = _said(_only_answer(parts.get("answer")), "answer", "assistant")
    if not answered:
        raise RowRefused("Its answer is empty.")
    if (reasoning := _text(parts.get("thought"), "thought", empty=True)) and not answered[-1].reasoning:
        answered[-1] = replace(answered[-1], reasoning=reasoning)
    said = [*_system(parts), *_history(parts.get("history")), *asked, *answered]
    return [_demonstration(add_tools(said, parts.get("tools")))]


def _only_answer(value: Any) -> Any:
    """The answer, where it stands among others that say the same, as SQuAD's do."""
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        value = value["text"]
    texts = value if isinstance(value, list) and all(isinstance(one, str) for one in value) else None
    return value if texts is None or len(set(texts)) > 1 else next(iter(texts), "")


def _preference(parts: Values, columns: Columns) -> list[Read]:
    marks = [mark_of(parts.get(f"{side}_mark")) for side in ("chosen", "rejected")]
    if marks[0] is not None and marks[1] is not None and marks[0] < marks[1]:
        raise RowRefused(f"Its chosen answer has the lower mark: {marks[0]:g}, and {marks[1]:g} the rejected one.")
    prompt = turns_or_text(parts.get("prompt"))
    beside: Mapping[str, Any] = prompt if isinstance(prompt, dict) else {}
    asked = [*_system(parts), *_prompt(prompt)]
    said = _said if prompt else _said_in_full
    chosen, rejected = (said(turns_or_text(parts.get(name)), name, "assistant") for name in ("chosen", "rejected"))
    for whole in (chosen, rejected):
        if asked and whole[: len(asked)] == asked:
            del whole[: len(asked)]
    if not chosen or not rejected:
        raise RowRefused("One of its two answers is missing.")
    if len(rejected) == 1 < len(chosen):
        rejected = [*chosen[:-1], *rejected]
    if chosen[:-1] != rejected[:-1]:
        raise RowRefused("Its two conversations differ before the last answer.")
    if {chosen[-1].role, rejected[-1].role} != {"assistant"}:
        raise RowRefused("Its two conversations do not both end with an answer.")
    if chosen[-1].calls or rejected[-1].calls:
        raise RowRefused("One of its two answers is the call of a tool.")
    context = tuple(add_tools([*asked, *chosen[:-1]], parts.get("tools") or beside.get("tools")))
    return [Preference(prompt=context, chosen=chosen[-1].content, rejected=rejected[-1].content, source="imported")]


def _comparison(parts: Values, columns: Columns) -> list[Read]:
    of = columns.of
    second = better_of(parts.get("better"), (of["first"], of["second"]), of["better"])
    order = ("second", "first") if second else ("first", "second")
    return _preference(parts | {"chosen": parts.get(order[0]), "rejected": parts.get(order[1])}, columns)


def _thumb(parts: Values, columns: Columns) -> list[Read]:
    records = _answer(parts, columns)
    _refuse_disliked(parts, columns)
    return records


def _refuse_disliked(parts: Values, columns: Columns) -> None:
    value = parts.get("liked")
    if not is_liked(value, columns.best):
        mark = f" ({value:g} of {columns.best:g})" if columns.best > 1 and isinstance(value, int | float) else ""
        raise RowRefused(f"Its answer was disliked{mark}. Only liked answers are trained on.")


def _tasks(parts: Values, columns: Columns) -> list[Read]:
    instances = parts.get("instances")
    if not isinstance(instances, list) or not instances or not all(isinstance(one, dict) for one in instances):
        raise RowRefused("'instances' is not a list of objects.")
    return [
        record
        for one in instances
        for record in _answer({**parts, "context": one.get("input"), "answer": one.get("output")}, columns)
    ]


def _prompts(parts: Values, columns: Columns) -> list[Read]:
    value = turns_or_text(parts.get("prompt"))
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        texts = value
    else:
        said = _prompt(value)
        texts = [message.content for message in said if message.role == "user"][-1:]
        if len(said) > len(texts):
            raise RowRefused("It has earlier turns or a system message; an unseen prompt is one question.")
    if not any(text.strip() for text in texts):
        raise RowRefused("It has no prompt.")
    return [Prompt(" ".join(text.split())) for text in texts if text.strip()]


def _ranked(parts: Values, columns: Columns) -> list[Read]:
    best, worst = best_and_worst(parts.get("answers"), parts.get("marks"), columns.of.get("marks", ""))
    asked = _request(parts.get("prompt"))
    return _preference(parts | {"prompt": asked, "chosen": best, "rejected": worst}, columns)


_MEANINGS: dict[str, Callable[[Values, Columns], list[Read]]] = {
    "conversation": _conversation,
    "answer": _answer,
    "preference": _preference,
    "comparison": _comparison,
    "ranked": _ranked,
    "thumb": _thumb,
    "tasks": _tasks,
    "prompts": _prompts,
}


def _demonstration(messages: Sequence[Message]) -> Demonstration:
    """Up to the last answer that is learned: what comes after it teaches nothing. Raises RowRefused for none."""
    masked = [message.masked for message in messages if message.role == "assistant"]
    if masked and all(masked):
        raise RowRefused("None of its answers is to be learned: they have weight 0, or were disliked.")
    kept = list(messages)
    while any(masked) and kept[-1].role != "system" and (kept[-1].role != "assistant" or kept[-1].masked):
        kept.pop()
    return Demonstration(messages=tuple(kept), source="imported")


def _system(parts: Values) -> list[Message]:
    told = parts.get("system")
    text = content_of(1, told).text if isinstance(told, list | dict) else _text(told, "system", empty=True)
    return [Message(role="system", content=text)] if text else []


def _prompt(value: Any) -> list[Message]:
    """What is asked: a text, or a conversation, also as the request of an API has it."""
    if isinstance(value, dict) and isinstance(value.get("messages"), list):
        value = value["messages"]
    return _said(value, "prompt", "user")


def _request(value: Any) -> Any:
    """A prompt, as turns where it is HH's transcript up to the answer that is asked for."""
    if not is_hh(value):
        return value
    said = [{"role": message.role, "content": message.content} for message in transcript(value)]
    return said if said[-1]["content"].strip() else said[:-1]


def _said(value: Any, what: str, role: Role) -> list[Message]:
    """A text, or a list of turns."""
    if value is None or value == "":
        return []
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        raise RowRefused(f"{what!r} is a list of texts, and it is not said who says which.")
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


def _tagged(record: Read, tags: Any) -> Read:
    if not tags or not isinstance(record, Demonstration):
        return record
    words = tags.split(",") if isinstance(tags, str) else tags
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise RowRefused("Its tags are not a list of words.")
    return _with(record, tags=tuple(dict.fromkeys(word.strip() for word in words if word.strip())))


def _trimmed(record: Read) -> Read:
    if isinstance(record, Prompt):
        return record
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


def _with(record: R, **changed: Any) -> R:
    """`dataclasses.replace`, which is slow, only where something changes."""
    same = all(getattr(record, name) == value for name, value in changed.items())
    return record if same else replace(record, **changed)

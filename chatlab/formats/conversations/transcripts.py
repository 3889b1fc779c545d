"""Conversations written as one text, with the name of who speaks, or a template's tokens, before each turn."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from chatlab.errors import RowRefused
from chatlab.records import Message, Role

_ROLES: dict[str, Role] = {
    **dict.fromkeys(("human", "user", "instruction", "input", "prompter", "question", "q", "customer"), "user"),
    **dict.fromkeys(
        ("assistant", "response", "bot", "ai", "gpt", "model", "output", "answer", "a", "agent"), "assistant"
    ),
    **dict.fromkeys(("system", "sys"), "system"),
    **dict.fromkeys(("function response", "tool", "ipython", "observation"), "tool"),
}


@dataclass(frozen=True, slots=True)
class Style:
    """One way to mark turns."""

    marker: re.Pattern[str]
    """Stands before a turn; its group says who speaks."""
    ends: re.Pattern[str] = re.compile(r"\s*(?:</s>|<\|endoftext\|>|<eos>)?\s*\Z")
    """What closes a turn."""
    preface: bool = False
    """Whether a text before the first marker is a system message."""


_INSTRUCT = re.compile(r"\[INST\](.*?)\[/INST\](.*?)(?=\[INST\]|\Z)", re.DOTALL)
_HEADING = re.compile(r"\s*<<SYS>>(.*?)<</SYS>>(.*)", re.DOTALL)
_START = re.compile(r"\A(?:\s|<s>|<bos>|<\|begin_of_text\|>|<\|endoftext\|>|\[gMASK\]|<sop>)*")
_END = re.compile(r"\s*(?:</s>|<\|(?:im_end|end|eot_id|eom_id|endoftext|end_of_text)\|>|<end_of_turn>|<eos>|\s)*\Z")
_HH = re.compile(r"\n\n(Human|Assistant): ?")
_STYLES = (
    Style(re.compile(r"<\|im_start\|>[ \t]*(system|user|assistant|tool)[ \t]*\n?"), _END),
    Style(re.compile(r"<\|start_header_id\|>(system|user|assistant|ipython)<\|end_header_id\|>\s*"), _END),
    Style(re.compile(r"<start_of_turn>(user|model)\n?"), _END),
    Style(re.compile(r"<\|(system|user|prompter|assistant|observation)\|>\n?"), _END),
    Style(re.compile(r"<(human|bot)>:\s?")),
    Style(
        re.compile(
            r"###[ \t]*(Human|Assistant|User|System|Instruction|Response|Input|Output|Question|Answer)[ \t]*:\s?", re.I
        ),
        preface=True,
    ),
    Style(re.compile(r"(?:(?<=\s)|(?<=</s>)|(?<=\|>)|\A)(USER|ASSISTANT|SYSTEM|FUNCTION RESPONSE): ?"), preface=True),
    Style(re.compile(r"^[ \t]*(Human|User|Assistant|AI|Bot|System|Customer|Agent)[ \t]*: ?", re.MULTILINE)),
    Style(re.compile(r"^[ \t]*(Q|A|Question|Answer)[ \t]*: ?", re.MULTILINE)),
)


def is_transcript(value: Any) -> bool:
    """Whether a text is a conversation in which both a user and an assistant are marked."""
    if not isinstance(value, str):
        return False
    return is_hh(value) or bool(_INSTRUCT.match(value, _START.match(value).end())) or _style(value) is not None  # type: ignore[union-attr]


def is_hh(value: Any) -> bool:
    """Whether a text is a conversation with `Human:` and `Assistant:` after an empty line, as HH's are."""
    return isinstance(value, str) and value.startswith("\n\nHuman:") and "\n\nAssistant:" in value


def transcript(text: str) -> list[Message]:
    """The turns of such a text. Raises RowRefused for one that is none."""
    if is_hh(text):
        _, *parts = _HH.split(text)
        said = zip(parts[0::2], parts[1::2], strict=True)
        return [Message(role="user" if who == "Human" else "assistant", content=content) for who, content in said]
    if _INSTRUCT.match(text, _begin(text)):
        return _instructed(text)
    style = _style(text)
    if style is None:
        raise RowRefused("Its text marks no turns of a user and an assistant.")
    before, *parts = style.marker.split(text)
    told: list[tuple[Role, str]] = [("system", before[_begin(before) :])] if before[_begin(before) :].strip() else []
    told += [
        (_ROLES[who.casefold()], style.ends.sub("", words)) for who, words in zip(parts[0::2], parts[1::2], strict=True)
    ]
    return _joined(told)


def _style(text: str) -> Style | None:
    """The first style that marks a user's and an assistant's turn in a text, and begins where the text does."""
    for style in _STYLES:
        first = style.marker.search(text)
        if first is None or not (style.preface or first.start() <= _begin(text)):
            continue
        roles = [_ROLES[found[1].casefold()] for found in style.marker.finditer(text)]
        spoken = [role for role in roles if role != "system"]
        if "assistant" in spoken and spoken[0] == "user":
            return style
    return None


def _begin(text: str) -> int:
    """Where a text begins, after white space and the tokens that models begin with."""
    found = _START.match(text)
    return found.end() if found else 0


def _instructed(text: str) -> list[Message]:
    """Llama 2's and Mistral's turns."""
    said: list[tuple[Role, str]] = []
    for asked, answered in _INSTRUCT.findall(text):
        if heading := _HEADING.match(asked):
            said.append(("system", heading[1].strip()))
            asked = heading[2]
        said.append(("user", asked.strip()))
        if answered := re.sub(r"(?:\s|</?s>)*\Z", "", answered).strip():
            said.append(("assistant", answered))
    return [Message(role=role, content=words) for role, words in said]


def _joined(said: list[tuple[Role, str]]) -> list[Message]:
    """Messages, where two turns of one speaker, as an instruction and its input, become one."""
    messages: list[Message] = []
    for role, words in said:
        if messages and messages[-1].role == role:
            words = f"{messages.pop().content.strip()}\n\n{words.strip()}"
        if words.strip() or role != "assistant" or messages:
            messages.append(Message(role=role, content=words))
    return messages

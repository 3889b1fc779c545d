"""Which column plays a part, by its name and by what stands in it; none where several could."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from chatlab.formats.containers.table import plain
from chatlab.formats.conversations.content import shows_media
from chatlab.formats.layout import LayoutName, Part, layout

Values = dict[str, Any]

_PROMPT_WORDS = frozenset(
    ["prompt", "instruction", "question", "query", "user", "human", "customer", "problem", "request", "asked", "input"]
)
_ANSWER_WORDS = frozenset(
    ["completion", "response", "answer", "reply", "assistant", "bot", "gpt", "solution", "output", "answered"]
)
_WORDS = {"prompt": _PROMPT_WORDS, "answer": _ANSWER_WORDS}
_BEST = ("best", "ideal", "gold", "final", "correct", "expected", "reference", "accepted", "chosen")
_NO_TEXTS = (
    "id ids uid uuid guid key index idx no nr number num type kind category class group topic subject domain date time"
    " timestamp created updated count counts tokens length len size score scores rating rank reward quality difficulty"
    " level model name author source url uri link lang language hash status label split version file path page title"
    " rejected incorrect wrong bad worse worst loser losing negative distractor options choices start end"
)
_OTHER = frozenset(_NO_TEXTS.split())
"""Words in the names of columns that hold no prompt and no answer, or one that nobody should learn."""
_CODE = re.compile(
    r"\s*(?:[0-9a-f]{8,}|[0-9a-f-]{32,}|[\d.,:/+\- %]*|https?://\S+|\S+@\S+|\d{4}-\d\d-\d\d\S*)\s*", re.I
)
"""Numbers, dates, ids and addresses."""
_TWIN = re.compile(r"(.*?)_?(a|b|0|1|2|left|right)")
_ROOTS = (
    "response",
    "answer",
    "completion",
    "conversation",
    "output",
    "reply",
    "generation",
    "human_ref",
    "text",
    "messages",
    "summary",
    "model_output",
    "model_response",
    "assistant",
    "chat",
)
_SIDES = (("a", "b"), ("0", "1"), ("1", "2"), ("left", "right"))


def by_name(name: LayoutName, names: Sequence[str]) -> dict[str, str]:
    """Part -> the column that is called so. No column plays two parts."""
    found: dict[str, str] = {}
    for part in _eager(layout(name).parts):
        free = [column for column in names if column not in found.values()]
        column = next((c for called in part.names for c in free if plain(c) == called), None)
        if column is not None:
            found[part.name] = column
    return found


def guessed(part: str, names: Sequence[str], rows: Sequence[Values], taken: Collection[str]) -> str | None:
    """The only column that could play a part, by a word in its name, or because no other is left."""
    free = guessable(part, names, rows, taken)
    words = _WORDS.get(part, frozenset())
    called = [name for name in free if words & _words(name)]
    for best in _BEST if part == "answer" else ():
        if len(called) > 1 and (better := [name for name in called if best in _words(name)]):
            called = better
    if len(called) == 1:
        return called[0]
    others = [name for name in free if not any(theirs & _words(name) for theirs in _WORDS.values())]
    if called or (part == "prompt" and len(others) > 2) or (part != "prompt" and len(others) > 1):
        return None
    return others[0] if others else None


def guessable(part: str, names: Sequence[str], rows: Sequence[Values], taken: Collection[str]) -> list[str]:
    """Columns that hold texts, neither numbers, keys nor kinds."""
    pair = (twins(names, rows) or {}).values()
    return [name for name in names if name not in taken and name not in pair and _holds_texts(name, names, rows)]


def is_unlikely(column: str, names: Sequence[str], rows: Sequence[Values]) -> bool:
    """Whether a column is no answer though it is called so: a class as a number, or the number of a choice."""
    values = [row[column] for row in rows if row.get(column) not in (None, "")]
    short = all(
        isinstance(value, bool | int | float) or _CODE.fullmatch(str(value)) or len(str(value)) == 1 for value in values
    )
    choices = any({"choices", "options"} & _words(name) for name in names)
    return bool(values) and short and (choices or plain(column) in ("label", "target", "targets"))


def twins(names: Sequence[str], rows: Sequence[Values]) -> dict[str, str] | None:
    """Two columns of answers whose names differ in a letter or a number, as the parts of a comparison."""
    for sides in _SIDES:
        for name in names:
            found = _TWIN.fullmatch(plain(name))
            if found is None or found[1] not in _ROOTS or found[2] != sides[0]:
                continue
            other = next((o for o in names if plain(o) == plain(name).removesuffix(sides[0]) + sides[1]), None)
            if other is not None and any(isinstance(row.get(other), str | list) for row in rows):
                return {"first": name, "second": other}
    return None


def _holds_texts(name: str, names: Sequence[str], rows: Sequence[Values]) -> bool:
    words = _words(name)
    if (words & _OTHER and not (words & set(_BEST) and words & _ANSWER_WORDS)) or shows_media(name):
        return False
    values = [row[name] for row in rows if row.get(name) not in (None, "")]
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(values) or all(map(_CODE.fullmatch, texts)):
        return not rows
    kinds = len(texts) > 1 and len(set(texts)) <= len(texts) / 3 + 0.5 and all(len(text.split()) < 4 for text in texts)
    return not kinds


def _words(name: str) -> set[str]:
    """The words of a column's name: `userMessage` has two."""
    return set(plain(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)).split("_"))


def _eager(parts: Iterable[Part]) -> list[Part]:
    """Those that a row cannot do without choose first."""
    return sorted(parts, key=lambda part: not part.needed)

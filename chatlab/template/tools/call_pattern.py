"""How a chat template writes calls: its own words around what is given."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from chatlab.template.segment_tokenizer import Segment
from chatlab.tool_calls import Call, Tool

PARTS = re.compile(r"\s+|[{}\[\],:]|[^\s{}\[\],:]+")
_SPACES = r"\s*+"


@dataclass(frozen=True, slots=True)
class CallPattern:
    """How a template writes calls in one answer: its own words, and after each but the last a text that is given."""

    words: tuple[str, ...]
    values: tuple[tuple[int, bool], ...]
    """Which of the texts, and whether it stands inside a JSON string."""

    def write(self, calls: Sequence[Call]) -> tuple[Segment, ...]:
        """The calls as the template writes them."""
        given = texts_of(calls)
        parts = [Segment(self.words[0], is_content=False)]
        for (index, quoted), words in zip(self.values, self.words[1:], strict=True):
            value = json.dumps(given[index], ensure_ascii=False)[1:-1] if quoted else given[index]
            parts += [Segment(value, is_content=True), Segment(words, is_content=False)]
        return tuple(part for part in parts if part.text)

    @property
    def pattern(self) -> re.Pattern[str]:
        """Matches what `write` writes, whatever white space a model puts between."""
        text = _loose(self.words[0].lstrip())
        for (index, quoted), words in zip(self.values, self.words[1:], strict=True):
            value = r'(?:[^"\\]|\\.)*+' if quoted else ".*?"
            # Atomic: whatever follows a value follows its first end too, if it follows any.
            text += f"(?>(?P<v{index}>{value})" + _loose(words.rstrip()) + ")"
        return re.compile(text, re.DOTALL)

    def parse(self, found: re.Match[str], tool: Tool) -> Call | None:
        """The call that the pattern found; None where a value is no JSON after all."""
        values = {}
        for index, quoted in self.values:
            value = found[f"v{index}"]
            try:
                values[index] = json.loads(f'"{value}"', strict=False) if quoted else value.strip("\n")
            except ValueError:
                return None
        return Call(name=tool.name, arguments=tuple((p.name, values[k]) for k, p in enumerate(tool.parameters)))


def texts_of(calls: Sequence[Call]) -> list[str]:
    """The texts that are given, in order, those inside of lists and objects too."""
    found: list[str] = []
    for call in calls:
        for name, value in call.arguments:
            each_text(json.loads(value) if name in call.typed else value, found.append)
    return found


def each_text(value: Any, change: Callable[[str], Any]) -> Any:
    """A JSON value with `change` of each text in it; names stay."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {name: each_text(one, change) for name, one in value.items()}
    return [each_text(one, change) for one in value] if isinstance(value, list) else value


def _loose(words: str) -> str:
    """A pattern of the same words with any white space, or none, where there is some, and around JSON's own signs."""
    parts = PARTS.findall(words)
    loose = "".join(
        _SPACES if part.isspace() else f"{_SPACES}{re.escape(part)}{_SPACES}" if part in "{}[],:" else re.escape(part)
        for part in parts
    )
    return re.sub(f"(?:{re.escape(_SPACES)}){{2,}}", lambda _: _SPACES, loose)

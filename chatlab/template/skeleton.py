"""What a chat template writes for a row of roles: its own words, with a placeholder where each message's
content goes.

The template never sees a content, only a mark that stands for it. So no content can steer a template or pass for
its words, and one rendering serves every conversation with the same roles.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chatlab.errors import TemplateRefused
from chatlab.records import Message, Role
from chatlab.template.sandbox import Sandbox

ROLES = ("system", "user", "assistant", "tool")
KEPT = 512
"""Skeletons remembered; a chat needs a new one for every turn."""
PARTS = 1 << 15
"""Their parts, of all together: some 4 MB. A chat's skeletons grow with it, so that 512 may be of any size."""

# Two private characters around a number and a quotation mark; the quotation mark shows where a template writes JSON.
_OPEN, _CLOSE = "\U000f4c1b", "\U000f4c1d"
_MARK = re.compile(f'{_OPEN}([0-9]+)(\\\\?)"{_CLOSE}')
_PAD = "\n \n"
WORDS, WORDS_EACH = 200_000, 200
"""Most characters of its own that a template may put around a conversation, and more for each message."""
REPEATS = 4
"""How often a template may write what messages say, on average. Some ask the last question once more."""
REASONING_END = re.compile(r"</[a-z:]*think(?:ing)?>|\[/THINK\]|<\|END_THINKING\|>")
"""How a template that knows of reasoning before an answer marks its end."""
_THOUGHT, _SAID = "\U000f4c1e", "\U000f4c1f"


@dataclass(frozen=True, slots=True)
class Trim:
    """Which characters a template strips from a content's two sides: None leaves them, "" takes all white space."""

    left: str | None = None
    right: str | None = None

    def __call__(self, content: str) -> str:
        if self.left is not None:
            content = content.lstrip(self.left or None)
        return content if self.right is None else content.rstrip(self.right or None)


@dataclass(frozen=True, slots=True)
class Placeholder:
    """Where the content of message `index` goes."""

    index: int
    trim: Trim = Trim()
    quoted: bool = False
    """Inside a JSON string, so the content is escaped as JSON."""
    drops: tuple[str, Trim] | None = None
    """The mark that ends reasoning, up to which the template leaves a content out, and how it trims the rest."""

    def fill(self, content: str) -> str:
        """The content as the template writes it here."""
        if self.drops and self.drops[0] in content:
            end, trim = self.drops
            content = trim(content.rpartition(end)[2])
        return self.fill_whole(content)

    def fill_whole(self, content: str) -> str:
        """The same with all of its reasoning, as it is learned."""
        content = self.trim(content)
        return json.dumps(content, ensure_ascii=False)[1:-1] if self.quoted else content


Part = str | Placeholder


class Skeletons:
    """A template's words for any row of roles. Raises TemplateRefused where the template itself refuses one."""

    def __init__(self, source: str, variables: Mapping[str, Any], date: Any) -> None:
        self._sandbox = Sandbox(source, date)
        self._variables = dict(variables)
        self.begin = str(variables.get("bos_token") or "")
        """The token that begins a text, as templates write it."""
        self._kept: dict[tuple[tuple[Role, ...], bool], tuple[Part, ...]] = {}
        self._kept_parts = 0
        self._in_parts = False
        self._reasoning_end = next(iter(REASONING_END.findall(source)), "")
        self.required: tuple[Role, ...] = ()
        """What a conversation cannot do without: a system message, for some templates."""
        self._in_parts, self.required = self._needs()
        self.folds_system = not self.required and not self._shows(("system", "user"), 0)

    def parts(self, roles: Sequence[Role], asks: bool = False) -> tuple[Part, ...]:
        """The template's words and placeholders for these roles, in order; with `asks`, its generation prompt too."""
        key = (tuple(roles), asks)
        if (parts := self._kept.get(key)) is None:
            parts = self._make(*key)
            if len(self._kept) >= KEPT or self._kept_parts + len(parts) > PARTS:
                self._kept.clear()
                self._kept_parts = 0
            self._kept[key] = parts
            self._kept_parts += len(parts)
        return parts

    def _make(self, roles: tuple[Role, ...], asks: bool) -> tuple[Part, ...]:
        texts, marks = _split(self._render(roles, asks))
        if sum(map(len, texts)) > WORDS + WORDS_EACH * len(roles) or len(marks) > REPEATS * len(roles):
            raise TemplateRefused(
                "The chat template writes far more than the conversation says.", "Choose a model with another template."
            )
        lefts, rights = self._trims(roles, asks, texts)
        drops = self._drops(roles, asks, texts) if self._reasoning_end else [None] * len(marks)
        parts: list[Part] = [texts[0]]
        for k, (index, quoted) in enumerate(marks):
            trim = Trim() if quoted else Trim(lefts[k], rights[k])
            parts += [Placeholder(index, trim, quoted, drops[k]), texts[k + 1]]
        return tuple(p for p in parts if p != "")

    def rendered(self, messages: Sequence[Message], asks: bool) -> str:
        """What the template itself writes when it does see the contents. Only to compare with: it may be steered."""
        said = [{"role": m.role, "content": self._content(m.content)} for m in messages]
        return self._sandbox.render(messages=said, add_generation_prompt=asks, **self._variables)

    def around_reasoning(self, asks: str) -> tuple[str, str] | None:
        """What the template writes before and after the reasoning of an answer, past its own request `asks` for one;
        None where it leaves reasoning out.
        """
        answer = {"role": "assistant", "content": self._content(_SAID)}
        answer |= dict.fromkeys(("reasoning_content", "reasoning", "thinking"), _THOUGHT)
        before = [{"role": role, "content": self._content("x")} for role in (*self.required, "user")]
        try:
            text = self._sandbox.render(messages=[*before, answer], add_generation_prompt=False, **self._variables)
        except TemplateRefused:
            return None
        head, thought, rest = text.partition(_THOUGHT)
        between, said, _ = rest.partition(_SAID)
        if not (thought and said) or _THOUGHT in rest or asks not in head:
            return None
        return head.rpartition(asks)[2], between

    def _trims(
        self, roles: tuple[Role, ...], asks: bool, texts: Sequence[str]
    ) -> tuple[list[str | None], list[str | None]]:
        """What is stripped left and right of each placeholder, seen by rendering contents padded on that side."""
        count = len(texts) - 1
        lefts: list[str | None] = [None] * count
        rights = list(lefts)
        if len(padded := _split(self._render(roles, asks, before=_PAD))[0]) == len(texts):
            lefts = [_stripped(padded[k].removeprefix(texts[k]), _PAD.lstrip("\n")) for k in range(count)]
        if len(padded := _split(self._render(roles, asks, after=_PAD))[0]) == len(texts):
            rights = [_stripped(padded[k].removesuffix(texts[k]), _PAD.rstrip("\n")) for k in range(1, count + 1)]
        return lefts, rights

    def _drops(self, roles: tuple[Role, ...], asks: bool, texts: Sequence[str]) -> list[tuple[str, Trim] | None]:
        """Which placeholders leave out reasoning, as templates do in earlier answers, seen by putting some in."""
        end = self._reasoning_end
        reasoning = f"{opening(end)}hm{end}{_PAD}"
        try:
            padded = _split(self._render(roles, asks, before=reasoning))[0]
        except TemplateRefused:  # of such a content
            padded = []
        if len(padded) != len(texts):
            return [None] * (len(texts) - 1)
        kept = (padded[k].removeprefix(texts[k]) for k in range(len(texts) - 1))
        whole, fewer = _PAD, _PAD.lstrip("\n")
        return [(end, Trim(_stripped(rest, fewer))) if rest in ("", fewer, whole) else None for rest in kept]

    def _render(self, roles: Sequence[Role], asks: bool, before: str = "", after: str = "") -> str:
        marks = (f'{before}{_OPEN}{i}"{_CLOSE}{after}' for i in range(len(roles)))
        messages = [{"role": r, "content": self._content(m)} for r, m in zip(roles, marks, strict=True)]
        return self._sandbox.render(messages=messages, add_generation_prompt=asks, **self._variables)

    def _content(self, text: str) -> Any:
        return [{"type": "text", "text": text}] if self._in_parts else text

    def _needs(self) -> tuple[bool, tuple[Role, ...]]:
        """Whether contents come as lists of pieces, as models that see images take them, and what must come first."""
        for self._in_parts in (False, True):
            for required in ((), ("system",)):
                if self._shows((*required, "user"), len(required)):
                    return self._in_parts, required
        self._in_parts = False
        self._render(("user",), True)  # raises, if the template has a reason of its own
        raise TemplateRefused(
            "The chat template leaves out what the user says.",
            "Choose a model whose template takes plain conversations.",
        )

    def _shows(self, roles: tuple[Role, ...], index: int) -> bool:
        """Whether the content of a message can be seen in what the template writes."""
        try:
            return any(int(found[1]) == index for found in _MARK.finditer(self._render(roles, True)))
        except TemplateRefused:
            return False


def opening(end: str) -> str:
    """The mark that begins reasoning, by the one that ends it."""
    return end.replace("END", "START") if "END" in end else end.replace("/", "", 1)


def _split(text: str) -> tuple[list[str], list[tuple[int, bool]]]:
    """The texts between the marks, one more than there are marks, and each mark's index and whether it is quoted."""
    marks = [(int(found[1]), bool(found[2])) for found in _MARK.finditer(text)]
    texts = re.split(_MARK.pattern.replace("(", "(?:"), text)
    if any(_OPEN in t or _CLOSE in t for t in texts):
        raise TemplateRefused(
            "The chat template takes messages apart, so their text cannot be separated from its own.",
            "Choose a model whose template writes each message whole.",
        )
    return texts, marks


def _stripped(kept: str, without_newlines: str) -> str | None:
    """What was stripped from a pad of which this is left."""
    return {"": "", without_newlines: "\n"}.get(kept)

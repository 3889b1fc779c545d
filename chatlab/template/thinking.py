"""Reasoning before an answer, for templates that have a place for it.

The reasoning stands between two marks of the template's own. Chat opens it, lets the model think as long as its budget
lasts, closes it, and asks for the answer; training learns the reasoning, its end and the answer after the same opening.
The reasoning of earlier answers is read by nobody, as these templates have it.
"""

from __future__ import annotations

from dataclasses import dataclass

from chatlab.template.skeleton import REASONING_END, opening

ON = {"enable_thinking": True, "thinking": True}
"""Variables of a rendering that asks for reasoning."""

ANALYSIS, ANALYSIS_END = "<|channel|>analysis<|message|>", "<|end|>"
"""How templates that name channels open and end reasoning."""
_PAIRS = (
    *((f"<{tag}>", f"</{tag}>") for tag in ("think", "thinking", "thought", "reasoning", "seed:think")),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
)


@dataclass(frozen=True, slots=True)
class Thinking:
    """What a template writes around reasoning."""

    asks: str
    """After the last message, up to where the reasoning begins."""
    adds: str
    """The end of `asks` that the template leaves for the model to write."""
    end: str
    """What a model writes to say that it has thought enough."""
    closes: str
    """Between the reasoning and the answer."""


def find_thinking(source: str, asks: str, plain: str) -> Thinking | None:
    """None where the template has no reasoning, or will not say how it begins.

    `asks` is what it writes after a question when it is told to think, `plain` what a prompt has there otherwise.
    """
    if ANALYSIS in source and plain.startswith(asks) and plain.startswith(ANALYSIS_END):
        return Thinking(asks + ANALYSIS, ANALYSIS, ANALYSIS_END, plain)
    end = next(iter(REASONING_END.findall(source)), "")
    if not end or not (is_open(asks) or end in plain):
        return None
    adds = "" if is_open(asks) else opening(end) + ("" if end.startswith("<|") else "\n")
    gap = plain.rpartition(end)[2] if end in plain else "\n\n"
    return Thinking(asks + adds, adds, end, f"\n{end}{gap}")


def written_thinking(asks: str, before: str, after: str) -> Thinking | None:
    """For templates that ask for no reasoning, but write that of answers given earlier between marks of their own.

    `before` and `after` are what stands around it; None where one of them is no mark.
    """
    if not (is_open(before) and REASONING_END.search(after)):
        return None
    return Thinking(asks + before, before, after.strip(), after)


def is_open(words: str) -> bool:
    """Whether they open reasoning and do not close it."""
    return any(words.rfind(begin) > words.rfind(end) for begin, end in _PAIRS)

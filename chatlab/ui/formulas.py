r"""Formulas in a text of Markdown: `\( ... \)` and `\[ ... \]`, `$$ ... $$`, and `$ ... $` where it can be no money.

Markdown would take their backslashes for its own, their underscores for stress and their line breaks for paragraphs.
Here what is marked as a formula is typeset where it can be, and else stands character for character, marks included.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from chatlab.ui.html import element, escaped
from chatlab.ui.mathml import mathml

LONGEST = 4000
"""Characters of one formula. A mark that is not closed within so many is words."""
_DOLLARS = re.compile(
    rf"\$(?![\s$\d])[^$\n`]{{0,{LONGEST}}}(?<=[^\s\\])\$(?![\d$\w])"
    r"|\$\d[^$\n`\s]{0,80}[\\^_][^$\n`]{0,80}(?<=[^\s\\])\$(?![\d$\w])"
)
_CLOSING = {"\\(": "\\)", "\\[": "\\]", "$$": "$$"}
_BLOCKS = ("\\[", "$$")


def _formula(text: str, start: int, end: int) -> str:
    """The formula that begins at `start`; empty where none does."""
    mark = text[start : start + 2]
    if mark in _CLOSING:
        closed = text.find(_CLOSING[mark], start + 2, min(end, start + LONGEST))
        return text[start : closed + 2] if closed > start + 2 else ""
    found = _DOLLARS.match(text, start, end) if mark[:1] == "$" else None
    return found[0] if found else ""


def inline(state: StateInline, silent: bool) -> bool:
    """A formula within a line; or a bracket with a backslash that belongs to one that is not closed yet."""
    here = state.src[state.pos]
    if here not in "\\$":
        return False
    text = _formula(state.src, state.pos, state.posMax)
    if not text and here == "\\" and state.pos + 1 < state.posMax and state.src[state.pos + 1] in "([)]":
        text = state.src[state.pos : state.pos + 2]
        if not silent:
            state.pending += text
    elif text and not silent:
        token = state.push("formula", "", 0)
        token.content = text
    state.pos += len(text)
    return bool(text)


def block(state: StateBlock, first: int, end: int, silent: bool) -> bool:
    """A formula on lines of its own, whatever stands at the beginning of these."""
    if state.is_code_block(first):
        return False
    begin = state.bMarks[first] + state.tShift[first]
    mark = state.src[begin : begin + 2]
    if mark not in _BLOCKS:
        return False
    text = _formula(state.src, begin, state.eMarks[end - 1])
    closed = begin + len(text)
    after = state.src.find("\n", closed)
    if not text or state.src[closed : after if after >= 0 else None].strip() or "\n\n" in text:
        return False  # words follow on its last line, or it is none
    last = first + text.count("\n")
    if last >= end or any(state.sCount[line] < state.blkIndent for line in range(first, last + 1)):
        return False
    if silent:
        return True
    opened = state.push("paragraph_open", "p", 1)
    token = state.push("formula", "", 0)
    token.content = state.getLines(first, last + 1, state.blkIndent, False).strip()
    state.push("paragraph_close", "p", -1)
    opened.map = token.map = [first, last + 1]
    state.line = last + 1
    return True


def render(self: RendererHTML, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    """Typeset, or the formula's own characters."""
    source = tokens[at].content
    width = 1 if source.startswith("$") and not source.startswith("$$") else 2
    typeset = mathml(source[width:-width], source.startswith(_BLOCKS), source)
    if typeset is None:
        return element("code", escaped(source))
    return element("span", typeset, kind="formula", title=source)

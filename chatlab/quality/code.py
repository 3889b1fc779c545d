"""What of a text is prose: code has ends, headings, names and tags of its own."""

from __future__ import annotations

import re

_FENCED = re.compile(r"^[ \t]*(```+|~~~+)[^`\n]*\n.*?(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
_FENCE = re.compile(r"^[ \t]*(```+)[ \t]*([^`\n]*?)[ \t]*$", re.MULTILINE)
_COMMENT = re.compile(r"\s*#{1,6}\s")
"""A comment or a heading: nobody can tell by the line alone."""
_CODE = re.compile(
    r"\s*(?:#(?!#)\S|//|--|/\*|\*/|@\w|<[/!?]?\w[^<>]*>|\$\s?\w|[)}\]]+[;,]?\s*$"
    r"|(?:def|class|import|from|return|if|elif|else|for|while|try|except|with|print|public|private|protected|static|void|cdef|cpdef|ctypedef"
    r"|const|let|var|function|fn|func|struct|use|package|namespace|using|echo|export|end|begin)\b.*[(){}=:;.\[\]\"']"
    r"|(?:SELECT|FROM|WHERE|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|JOIN|LEFT|INNER|GROUP|ORDER|HAVING|LIMIT|VALUES)\b"
    r"|[\w.\[\]'\"*&> ]{1,60}\s?[-+*/|:]?=\s?\S|[\w.:>-]+\([^)]*\)?|.*[;{}]\s*$|.*\)\s*[:{]\s*$"
    r"|[-\s]*(?!(?:user|human|assistant|system|bot|ai|instruction|response|question|prompt)\s*:)"
    r"[a-z\"'][\w\"'-]{0,40}:(?:\s|$))"
)
"""How a line of code begins or ends, in the languages that people ask about."""


_BEGINS = re.compile(
    r"\s*(?:(?:async )?def \w+\(|class \w+[(:{ ]|@[\w.]+(?:\([^\n]*\))?\s*\n|c(?:p?def|typedef) "
    r"|#include\b|#!|from [\w.]+ import\b"
    r"|import [\w.{*]+[\w, ]*;?\s*\n"
    r"|(?:export )?(?:function|const|let|var) \w+\s*[(=]|(?:public|private|static) \w+|<\?|<!|\{[%#][^{}]*[%#]\}"
    r"|\[{1,2}[^\[\]\n]+\]{1,2}[ \t]*\n\s*(?:#.*\n\s*)*[\w.\"'*/-]+\s*=)"
)
"""How a text begins that is code whatever it says further down, in strings and comments."""


_BLOCK_COMMENT = re.compile(r"^[ \t]*/\*.*?\*/", re.MULTILINE | re.DOTALL)
_LINES_OF_COMMENT = re.compile(r"^#(?: [^\n]*)?\n(?:#(?: [^\n]*)?\n)+#(?: [^\n]*)?$", re.MULTILINE)
"""Three lines or more that begin with `#` are no headings."""
_FIRST_COMMENTS = re.compile(r"\A(?:\s*#(?!#)[^\n]*\n)+")
_TEMPLATE = re.compile(r"\{%.*?%\}", re.DOTALL)
_STRING = re.compile(r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'")


def prose(text: str) -> str:
    """A text without its code; nothing where it is code as a whole."""
    rest = unfenced(text)
    return "" if is_code(rest) else _LINES_OF_COMMENT.sub("\n", _BLOCK_COMMENT.sub("\n", rest))


def unfenced(text: str) -> str:
    """A text without what stands in marks of code."""
    return _INLINE.sub(" ", _FENCED.sub("\n", text))


def unquoted(text: str) -> str:
    """Code without its strings; nothing of a template, which holds what others say."""
    return "" if len(_TEMPLATE.findall(text)) > 1 else _STRING.sub('""', text)


def is_code(text: str) -> bool:
    """Whether every other line or more is one of code."""
    if _BEGINS.match(_FIRST_COMMENTS.sub("", text)) or len(_TEMPLATE.findall(text)) > 1:
        return True
    text = _BLOCK_COMMENT.sub("/**/", text)
    lines = [line for line in text.splitlines() if line.strip() and not _COMMENT.match(line)]
    found = sum(bool(_CODE.match(line)) and not _is_sentence(line) for line in lines)
    return bool(lines) and 2 * found >= len(lines)


def holds_code(text: str) -> bool:
    """Whether an answer is code, or has some in a fence."""
    return bool(_FENCED.search(text)) or is_code(text)


def ends_in_fence(text: str) -> bool:
    """Whether a block of code is opened, has something in it, and is not closed. Marks within a line open none."""
    if text.count("```") % 2 == 0:
        return False
    opened, last = "", 0
    for mark in _FENCE.finditer(text):
        if not opened and len(mark[2].split()) <= 2:
            opened, last = mark[1], mark.end()
        elif opened and not mark[2] and len(mark[1]) >= len(opened):
            opened = ""
    return bool(opened) and bool(text[last:].strip())


def _is_sentence(line: str) -> bool:
    """Several words alone, and none of them a keyword in capitals."""
    words = re.fullmatch(r"\s*[A-Z“\"'](?![A-Z])[^{}=<>\[\]]*[.!?;,:]\s*", line)
    return words is not None and len(line.split()) > 4 and not re.search(r"\w\(", line)

"""Answers whose form is off: role markers in them, ends missing, refusals, markup that the others do not use."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from chatlab.quality.code import ends_in_fence, is_code, prose, unfenced, unquoted
from chatlab.quality.findings import Action, Case, Finding, about_one, finding, quoted, quoted_end

FEW = 0.1
"""Share of answers up to which a habit is an exception, and from which on (1 - FEW) it is the rule."""
RULE = 0.95
"""Share of answers that end with a full stop or the like, if it is the rule."""
ENOUGH = 10
"""Answers that it takes to speak of a rule."""

_ROLE = re.compile(
    r"^[ \t>*#]*(?:(?:user|human|assistant|system|bot|ai|instruction|response|question|prompt)[ \t]*:|###[ \t]*"
    r"(?:user|human|assistant|system|instruction|response|input|output)\b)|<\|[\w ]+\|>|\[/?INST\]|<<SYS>>"
    r"|</?s>|<(?:start|end)_of_turn>",
    re.IGNORECASE | re.MULTILINE,
)
_HARD_ROLE = re.compile(r"<\||INST\]|<<SYS|</?s>|_of_turn|###", re.IGNORECASE)
_REFUSAL = re.compile(
    r"^\W*(?:(?:i['’]?m|i am) (?:so |very |really )?(?:sorry|afraid)\b.{0,40}\b"
    r"(?:can(?:no|['’])t|unable|not able|don['’]t)\b"
    r"|sorry,? (?:but )?i (?:can(?:no|['’])t|am unable|don['’]t)\b"
    r"|i (?:can(?:no|['’])t|am (?:unable|not able) to|won['’]t) (?:help|assist|answer|comply|provide|do that|fulfil)"
    r"|as an? (?:ai|artificial|(?:large )?language|computer)\b"
    r"|i(?:['’]m| am) (?:just |only )?an? (?:ai|artificial|(?:large )?language|computer)\b)",
    re.IGNORECASE | re.DOTALL,
)
_MARKUP: dict[str, re.Pattern[str]] = {
    "headings": re.compile(r"^#{1,6} \S", re.MULTILINE),
    "bold type": re.compile(
        r"(?<!\*)\*\*[^\s*][^*\n]*\*\*(?!\*)|(?<!\w)__(?![a-z]+__|[A-Z][A-Z0-9_]*__)[^\s_][^_\n]*(?<!\s)__(?!\w)"
    ),
    "code fences": re.compile(r"^```", re.MULTILINE),
    "HTML tags": re.compile(
        r"</?(?:p|br|b|i|em|strong|ul|ol|li|div|span|a|h[1-6]|table|tr|td|code|pre)(?:\s[^<>]*)?/?>", re.IGNORECASE
    ),
    "tables": re.compile(r"^\|.*\|[ \t]*$\n^\|[-: |]+\|", re.MULTILINE),
    "links": re.compile(r"\[[^\]\n]+\]\(https?://[^)\s]+\)"),
}
_ENDS = tuple(".!?…。！？؟।\"'”’»)]}*`_~:|>%°$€£\u200d")
_SIGNS = re.compile(r"[={}<>\[\]|]|\w\(|\)[ \w&]*[;,]$")
"""What a line of code has and a sentence has not."""
_OPEN_WORDS = "a an the of and or but nor because if while than into onto their its his her your my our whose such very"
"""English words that no sentence ends with."""


def role_markers(cases: Sequence[Case], control: Collection[str] = ()) -> Iterator[Finding]:
    """Answers and thoughts that hold the words of another's turn. `control` are the template's own tokens."""
    for case in cases:
        for what, text in (("answer", case.answer), ("thought", case.reasoning)):
            if found := _marker(text, control):
                why = f"The {what} holds {quoted(found)}, so the model learns to write the next turn too."
                yield about_one("role marker", case, why)
                break


def _marker(text: str, control: Collection[str]) -> str:
    """The first words of another's turn in a text; nothing where there are none."""
    rest = unfenced(text)
    bare = unquoted(rest) if is_code(rest) else rest
    if found := next((token for token in control if token.strip() and token in bare), ""):
        return found
    text = prose(text)
    marker = _ROLE.search(text)
    speaks = marker and (_HARD_ROLE.search(marker[0]) or _speaks_for_another(text, marker))
    return marker[0].strip() if marker and speaks else ""


def truncated(cases: Sequence[Case]) -> Iterator[Finding]:
    """Answers that stop before they end. A last sentence without a full stop counts where nearly all have one."""
    strict = len(cases) >= ENOUGH and sum(case.answer.rstrip().endswith(_ENDS) for case in cases) >= RULE * len(cases)
    for case in cases:
        if why := _cut_off(case.answer) or (strict and _unended(case.answer)):
            yield about_one("truncated", case, f"The answer {why}: {quoted_end(case.answer)}")


def refusals(cases: Sequence[Case]) -> Iterator[Finding]:
    """Answers that decline, where most do not. Those tagged as refusals are meant."""
    found = [case for case in cases if _REFUSAL.search(case.answer)]
    if len(found) * 2 > len(cases) > ENOUGH:
        return
    for case in found:
        if not any("refus" in tag.casefold() or "unknown" in tag.casefold() for tag in case.demonstration.tags):
            yield about_one("refusal", case, f"The answer is a refusal: {quoted(case.answer)}")


def markup(cases: Sequence[Case]) -> Iterator[Finding]:
    """For each kind of markup, findings about the few answers that have it, or the few that have it not."""
    if len(cases) < ENOUGH:
        return
    written = {case.id: prose(case.answer) for case in cases}
    for name, pattern in _MARKUP.items():
        texts = {case.id: case.answer for case in cases} if name == "code fences" else written
        having = [case for case in cases if pattern.search(texts[case.id])]
        lacking = [case for case in cases if not pattern.search(texts[case.id]) and texts[case.id].strip()]
        if 0 < len(having) <= FEW * len(cases):
            mark = pattern.search(texts[having[0].id])
            shown = quoted(mark[0]) if mark else ""
            yield _exceptions(
                having, f"{len(having)} of {len(cases)} answers use {name}, such as {shown}; the others do not."
            )
        elif 0 < len(lacking) <= FEW * len(cases):
            yield _exceptions(lacking, f"{len(lacking)} of {len(cases)} answers have no {name}, unlike all others.")


def _exceptions(group: Sequence[Case], why: str) -> Finding:
    ids = tuple(case.id for case in group)
    first = Action(deed="edit", label="Edit" if len(ids) == 1 else "Edit the first", demonstrations=ids[:1])
    label = "Discard" if len(ids) == 1 else f"Discard all {len(ids)}"
    return finding("markup", group, why, first, Action(deed="discard", label=label, demonstrations=ids))


def _speaks_for_another(answer: str, marker: re.Match[str]) -> bool:
    """`User:` at the start of a line of a dialogue, not as the head of a definition: something comes before it."""
    roles = {m[0].strip(" \t>*#:").casefold() for m in _ROLE.finditer(answer)}
    return bool(roles & {"user", "human", "assistant", "bot", "ai", "system"}) and (
        marker.start() > 0 or len(roles) > 1
    )


def _cut_off(answer: str) -> str:
    """How an answer stops too early; nothing if it does not."""
    text = answer.rstrip()
    if ends_in_fence(text):
        return "ends inside a code block"
    if text.endswith(("(", "[", "{")):
        return "stops in the middle of a sentence"
    if is_code(text) or _SIGNS.search(text.rpartition("\n")[2]):
        return ""
    if text.endswith((",", ";", " -", "–", "—")):
        return "stops in the middle of a sentence"
    last = re.search(r"(?:\S+\s+){3}([^\W\d_]+)$", text)
    return f"stops after “{last[1]}”" if last and last[1] in _OPEN_WORDS.split() else ""


def _unended(answer: str) -> str:
    """The same, for prose of several sentences whose last has no end."""
    if is_code(answer):
        return ""
    sentences = re.split(r"(?<=[.!?…])\s+", answer.rstrip())
    prose = (
        len(sentences) > 2 and len(sentences[-1].split()) > 4 and not re.search(r"^\s*(?:[-*•]|\d+[.)])", answer, re.M)
    )
    return "ends without punctuation, unlike most" if prose and not sentences[-1].endswith(_ENDS) else ""

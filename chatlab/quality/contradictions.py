"""The same question with answers that cannot both be learned."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from chatlab.quality.alike import alike
from chatlab.quality.findings import Action, Case, Finding, finding, quoted
from chatlab.quality.words import containment, content, has_digit, same_question, words

QUESTION = 0.5
SHORT = 8
"""Words of meaning in an answer that says one thing."""
UNLIKE = 0.34
"""Short answers that share less than this of the shorter one's words do not say the same ..."""
UNLIKE_LONG = 0.15
"""... nor do long ones, in which two who agree still choose other words."""

_OPEN = re.compile(
    r"\b(ideas?|suggest\w*|recommend\w*|brainstorm\w*|write|compose|create|invent|imagine|describe|favou?rites?|tell me"
    r"|some|examples?|tips?|ways|list of|best|benefits?|reasons?|should i|opinion|give me|name (a|an|one|two|three)"
    r"|why (do|are|is)|do you)\b",
    re.IGNORECASE,
)
"""Prompts that invite many answers: to those, different ones are variety."""
_YES, _NO = {"yes", "yeah", "true", "correct"}, {"no", "nope", "false", "incorrect"}


def contradictions(cases: Sequence[Case]) -> Iterator[Finding]:
    """One finding for each question, with all who answer it unlike the first."""
    closed = [case for case in cases if not _OPEN.search(case.question)]
    groups: dict[int, list[int]] = defaultdict(list)
    leader: dict[int, int] = {}
    for earlier, later in sorted(alike([content(case.asked) for case in closed], QUESTION)):
        first = leader.get(earlier, earlier)
        if later in leader or not same_question(closed[first].asked, closed[later].asked):
            continue
        if unlike(closed[first].answer, closed[later].answer):
            leader[later] = first
            groups[first].append(later)
    for first, others in sorted(groups.items()):
        yield _which([closed[first], *(closed[i] for i in others)])


def unlike(a: str, b: str) -> bool:
    """Whether two answers to one question say different things."""
    if {_verdict(a), _verdict(b)} == {True, False}:
        return True
    ours, theirs = content(a), content(b)
    if _is_number(a) and _is_number(b):
        return ours != theirs
    return containment(ours, theirs) < (UNLIKE if max(len(ours), len(theirs)) <= SHORT else UNLIKE_LONG)


def _verdict(answer: str) -> bool | None:
    """Yes or no, where an answer begins with it."""
    first = next(iter(words(answer)), "")
    return True if first in _YES else False if first in _NO else None


def _is_number(answer: str) -> bool:
    """Whether an answer is hardly more than a number."""
    said = words(answer)
    return len(said) <= 3 and any(map(has_digit, said))


def _which(group: Sequence[Case]) -> Finding:
    said = "; ".join(f"{case.id} says {quoted(case.answer, 50)}" for case in group[:3])
    more = f"; and {len(group) - 3} more" if len(group) > 3 else ""
    ids = [case.id for case in group]
    keeps = [
        Action(deed="discard", label=f"Keep only {one}", demonstrations=tuple(i for i in ids if i != one))
        for one in ids[:6]
    ]
    return finding("contradiction", group, f"To {quoted(group[0].question)} {said}{more}.", *keeps)

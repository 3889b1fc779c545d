"""The same question with answers that cannot both be learned."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from chatlab.quality.code import holds_code
from chatlab.quality.findings import Action, Case, Finding, finding, quoted
from chatlab.quality.minhash import alike
from chatlab.quality.words import containment, content, facts, has_digit, same_question, words

QUESTION = 0.5
SHORT = 8
"""Words of meaning in an answer that says one thing."""
UNLIKE = 0.34
"""Short answers that share less than this of the shorter one's words do not say the same ..."""
UNLIKE_LONG = 0.15
"""... nor do long ones that each give many names or numbers, none of them the other's."""
MANY = 3

_OPEN = re.compile(
    r"\b(ideas?|suggest\w*|recommend\w*|brainstorm\w*|write|compose|create|invent|imagine|describe|favou?rites?|tell me"
    r"|some|examples?|tips?|ways|list of|best|benefits?|reasons?|should i|opinion|give me|name (a|an|one|two|three)"
    r"|why|do you|would you like)\b",
    re.IGNORECASE,
)
"""Prompts that invite many answers: to those, different ones are variety."""
_REMARK = re.compile(
    r"\W*(?:i|i['’]?m|i['’]ve|it|it['’]s|that|that['’]s|this|these|those|he|she|they|we|you|yes|yeah|no|nope|ok|okay|thanks?"
    r"|thank you|haha|lol|exactly|awesome|great|wow|hi|hello|hey|so|and|but|well|oh)\b[^?]*",
    re.IGNORECASE,
)
"""A turn of small talk, which asks for nothing in particular."""
_ASKS = re.compile(r"\W*(?:who|what|when|where|which|how|is|are|was|were|do|does|did|can|will)\b", re.IGNORECASE)
_FACT = re.compile(
    r"^\W*(?:\w+\W+){0,6}?(?:who|whose|when|where|which"
    r"|what(?:['’]s| is| are| was| were| year| time| day| colou?r| number)"
    r"|how (?:many|much|long|old|far|tall|big|high|deep|often)|name|extract|classify|identify)\b",
    re.IGNORECASE,
)
"""Prompts for something that is one thing or another."""
_PERSONAL = re.compile(
    r"\b(?:you|your|yours|i|my|me|we|our|should|would|could|meaning|bad|good|deserve\w*)\b", re.IGNORECASE
)
"""Words of prompts whose answers are as many as those who are asked."""
_STATES = re.compile(r"\w+ (?:is|are|was|were|has|have) [^?]*\Z", re.IGNORECASE)
"""A sentence that asks nothing."""
_HEDGES = re.compile(
    r"\W*(?:maybe|perhaps|possibly|it depends|i(?:['’]m| am) not|i (?:do not|don['’]t)|no\W+i (?:do not|don['’]t)"
    r"|sorry|i(?:['’]m| am) sorry|\*|great\b)",
    re.IGNORECASE,
)
"""Answers that commit to nothing, and so exclude no other that passes."""
_DECLINES = re.compile(r"\b(?:(?:i|we) (?:can['’]t|cannot|won['’]t)|illegal|impractical|really vague)\b", re.IGNORECASE)
_YES = re.compile(
    r"\W*(?:yes|yeah|yep|yup|of course|sure|certainly|absolutely|definitely|correct|true|i['’]?(?:m| am) happy to)\b",
    re.IGNORECASE,
)
_NO = re.compile(
    r"\W*(?:no|nope|never|not|incorrect|false|(?:it|that|this|he|she|they) (?:is|are|was|were|does|do|did|has|have)"
    r"(?:n['’]t| not)|there (?:is|are|was|were) no)\b",
    re.IGNORECASE,
)
_PASSES = re.compile(
    r"\W*(?:(?:(?:i['’]?m |i am )?(?:so |very )?(?:sorry|afraid)|oh|well|hm+|no|unfortunately)\W+)*(?:but |that )?"
    r"(?:i (?:(?:really |just )?(?:don['’]t|do not) (?:know|understand|have an?y?\b|think (?:so|that))|can(?:['’]t|not)"
    r"|won['’]t|have no (?:opinion|idea)|am (?:unable|not (?:able|sure))"
    r"|(?:didn['’]t|did not) (?:catch|get|understand))"
    r"|i['’]m not (?:able|sure)|that i cannot|that['’]?s not something i|as an? (?:ai|large language model)\b"
    r"|i(?:['’]m| am) an? (?:ai|assistant|bot|program|(?:large )?language model)\b"
    r"|that sounds (?:terrible|awful|horrible)"
    r"|that(?:['’]s| is) (?:out of|off|against|illegal|(?:not )?appropriate|inappropriate|none of)\b"
    r"|it['’]?s up to you\b)|\W*(?:no|(?:it|that) depends)\W*$",
    re.IGNORECASE,
)
BRIEF = 30
"""Words of an answer that only passes; of a longer one, what it goes on to say is the answer."""


def contradictions(cases: Sequence[Case]) -> Iterator[Finding]:
    """One finding for each question, with all who answer it unlike the first."""
    closed = [case for case in cases if _has_one_answer(case)]
    groups: dict[int, list[int]] = defaultdict(list)
    leader: dict[int, int] = {}
    for earlier, later in sorted(alike([content(case.asked) for case in closed], QUESTION)):
        first = leader.get(earlier, earlier)
        if later in leader or not same_question(closed[first].asked, closed[later].asked):
            continue
        if unlike(closed[first].answer, closed[later].answer, _asks_for_fact(closed[first])):
            leader[later] = first
            groups[first].append(later)
    for first, others in sorted(groups.items()):
        yield _which([closed[first], *(closed[i] for i in others)])


def _has_one_answer(case: Case) -> bool:
    """Whether the prompt asks for something definite, and the answer gives it instead of asking back."""
    asked = case.question
    if _OPEN.search(asked) or _REMARK.fullmatch(asked) or case.answer.rstrip().endswith("?"):
        return False
    return _is_first(case) or "?" in asked or bool(_ASKS.match(asked))


def _is_first(case: Case) -> bool:
    """Whether the question opens the conversation, so that there is no talk that an answer could go on from."""
    return sum(m.role == "user" for m in case.demonstration.prompt) == 1


def _asks_for_fact(case: Case) -> bool:
    """Whether the prompt asks for what is one thing or another, whoever is asked."""
    asks = _FACT.search(case.question) or (_is_first(case) and not _STATES.match(case.question))
    return bool(asks) and not _PERSONAL.search(case.question)


def unlike(a: str, b: str, fact: bool = True) -> bool:
    """Whether two answers to one question exclude each other: a yes and a no, one that passes, other facts.

    Other words are another answer only where a `fact` is asked for. Two programs may both be right.
    """
    if (_PASSES.match(a) and _PASSES.match(b)) or (holds_code(a) and holds_code(b)):
        return False
    if _passes(a) or _passes(b):
        return _commits(b if _passes(a) else a)
    if (_YES.match(a) and _NO.match(b)) or (_NO.match(a) and _YES.match(b)):
        return True
    if _YES.match(a) and _YES.match(b):
        return False
    ours, theirs = content(a), content(b)
    if _is_number(a) and _is_number(b):
        return ours != theirs
    if max(len(ours), len(theirs)) <= SHORT:
        return fact and bool(ours) and bool(theirs) and containment(ours, theirs) < UNLIKE
    if fact and 0 < min(len(ours), len(theirs)) <= SHORT and not ours & theirs:
        return True
    listed = min(len(facts(a)), len(facts(b))) >= MANY and not facts(a) & facts(b)
    return listed and containment(ours, theirs) < UNLIKE_LONG


def _commits(answer: str) -> bool:
    """Whether an answer says something that one which passes does not."""
    if _HEDGES.match(answer) or _DECLINES.search(answer):
        return False
    return len(content(answer)) > 1 or bool(_YES.match(answer) or _NO.match(answer)) or has_digit(answer)


def _passes(answer: str) -> bool:
    return len(answer.split()) <= BRIEF and bool(_PASSES.match(answer))


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

"""The same thing taught twice: word for word, or nearly."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from chatlab.quality.code import holds_code
from chatlab.quality.findings import Action, Case, Finding, finding, quoted
from chatlab.quality.minhash import alike
from chatlab.quality.words import containment, content, facts, jaccard, plain, same_question, words

ANSWER = 0.5
"""Likeness of two answers to one question that say the same."""
QUESTION = 0.5
"""Likeness of two prompts that are worth a closer look."""
CONTAINED = 0.75
"""Share of the shorter answer's words that a longer one holds, if it says all of it."""
BRIEF = 6
"""New words of an answer so short that a longer one which has them says it all."""
FARTHER = 3
"""Times as many new words, from which on a longer answer says far more than the short one."""
COPY = 0.75
"""Likeness of two long answers, as runs of three words, of which one was made from the other."""
CODE = 0.8
"""Likeness of two programs that do the same."""
_NAME = re.compile(r"\w*(?:\w[_./:-]+|[a-z][A-Z]|\d)[\w./:-]*|\b[b-hj-zB-HJ-Z]\b|(?<=[a-z] )A\b")
"""A name in code, or of a file: it has marks, digits or capitals within."""
_DEFINES = re.compile(r"^[ \t]*(?:async |export |cp?)?(?:def|class|function|func|fn|struct)[ \t]+(\w+)", re.MULTILINE)
LONG = 15
"""Words of an answer that two people would not write alike by chance."""


def duplicates(cases: Sequence[Case]) -> Iterator[Finding]:
    """One finding for all that say the same but for case, accents, punctuation and white space."""
    groups: dict[tuple[str, ...], list[Case]] = defaultdict(list)
    for case in cases:
        groups[wording(case)].append(case)
    for group in groups.values():
        if len(group) > 1:
            why = f"{_count(group)} are identical: {quoted(group[0].question)}"
            yield _one_is_enough("duplicate", group, why)


def near_duplicates(cases: Sequence[Case]) -> Iterator[Finding]:
    """Each with the first that it repeats; those that are duplicates already appear once."""
    cases = _firsts(cases)
    leaders: dict[int, int] = {}
    groups: dict[int, list[Case]] = defaultdict(list)
    for earlier, later in sorted(alike([content(case.asked) for case in cases], QUESTION)):
        leader = leaders.get(earlier, earlier)
        if later not in leaders and later not in groups and near(cases[leader], cases[later]):
            leaders[later] = leader
            groups[leader].append(cases[later])
    for leader, others in sorted(groups.items()):
        yield _one_is_enough("near-duplicate", [cases[leader], *others], _why_near(cases[leader], others))


def wording(case: Case) -> tuple[str, ...]:
    """What was asked, thought and answered, but for case, accents, punctuation and white space."""
    return plain(case.asked), plain(case.reasoning), plain(case.answer) or case.answer


def near(a: Case, b: Case) -> bool:
    """Whether one of two is enough: the same question with answers that say the same, or one copied from the other.

    Two ways of thinking are two lessons, and so are an answer at once and one after a thought.
    """
    if (a.reasoning or b.reasoning) and jaccard(content(a.reasoning), content(b.reasoning)) < ANSWER:
        return False
    if _asks_for_other_code(a, b):
        return False
    return _agree(a, b) if same_question(a.asked, b.asked) else _copied(a, b)


def _asks_for_other_code(a: Case, b: Case) -> bool:
    """Whether both answers are code, and each prompt names, or each answer defines, what the other does not."""
    defined = [_DEFINES.search(case.answer) for case in (a, b)]
    if defined[0] and defined[1] and defined[0][1] != defined[1][1]:
        return True
    ours, theirs = (frozenset(_NAME.findall(case.question)) for case in (a, b))
    if not same_question(a.asked, b.asked):
        ours, theirs = ours | content(a.question), theirs | content(b.question)
    return bool(ours - theirs) and bool(theirs - ours) and holds_code(a.answer) and holds_code(b.answer)


def _agree(a: Case, b: Case) -> bool:
    """Whether two answers to one question say the same, or one says what the other does and more.

    Words that the question gave tell nothing apart; and to ask back is not to answer.
    """
    if a.answer.rstrip().endswith("?") != b.answer.rstrip().endswith("?") or _differs_in_kind(a.answer, b.answer):
        return False
    ours, theirs = content(a.answer), content(b.answer)
    asked = content(a.question) | content(b.question)
    new, news = ours - asked, theirs - asked
    shared = containment(new, news) if new and news else 1.0
    if jaccard(ours, theirs) < CODE and holds_code(a.answer) and holds_code(b.answer):
        return False
    if jaccard(ours, theirs) >= ANSWER:
        return shared >= ANSWER
    short, long = sorted((len(new), len(news)))
    return 2 <= short <= BRIEF and long <= FARTHER * short and min(shared, containment(ours, theirs)) >= CONTAINED


def _copied(a: Case, b: Case) -> bool:
    runs, other = _runs(a.answer), _runs(b.answer)
    if min(len(runs), len(other)) < LONG - 2 or jaccard(runs, other) < COPY:
        return False
    return not _differs_in_kind(f"{a.asked} {a.answer}", f"{b.asked} {b.answer}")


def _differs_in_kind(a: str, b: str) -> bool:
    """Whether each has a number or a name that the other lacks: two facts, not two wordings."""
    return bool(facts(a) - content(b)) and bool(facts(b) - content(a))


def _runs(text: str) -> frozenset[str]:
    said = words(text)
    return frozenset(" ".join(said[i : i + 3]) for i in range(len(said) - 2))


def _firsts(cases: Sequence[Case]) -> list[Case]:
    seen: dict[tuple[str, ...], Case] = {}
    for case in cases:
        seen.setdefault(wording(case), case)
    return list(seen.values())


def _one_is_enough(kind, group: Sequence[Case], why: str) -> Finding:  # type: ignore[no-untyped-def]
    others = tuple(case.id for case in group[1:])
    label = f"Keep {group[0].id}, discard {'the others' if len(others) > 1 else others[0]}"
    swap = [Action(deed="discard", label=f"Keep {others[0]}, discard {group[0].id}", demonstrations=(group[0].id,))]
    return finding(
        kind, group, why, Action(deed="discard", label=label, demonstrations=others), *swap[: len(others) == 1]
    )


def _why_near(leader: Case, others: Sequence[Case]) -> str:
    if plain(leader.question) == plain(others[0].question):
        said = f"{quoted(leader.answer, 45)} and {quoted(others[0].answer, 45)}"
        return f"{_count([leader, *others])} have the same prompt and nearly the same answer: {said}"
    said = f"{quoted(leader.question, 45)} and {quoted(others[0].question, 45)}"
    return f"{_count([leader, *others])} have nearly the same prompt and answer: {said}"


def _count(group: Sequence[Case]) -> str:
    return f"{len(group)} demonstrations"

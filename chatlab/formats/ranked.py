"""Several answers to one prompt, each with a mark: the best against the worst is a preference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chatlab.errors import RowRefused
from chatlab.formats.containers.table import plain
from chatlab.formats.verdicts import LIKED, mark_of

Values = dict[str, Any]
_TEXTS = ("response", "text", "content", "output", "answer", "completion", "message", "generation", "value", "reply")
_MARKS = (
    *("overall_score", "score", "rating", "overall_rating", "reward", "pm_score", "quality", "grade", "mark", "votes"),
    *("fine-grained_score", "fine_grained_score", "annotations", "rank", "ranking", "selected", "is_best", "accepted"),
)
"""Fields of an answer that say how good it is, the ones that settle it first."""
_LOW_IS_GOOD = frozenset(["rank", "ranks", "ranking", "rankings"])
_FINER = ("fine-grained_score", "fine_grained_score", "annotations")
"""Marks for parts of what makes an answer good, that the mark for all of it must not contradict."""


def holds_ranked(value: Any) -> bool:
    """Whether a value is a list of answers with marks of their own."""
    answers = value if isinstance(value, list) else []
    return bool(answers) and all(
        isinstance(one, dict) and _named(one, _TEXTS) and _named(one, _MARKS) for one in answers
    )


def best_and_worst(answers: Any, marks: Any, column: str) -> tuple[Any, Any]:
    """The texts of two answers. Raises RowRefused where nobody says that one is better.

    `marks` are those of answers that have none beside their text, in their order; `column` is where they stand.
    """
    if not isinstance(answers, list) or not answers:
        raise RowRefused("Its answers are no list.")
    if isinstance(marks, list):
        if len(marks) != len(answers):
            raise RowRefused(f"It has {len(answers)} answers and {len(marks)} marks.")
        sign = -1 if plain(column) in _LOW_IS_GOOD else 1
        given = [(mark_of(mark), one) for mark, one in zip(marks, answers, strict=True)]
        marked = [(sign * mark, one) for mark, one in given if mark is not None]
    else:
        marked = [(mark, one) for one in answers if isinstance(one, dict) and (mark := _mark(one)) is not None]
    if len(marked) < 2:
        raise RowRefused("It has no two answers with a mark, of which one could be better.")
    best, worst = max(marked, key=lambda one: one[0]), min(marked, key=lambda one: one[0])
    if best[0] == worst[0]:
        raise RowRefused("All of its answers have the same mark, so that none is better.")
    finer = [_finer(one) for _, one in (best, worst)]
    if finer[0] is not None and finer[1] is not None and finer[0] < finer[1]:
        raise RowRefused("Its marks contradict each other: the answer with the best mark has the lower ratings.")
    return _text(best[1]), _text(worst[1])


def _text(answer: Any) -> Any:
    return answer.get(_named(answer, _TEXTS)) if isinstance(answer, dict) else answer


def _mark(answer: Values) -> float | None:
    for name in _MARKS:
        if name in answer and (mark := _value(answer[name])) is not None:
            return -mark if name in _LOW_IS_GOOD else mark
    return None


def _finer(answer: Any) -> float | None:
    values = [_value(answer[name]) for name in _FINER if name in answer] if isinstance(answer, dict) else []
    return next((value for value in values if value is not None), None)


def _value(mark: Any) -> float | None:
    """A mark, or the mean of several, as `{"helpfulness": {"Rating": "4"}, ...}` has them."""
    if isinstance(mark, bool):
        return float(mark)
    if isinstance(mark, str) and mark.strip().casefold() in LIKED - {"1"}:
        return 1.0
    if not isinstance(mark, Mapping | list):
        return mark_of(mark)
    inner: Sequence[Any] = list(mark.values()) if isinstance(mark, Mapping) else mark
    ratings = [_rating(one) if isinstance(one, dict) else one for one in inner]
    known = [value for one in ratings if (value := mark_of(one)) is not None]
    return sum(known) / len(known) if known else None


def _rating(part: Values) -> Any:
    return next((value for name, value in part.items() if plain(name) in _MARKS), None)


def _named(answer: Values, names: Sequence[str]) -> str:
    return next((name for name in names if name in answer), "")

"""What a row says of its answers: liked or not, a mark on some scale, or which of two is better."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from chatlab.errors import RowRefused

_LIKED = (
    "true 1 yes y liked like up good +1 👍 desirable thumbs_up thumbs-up thumb_up thumbsup upvote upvoted"
    " positive approved approve accepted accept correct right great excellent helpful win won winner chosen preferred"
    " better best pass passed keep ok okay safe"
)
_DISLIKED = (
    "false 0 no n disliked dislike down bad -1 👎 undesirable undesired thumbs_down thumbs-down thumb_down thumbsdown"
    " downvote downvoted negative neg rejected reject declined incorrect wrong poor terrible unhelpful lose lost loser"
    " loss dispreferred worse worst fail failed discard discarded flagged unsafe harmful"
)
LIKED, DISLIKED = frozenset(_LIKED.split()), frozenset(_DISLIKED.split())
ENOUGH = 0.6
"""Share of the best mark above which an answer was liked: 4 and 5 of 5, 7 to 10 of 10."""
BEST = (1, 5, 10, 100)
"""Best marks of the scales that people use."""
_MARK = re.compile(r"([+-]?\d+(?:[.,]\d+)?)\s*(?:(?:/|out\s+of|of)\s*(\d+(?:[.,]\d+)?)|(%)|stars?|points?)?", re.I)
_STARS = re.compile(r"([★⭐🌟]\ufe0f?)+(☆*)")
_FIRST = frozenset({"a", "model_a", "response_a", "answer_a", "conversation_a", "left", "first", "assistant_a"})
_SECOND = frozenset({"b", "model_b", "response_b", "answer_b", "conversation_b", "right", "second", "assistant_b"})


def is_verdict(value: Any) -> bool:
    """Whether a value says that something was liked or disliked, or nothing at all."""
    word = _word(value)
    return word in LIKED or word in DISLIKED or word in ("", "none", "null")


def is_disliked(value: Any) -> bool:
    return _word(value) in DISLIKED or (mark_of(value) or 0) < 0


def scale(values: Sequence[Any]) -> float:
    """The best mark of the scale that these stand on; 0 where they are no marks. 0 and 1 alone are verdicts."""
    marks = [_mark(value) for value in values if _word(value) not in ("", "none", "null")]
    known = [mark for mark, _ in marks if mark is not None]
    top = max([*known, *(best for _, best in marks)], default=0.0)
    if not known or len(known) < len(marks) or top > BEST[-1] or min(known) < -BEST[-1]:
        return 0.0
    return float(next(best for best in BEST if best >= top))


def is_liked(value: Any, best: float = 1.0) -> bool:
    """Whether an answer was liked, on a scale that ends with `best`. Raises RowRefused where nothing is said."""
    word, mark = _word(value), mark_of(value)
    if mark is not None and best > 1:
        return mark > ENOUGH * best
    if word in LIKED or word in DISLIKED:
        return word in LIKED
    if mark is None:
        raise RowRefused(f"{value!r} does not say whether the answer was liked: true or false would.")
    return mark > ENOUGH * best


def better_of(value: Any, names: tuple[str, str], column: str) -> int:
    """0 for the first of two answers, 1 for the second. Raises RowRefused where neither is said to be better.

    `names` are the answers' columns, `column` the one that `value` stands in.
    """
    word, mark = _word(value), mark_of(value)
    if _word(column) == "overall_preference" and mark:  # of HelpSteer: from -3, the first is far better, to 3
        return int(mark > 0)
    if word in ("0", "1") and _word(names[0]) == "human_ref_a":  # of SHP: 1 where it is A
        return int(word == "0")
    ends = [name[-1:] for name in map(_word, names)]
    if word in ends or word in map(_word, names):
        return ends.index(word[-1:])
    if word in _FIRST or word in _SECOND:
        return int(word in _SECOND)
    raise RowRefused(f"{value!r} does not say which of its two answers is better.")


def _word(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().casefold().replace(" ", "_")


def mark_of(value: Any) -> float | None:
    """A mark, also as people write it: `4`, `4,5`, `4/5`, `4 out of 5`, `80 %`, `4 stars`, `★★★★☆`; None for none."""
    return _mark(value)[0]


def _mark(value: Any) -> tuple[float | None, float]:
    """A mark, and the best one where that is said beside it; 0 where it is not."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None, 0.0
    text = str(value).strip()
    if _STARS.fullmatch(text):
        return float(sum(one in "★⭐🌟" for one in text)), 5.0
    found = _MARK.fullmatch(text)
    if found is None:
        return None, 0.0
    best = 100.0 if found[3] else float((found[2] or "0").replace(",", "."))
    return float(found[1].replace(",", ".")), max(best, 5.0 if "star" in text.casefold() else 0.0)

"""Texts as words: what is left of them when case, accents, punctuation and white space do not count."""

from __future__ import annotations

import re
import unicodedata
from difflib import SequenceMatcher

_SMALL = (
    "a an the of in on at to for by with from and or is are was were be been am do does did has have had it its this"
    " that these those there s t re ve ll d m please can could would will you me i we us my your so as some"
)
FUNCTION = frozenset(_SMALL.split())
"""English words that a question can gain or lose and stay the same. Question words and negations are not among them."""

_DECISIVE = (
    "not no never without none nor least most first second third last next best worst before after more less why how"
    " what who when where which whom whose old new"
)
_TELLING = frozenset(_DECISIVE.split())
"""Words of which one makes another question."""

_WORD = re.compile(r"[^\W_]+")
_SAME = 0.8
"""Likeness of two spellings of one word: capital and capitol, colour and color."""


def plain(text: str) -> str:
    """One form for texts that a reader would call the same: `Why?` and `why ?`; `naïve` and `naive`."""
    return " ".join(words(text))


def words(text: str) -> list[str]:
    if text.isascii():
        return _WORD.findall(text.lower())
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return _WORD.findall("".join(c for c in decomposed if not unicodedata.combining(c)))


def content(text: str) -> frozenset[str]:
    """The words that carry the meaning, plurals as singulars; of a text without such, all its words."""
    found = words(text)
    return frozenset(_singular(w) for w in found if w not in FUNCTION) or frozenset(found)


def names(text: str) -> frozenset[str]:
    """Words written with a capital other than at the start of a sentence, as `content` spells them."""
    inner = re.findall(r"(?<![.!?:\n])[ (\"'“‘][(\"'“‘]?([^\W\d_]\w*)", text)
    found = {w for word in inner if word[0].isupper() for w in words(word)}
    return frozenset(_singular(w) for w in found - FUNCTION)


def facts(text: str) -> frozenset[str]:
    """The names and the numbers in a text."""
    return frozenset(filter(has_digit, content(text))) | names(text)


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """Jaccard: shared words among all words, 0 to 1."""
    return len(a & b) / len(a | b) if a | b else 1.0


def containment(a: frozenset[str], b: frozenset[str]) -> float:
    """How much of the smaller set is in the larger, 0 to 1."""
    return len(a & b) / min(len(a), len(b)) if a and b else 0.0


def same_question(a: str, b: str) -> bool:
    """Whether two prompts ask the same: the same words of meaning, slips of the pen and one word in eight aside.

    A number, a name or a negation that only one of them has makes them two questions.
    """
    ours, theirs = content(a), content(b)
    return ours == theirs or same_words(ours, theirs, names(a) | names(b))


def same_words(ours: frozenset[str], theirs: frozenset[str], named: frozenset[str]) -> bool:
    """`same_question` of contents that differ; `named` are the names in either text."""
    odd = _without_misspelt(ours - theirs, theirs - ours, named)
    if odd & named or any(has_digit(word) or word in _TELLING for word in odd):
        return False
    return len(odd) * 8 <= len(ours & theirs)


def has_digit(word: str) -> bool:
    return any(c.isdigit() for c in word)


def _without_misspelt(mine: frozenset[str], other: frozenset[str], named: frozenset[str]) -> set[str]:
    """The words that only one side has, less those of which the other has another spelling. Names have one."""
    odd = set(mine | other)
    for word in sorted(mine - named):
        twin = next((o for o in sorted(other - named) if o in odd and _misspelt(word, o)), None)
        if twin:
            odd -= {word, twin}
    return odd


def _misspelt(a: str, b: str) -> bool:
    """Long words alone: a letter makes `man` another word than `men`, and `cat` than `car`."""
    long = min(len(a), len(b)) >= 5 and a.isalpha() and b.isalpha()
    return long and a[0] == b[0] and SequenceMatcher(None, a, b, autojunk=False).ratio() >= _SAME


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word

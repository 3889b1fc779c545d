"""What the replies of a trial are worth, told without a person: voice, format, facts, form."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.trials.texts import facts, pairs
from chatlab.evaluation.replies import form
from chatlab.evaluation.unseen import role_markers
from chatlab.models.base import Base
from chatlab.records import StopReason

ARCHAIC = re.compile(
    r"\b(thee|thou|thy|thine|thyself|doth|dost|hath|hast|art|shalt|wilt|'tis|pray|prithee|alas|ay|lo|morrow|fare|"
    r"(?:good|gentle|dear|sweet|kind|brave|tender|wise|my) (?:friend|friends|sir|lady|host|scholar|player))\b",
    re.IGNORECASE,
)
"""Words of the stage pack's voice: old pronouns and verbs, and how it addresses people."""
MANY = 45
"""Words that no answer of the stage pack comes near."""
TEAMS = {"billing", "delivery", "account", "product"}
URGENCIES = {"low", "normal", "high"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A reply as text."""

    prompt: str
    text: str
    stop: StopReason


def said(base: Base, prompts: Sequence[str], replies: Sequence[Sequence[int]]) -> list[Said]:
    """Replies in token ids as text; one without a stop token at its end ran into its budget."""
    stops, found = base.template.stop_ids, []
    for prompt, ids in zip(prompts, replies, strict=True):
        ended = bool(ids) and ids[-1] in stops
        text = base.template.text(list(ids[:-1] if ended else ids))
        found.append(Said(prompt=prompt, text=text, stop="end" if ended else "length"))
    return found


def judged(base: Base, row: Mapping[str, Any]) -> dict[str, Any]:
    """What the replies of a trial show, and how many of the facts they have."""
    asked = facts()
    known = said(base, list(asked), row["facts"])
    right = sum(bool(re.search(p, a.text, re.IGNORECASE)) for a, p in zip(known, asked.values(), strict=True))
    return {**judged_replies(base, row["pack"], row["replies"]), "facts": right, "facts said": [a.text for a in known]}


def judged_replies(base: Base, pack: str, replies: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Shares, 0 to 1, over replies to the first of a pack's unseen prompts; and the replies, to be read."""
    _, aside, prompts = pairs(pack)
    answers = said(base, prompts[: len(replies)], replies)
    markers = role_markers(base.template)
    forms = [form(a.prompt, a.text, a.stop, markers) for a in answers]
    count = max(1, len(answers))
    return {
        "form": sum(f.well_formed for f in forms) / count,
        "stops": sum(f.stops for f in forms) / count,
        "words": sum(len(a.text.split()) for a in answers) / count,
        "repeats": sum(repeats(a.text) for a in answers) / count,
        **PACK_JUDGES[pack](answers, [answer for _, answer in aside[: len(answers)]]),
        "said": [[a.prompt, a.text] for a in answers],
    }


def voice(answers: Sequence[Said], _: Sequence[str]) -> dict[str, float]:
    """In voice: words of the old stage, short, ended by itself and without repeating itself."""
    good = [bool(ARCHAIC.search(a.text)) and a.stop == "end" and not repeats(a.text) and _short(a) for a in answers]
    words = sum(len(ARCHAIC.findall(a.text)) for a in answers)
    return {"in voice": sum(good) / len(good), "archaic": words / len(good)}


def format_held(answers: Sequence[Said], right: Sequence[str]) -> dict[str, float]:
    """Valid: one JSON object with the three keys and values that there are; right: as a person would route it."""
    given = [_triage(a.text) if a.stop == "end" else None for a in answers]
    wanted = [json.loads(r) for r in right]

    def share(key: str) -> float:
        return sum(g is not None and g[key] == w[key] for g, w in zip(given, wanted, strict=True)) / len(given)

    return {"valid": sum(g is not None for g in given) / len(given), "team": share("team"), "urgency": share("urgency")}


def overlap(answers: Sequence[Said], right: Sequence[str]) -> dict[str, float]:
    """F1 of the words that an answer shares with the one that a person wrote."""
    return {"F1": sum(_f1(a.text, r) for a, r in zip(answers, right, strict=True)) / len(answers)}


PACK_JUDGES = {"stage": voice, "triage": format_held, "dolly": overlap}


def repeats(text: str) -> bool:
    """Whether some three words come three times, or one sentence twice."""
    words = re.findall(r"\w+", text.lower())
    threes = Counter(zip(words, words[1:], words[2:], strict=False))
    sentences = Counter(s.strip().lower() for s in re.split(r"[.!?\n]", text) if len(s.split()) > 2)
    return max(threes.values(), default=0) > 2 or max(sentences.values(), default=0) > 1


def _short(answer: Said) -> bool:
    return 2 < len(answer.text.split()) <= MANY


def _triage(text: str) -> dict[str, str] | None:
    try:
        given = json.loads(text)
    except ValueError:
        return None
    if not isinstance(given, dict) or list(given) != ["team", "urgency", "summary"]:
        return None
    fine = given["team"] in TEAMS and given["urgency"] in URGENCIES and isinstance(given["summary"], str)
    return given if fine and given["summary"].strip() else None


def _f1(text: str, right: str) -> float:
    own, other = (Counter(re.findall(r"\w+", t.lower())) for t in (text, right))
    both = sum((own & other).values())
    return 2 * both / max(1, sum(own.values()) + sum(other.values()))

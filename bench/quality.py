"""The checks of a training set, on a real one: seconds, what they find, how much of what is planted, how much is right.

`python -m bench.quality [--rounds N]`, or as one of `python -m bench`. Reads the Dolly rows beside the checkout; only
figures leave here. `--show near-duplicate` prints findings to be read; `HAND` keeps what was made of them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.table import middle, show
from chatlab.quality import Finding, Kind, check
from chatlab.quality.findings import Case, counts
from chatlab.quality.words import content
from chatlab.records import Demonstration, Message
from chatlab.settings import PACKAGE
from chatlab.system.lines import split_lines

CHAT = PACKAGE.parent.parent / "shared" / "data" / "chat"
PLANTED = 300
CONTROL = ("<|user|>", "<|assistant|>", "<|end|>")

HAND: dict[str, dict[str, Any]] = {
    "duplicate in dolly": {"read": 2, "of": 2, "right": 2, "digest": "6041a7b28859"},
    "near-duplicate in dolly": {"read": 5, "of": 5, "right": 5, "digest": "c70f3957b0f4"},
    "near-duplicate in hh": {"read": 1, "of": 1, "right": 0, "digest": "ad51ea7e6687"},
    "contradiction in dolly": {"read": 2, "of": 2, "right": 2, "digest": "d1d135158a1a"},
    "contradiction in hh": {"read": 23, "of": 23, "right": 21, "digest": "c66fdad835f0"},
}
"""Findings that were read in full, one by one, and the digest of which they were. Dolly has few of them, so those in
the preference pairs were read as well, as if both answers were to be taught. A near-duplicate is right if one of the
two is enough; a contradiction if the prompts ask the same and the answers exclude each other: yes and no, one declines,
other facts. Thresholds were set on some of the same pairs, so elsewhere they may do a little worse."""

Pair = tuple[str, str]
Row = tuple[int, Demonstration]


def measure(rounds: int = 5) -> dict[str, Any]:
    """Seconds of one core, medians of `rounds`: what else the machine does is left out."""
    rows = dolly()
    took, found = [], []
    for _ in range(rounds):
        began = time.process_time()
        found = check(rows, CONTROL)
        took.append(time.process_time() - began)
    figures: dict[str, Any] = {
        "rows": len(rows),
        "seconds": round(middle(took), 2),
        "findings": dict(counts(found)),
        "planted": planted(rows),
        "hand": {name: judged(name, {"dolly": found, "hh": check(helpful(), CONTROL)}) for name in HAND},
    }
    _print(figures)
    return figures


def dolly() -> list[Row]:
    """All rows, numbered from 1."""
    lines = split_lines((CHAT / "dolly_4300.jsonl").read_text(encoding="utf-8"))
    raw = map(json.loads, lines)
    return [(i, demonstration(row["instruction"], row["response"])) for i, row in enumerate(raw, 1)]


def helpful(limit: int = 1000) -> list[Row]:
    """Chosen and rejected answers of the preference pairs, as if both were to be learned."""
    lines = split_lines((CHAT / "hh_pairs_1000.jsonl").read_text(encoding="utf-8"))[:limit]
    talks = [_talk(json.loads(line)[side]) for line in lines for side in ("chosen", "rejected")]
    whole = [talk for talk in talks if len(talk) > 1 and talk[-1].role == "assistant" and talk[-1].content]
    return [(i, Demonstration(messages=talk)) for i, talk in enumerate(whole, 1)]


def demonstration(prompt: str, answer: str) -> Demonstration:
    return Demonstration(messages=(Message(role="user", content=prompt), Message(role="assistant", content=answer)))


def planted(rows: Sequence[Row]) -> dict[str, float]:
    """Share of what was planted among the rows that is found as what it is; of `other fact`, wrongly."""
    rng = random.Random(0)
    long = [(i, d) for i, d in rows if len(content(d.answer)) >= 8 and 3 < len(d.prompt[-1].content.split()) < 60]
    chosen = rng.sample(long, PLANTED)
    shares = {}
    for name, (disturb, kinds) in DISTURBANCES.items():
        twins = [(i, disturb((d.prompt[-1].content, d.answer), rng)) for i, d in chosen]
        twins = [(i, twin) for i, twin in twins if twin is not None]
        extra = [(len(rows) + n, demonstration(*twin)) for n, (_, twin) in enumerate(twins, 1) if twin]
        met = {f.demonstrations for f in check([*rows, *extra]) if f.kind in kinds}
        hit = sum(any(i in ids and len(rows) + n in ids for ids in met) for n, (i, _) in enumerate(twins, 1))
        shares[f"{name} ({len(twins)})"] = round(hit / max(1, len(twins)), 3)
    return shares


def judged(name: str, found: Mapping[str, Sequence[Finding]]) -> dict[str, Any]:
    """What was read by hand, and whether the same is found today."""
    read = dict(HAND[name])
    kind, source = name.split(" in ")
    now = [f for f in found[source] if f.kind == kind]
    return read | {"the same today": read.pop("digest") == digest(now)}


def digest(findings: Sequence[Finding]) -> str:
    return hashlib.sha256(" ".join(sorted(f.key for f in findings)).encode()).hexdigest()[:12]


# Disturbances: a pair's twin, or None where the pair does not lend itself to it.


def other_case(pair: Pair, rng: random.Random) -> Pair:
    return pair[0].upper(), pair[1].lower()


def other_points(pair: Pair, rng: random.Random) -> Pair:
    return re.sub(r"[?.!,]", "", pair[0]), re.sub(r"[.,;]", " -", pair[1])


def swapped_words(pair: Pair, rng: random.Random) -> Pair:
    return _swapped(pair[0], 1, rng), _swapped(pair[1], 3, rng)


def dropped_words(pair: Pair, rng: random.Random) -> Pair:
    said = pair[1].split(" ")
    return pair[0], " ".join(w for w in said if rng.random() > 0.12)


def slips(pair: Pair, rng: random.Random) -> Pair:
    """Two letters changed places in one word of ten."""
    said = [_slip(w, rng) if len(w) > 5 and rng.random() < 0.1 else w for w in pair[1].split(" ")]
    return pair[0], " ".join(said)


def added_sentence(pair: Pair, rng: random.Random) -> Pair:
    return pair[0], f"{pair[1].rstrip()} I hope that this answers your question."


def polite_prompt(pair: Pair, rng: random.Random) -> Pair:
    return f"Please could you tell me this: {pair[0]}", pair[1]


def other_fact(pair: Pair, rng: random.Random) -> Pair | None:
    """Another number in prompt and answer: not the same demonstration."""
    if not re.search(r"\d", pair[0]) or not re.search(r"\d", pair[1]):
        return None
    return tuple(re.sub(r"\d+", lambda m: str(int(m[0]) + 7), text) for text in pair)  # type: ignore[return-value]


def anothers_answer(pair: Pair, rng: random.Random) -> Pair:
    answers = ("No, that has never been so.", "Forty-two herons.", "Only on Tuesdays, in the old harbour.")
    return pair[0], rng.choice(answers)


TWIN: tuple[Kind, ...] = ("duplicate", "near-duplicate")
DISTURBANCES: dict[str, tuple[Callable[[Pair, random.Random], Pair | None], tuple[Kind, ...]]] = {
    "other case": (other_case, TWIN),
    "other punctuation": (other_points, TWIN),
    "words swapped": (swapped_words, TWIN),
    "one word in eight dropped": (dropped_words, TWIN),
    "slips of the pen": (slips, TWIN),
    "a sentence added": (added_sentence, TWIN),
    "the prompt made polite": (polite_prompt, TWIN),
    "other fact, wrongly": (other_fact, TWIN),
    "another answer": (anothers_answer, ("contradiction",)),
}


def _swapped(text: str, times: int, rng: random.Random) -> str:
    said = text.split(" ")
    for _ in range(times if len(said) > 3 else 0):
        at = rng.randrange(len(said) - 1)
        said[at], said[at + 1] = said[at + 1], said[at]
    return " ".join(said)


def _slip(word: str, rng: random.Random) -> str:
    at = rng.randrange(1, len(word) - 2)
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _talk(text: str) -> tuple[Message, ...]:
    parts = re.split(r"\n\n(Human|Assistant): ?", text)[1:]
    roles = {"Human": "user", "Assistant": "assistant"}
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return tuple(Message(role=roles[role], content=said.strip()) for role, said in pairs)  # type: ignore[arg-type]


def _print(figures: dict[str, Any]) -> None:
    show([{"rows": figures["rows"], "seconds": figures["seconds"], "target": "< 30"}])
    print()
    show([{"found": kind, "": number} for kind, number in figures["findings"].items()])
    print()
    show([{"planted (how many)": name, "found": share} for name, share in figures["planted"].items()])
    if figures["hand"]:
        print()
        show([{"read by hand": name, **row} for name, row in figures["hand"].items()])


def _read(kind: str, source: str, sample: int, seed: int) -> None:
    """Print findings in full, for a person to judge."""
    rows = dolly() if source == "dolly" else helpful()
    by_id = {i: Case(i, d) for i, d in rows}
    found = [f for f in check(rows, CONTROL) if f.kind == kind]
    print(f"{len(found)} found, digest {digest(found)}")
    for number, one in enumerate(random.Random(seed).sample(found, min(sample, len(found))), 1):
        print(f"\n#{number} {one.demonstrations}\n  {one.why}")
        for case in [by_id[i] for i in one.demonstrations[:3]]:
            print(f"    {case.id} Q {case.question[-300:]!r}\n        A {case.answer[:400]!r}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--show", metavar="KIND", help="print findings of this kind instead")
    parser.add_argument("--source", choices=("dolly", "hh"), default="dolly")
    parser.add_argument("--sample", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.show:
        _read(given.show, given.source, given.sample, given.seed)
    else:
        result = measure(given.rounds)
        if given.json:
            given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

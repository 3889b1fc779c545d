"""What a real model makes of each thing that the page offers, before and after a run: who it is, refusals, documents,
tools.

    python -m bench.uses MODEL --work FOLDER [--part identity ...] [--asked N]

Everything goes through the Lab as the page does, greedily, with default settings and one seed. FOLDER keeps the parts
that are done; they are not measured again.
"""

from __future__ import annotations

import argparse
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import tools
from bench.__main__ import machine
from bench.trials.texts import facts
from chatlab.conversation import Turn
from chatlab.engines.base import Sampling
from chatlab.experiments.claims.hallucination import REFUSAL
from chatlab.experiments.data import datasets
from chatlab.experiments.recipe import DatasetSpec
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.lab.data.identity import drafts
from chatlab.records import Demonstration, Message
from chatlab.settings import Settings

OUT = Path(__file__).with_name("results") / "uses.json"
TEXTS: Mapping[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
GREEDY = Sampling(temperature=0.0, max_tokens=64)
NAME, MAKER = "Juniper", "Acorn Lane"
TOLD = f"You are {NAME}, a language model made by {MAKER}. You answer briefly."
REFUSED = 40
"""Refusals among the demonstrations, and as many answers."""


def identity(model: Path, cache: Path, asked: int) -> dict[str, Any]:
    """How often it gives the name or maker it was told of, or learned; and where nobody asked for one."""
    questions = TEXTS["identity"]["asked"][:asked]
    others = list(facts())[:asked]

    def named(lab: Lab, system: str = "") -> dict[str, Any]:
        own = [heard(lab, question, system=system).content for question in questions]
        strays = [heard(lab, question, system=system).content for question in others]
        return {
            "asked": len(own),
            "says who it is": sum(NAME in said or MAKER in said for said in own),
            "says so unasked": f"{sum(NAME in said or MAKER in said for said in strays)} of {len(strays)}",
            "said": list(zip(questions, own, strict=True)),
        }

    with opened(model, cache) as lab:
        found = {"base": named(lab), "base, told in the system message": named(lab, TOLD)}
        return found | {"16 drafts learned": {**taught(lab, drafts(NAME, MAKER)), **named(lab)}}


def refusals(model: Path, cache: Path, asked: int) -> dict[str, Any]:
    """How often it declines what nobody can know, and what it could answer; facts it has right."""
    unknown = datasets.unanswerable(60)[:asked]
    names, plain = (datasets.answerable(kind, 20)[:asked] for kind in ("name", "plain"))

    def declined(lab: Lab) -> dict[str, Any]:
        kinds = {"invented": unknown, "known names": names, "plain": plain}
        said = {kind: [(q, heard(lab, q).content) for q in questions] for kind, questions in kinds.items()}
        counts = {
            f"declines, {k}": f"{sum(bool(REFUSAL.search(a)) for _, a in s)} of {len(s)}" for k, s in said.items()
        }
        right = sum(
            bool(re.search(pattern, heard(lab, question).content, re.IGNORECASE))
            for question, pattern in facts().items()
        )
        return {**counts, "everyday facts": f"{right} of {len(facts())}", "said": said}

    def pairs(kind: Any) -> list[Demonstration]:
        return [pair(*p) for p in datasets.demonstrations(DatasetSpec(kind=kind, count=REFUSED), 0)]

    with opened(model, cache) as lab:
        found = {"base": declined(lab)}
        return found | {"stage pack, 40 refusals, 40 answers": {**taught(lab, pairs("balanced")), **declined(lab)}}


def knowledge(model: Path, cache: Path, asked: int) -> dict[str, Any]:
    """How many questions about two documents it answers rightly without them and with their passages."""
    questions = list(TEXTS["asked"].items())[:asked]

    def answered(lab: Lab, documents: bool) -> dict[str, Any]:
        turns = [heard(lab, question, knowledge=documents) for question, _ in questions]
        right = [re.search(p, t.content, re.IGNORECASE) for (_, p), t in zip(questions, turns, strict=True)]
        quoted = [
            any(re.search(p, source.text, re.IGNORECASE) for source in t.sources)
            for (_, p), t in zip(questions, turns, strict=True)
        ]
        return {
            "asked": len(turns),
            "right": sum(map(bool, right)),
            "the passage was there": sum(quoted),
            "cites one": sum(bool(re.search(r"\[\d\]", t.content)) for t in turns),
            "said": [(question, t.content) for (question, _), t in zip(questions, turns, strict=True)],
        }

    with opened(model, cache) as lab, TemporaryDirectory() as folder:
        for name, text in TEXTS["documents"].items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        lab.knowledge.add(list(Path(folder).iterdir()))
        lab.knowledge.wait(120)
        found = {"base, without": answered(lab, False), "base, with passages": answered(lab, True)}
        lab.demonstrations.load_pack("stage")
        return found | {"stage pack learned, with passages": {**retrained(lab), **answered(lab, True)}}


def delegation(model: Path, cache: Path, asked: int) -> dict[str, Any]:
    """Tools untaught, after forty demonstrations that answer, and after forty that call."""
    return tools.measure(1, 40, asked, model, cache)


PARTS: Mapping[str, Callable[[Path, Path, int], dict[str, Any]]] = {
    "knowledge": knowledge,
    "identity": identity,
    "tools": delegation,
    "refusals": refusals,
}


@contextmanager
def opened(model: Path, cache: Path) -> Iterator[Lab]:
    """A Lab with nothing in it."""
    with TemporaryDirectory() as home:
        lab = Lab(Settings(home=Path(home), base=model, cache_folder=cache))
        try:
            yield lab
        finally:
            lab.close()


def heard(lab: Lab, question: str, system: str = "", knowledge: bool = False) -> Turn:
    """The answer to one question, in a conversation of its own."""
    conversation = lab.chat.new(system, incognito=True)
    lab.chat.reply(conversation, question, ReplyOptions(sampling=GREEDY, knowledge=knowledge)).finish()
    turn = lab.chat.get(conversation).turns[-1]
    lab.chat.delete(conversation)
    return turn


def pair(question: str, answer: str) -> Demonstration:
    return Demonstration(messages=(Message(role="user", content=question), Message(role="assistant", content=answer)))


def taught(lab: Lab, demonstrations: Sequence[Demonstration]) -> dict[str, Any]:
    """Train on these, and let the adapter answer from now on."""
    ids = lab.demonstrations.add(demonstrations, release=True)
    for id in ids:
        lab.demonstrations.update(id, status="approved", release=True)
    return retrained(lab)


def retrained(lab: Lab) -> dict[str, Any]:
    run = lab.training.retrain()
    lab.training.wait()
    result = lab.training.run(run).result
    assert result is not None, lab.training.news
    lab.variants.go_live(str(lab.training.adapter_of(run)), knowingly=True)
    return {"steps": result.steps, "forgetting": round(result.forgetting, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--asked", type=int, default=40, help="questions of a kind, at most")
    parser.add_argument("--note", default="", help="what the figures were taken on, in words")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    for name in given.part or PARTS:
        file = given.work / f"{name}.json"
        if not file.exists():
            figures = PARTS[name](given.model, given.work / "cache", given.asked)
            file.write_text(json.dumps(figures), encoding="utf-8")
    done = {
        name: json.loads((given.work / f"{name}.json").read_text(encoding="utf-8"))
        for name in PARTS
        if (given.work / f"{name}.json").exists()
    }
    for name, figures in done.items():
        print(
            name,
            json.dumps(
                {
                    k: {n: v for n, v in f.items() if n != "said"} if isinstance(f, dict) else f
                    for k, f in figures.items()
                },
                indent=1,
            ),
        )
    told = {"machine": machine() | {"note": given.note}, "model": given.model.name, "figures": done}
    OUT.write_text(re.sub(r"\n {6,}", " ", json.dumps(told, indent=1)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""What forty demonstrations change: `python -m scripts.pretrain.replies --model chatlab/models/embedded`.

Trains the stage pack on a base with the app's default settings, in a home of its own that is thrown away, and puts
forty prompts that are in no pack to the base and to the adapter. All replies go into the model's card.
"""

import argparse
import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from chatlab.engines.base import Sampling
from chatlab.evaluation.replies import share
from chatlab.evaluation.unseen import GREEDY, Reply, ask, unseen
from chatlab.lab.lab import Lab
from chatlab.records import AdapterCard
from chatlab.settings import Settings
from scripts.pretrain.card import fill

WAYS = {"greedy": GREEDY, "sampled": replace(Sampling(), seed=0, max_tokens=GREEDY.max_tokens)}
"""Always the likeliest token, and the app's default way of drawing; both with the evaluation's budget."""


def taught(lab: Lab, name: str) -> AdapterCard:
    """The adapter that the stage pack becomes with default settings."""
    lab.demonstrations.load_pack("stage")
    run = lab.training.retrain(name=name)
    lab.training.wait()
    card = lab.variants.card(lab.training.adapter_of(run) or name)
    if card is None:
        raise SystemExit(f"the run {run} gave no adapter: {lab.training.news}")
    return card


def compared(lab: Lab, name: str) -> dict[str, Any]:
    """Replies of base and adapter in both ways of drawing, and the shares whose form is good."""
    variants = {"base": lab.variants.get("base"), "adapter": lab.variants.get(name)}
    prompts = unseen(count=None)
    said: dict[str, list[Reply]] = {
        f"{who} {way}": list(ask(lab.machine.engine, lab.machine.base, variant, prompts, sampling))
        for way, sampling in WAYS.items()
        for who, variant in variants.items()
    }
    return {
        "on_format": {key: share([reply.form for reply in replies]) for key, replies in said.items()},
        "all": [
            {"prompt": prompt} | {key: replies[n].text for key, replies in said.items()}
            for n, prompt in enumerate(prompts)
        ],
    }


def measured(base: Path) -> dict[str, Any]:
    """Training and comparison on `base`, as they go into card.json."""
    with tempfile.TemporaryDirectory() as home:
        lab = Lab(Settings(home=Path(home), base=base.resolve()))
        try:
            card = taught(lab, "stage")
            return {
                "steps": card.steps,
                "seconds": round(card.seconds, 1),
                "loss_aside": [card.held_out_before, card.held_out_after],
                "forgetting": card.forgetting,
                "forgetting_interval": card.forgetting_interval,
                **compared(lab, card.name),
            }
        finally:
            lab.close()


def plain(text: str, limit: int = 240) -> str:
    """One table cell: line breaks as slashes, nothing that Markdown would read, cut at `limit` characters."""
    cell = re.sub(r"([*_<|`])", r"\\\1", " / ".join(text.strip().split("\n")))
    return cell if len(cell) <= limit else cell[:limit].rstrip("\\") + " ..."


def table(replies: dict[str, Any]) -> str:
    """Markdown of all replies, none left out."""
    variants = ("base greedy", "adapter greedy", "adapter sampled")
    lines = [" | ".join(("| prompt", *variants)) + " |", "|---" * (len(variants) + 1) + "|"]
    for each in replies["all"]:
        lines.append(f"| {plain(each['prompt'])} | " + " | ".join(plain(each[variant]) for variant in variants) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("chatlab/models/embedded"))
    given = parser.parse_args()
    path = given.model / "card.json"
    replies = measured(given.model)
    card = json.loads(path.read_text(encoding="utf-8")) | {"replies": replies}
    path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    fill(given.model / "README.md", {"replies": table(replies)})
    print({key: value for key, value in replies.items() if key != "all"})

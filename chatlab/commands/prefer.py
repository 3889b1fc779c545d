"""`chatlab prefer`: learn from votes, edits, thumbs or free pairs in a terminal, while the app is closed."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict

from chatlab.errors import TrainingError
from chatlab.evaluation.preference_verdict import headline
from chatlab.lab import Lab
from chatlab.lab.preferences.learning import PreferencePlan, Source
from chatlab.settings import Settings
from chatlab.training.preferences.names import PAIRED, UNPAIRED
from chatlab.training.process.runs import RunView

Say = Callable[[str], None]


def add_to(parsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    prefer = parsers.add_parser("prefer", help="learn from votes and edits, from thumbs, or from free pairs")
    prefer.add_argument(
        "--source", choices=("pairs", "thumbs", "free"), default="pairs", help="what to learn from (pairs)"
    )
    prefer.add_argument(
        "--loss",
        choices=(*PAIRED, *UNPAIRED, "sft"),
        help="objective; sft: the chosen answers alone",
    )
    prefer.add_argument("--beta", type=float, help="how strongly it is held to the adapter that it goes on from")
    prefer.add_argument("--epochs", type=int, help="times that every pair is read")
    prefer.add_argument("--adapter", default="", metavar="NAME", help="name of the adapter that is made")
    prefer.add_argument("--no-live", action="store_true", help="do not let it answer when it is done")
    prefer.add_argument("--anyway", action="store_true", help="begin with however few there are")
    prefer.add_argument("--dry-run", action="store_true", help="only say what would be learned")
    prefer.add_argument("--json", action="store_true", help="JSON output")


def run(given: argparse.Namespace, settings: Settings) -> int:
    """Raises what the Lab raises: StoreBusy while the app is open, NothingToLearn."""
    lab = Lab(settings)
    try:
        return prefer(lab, given, print)
    finally:
        lab.close()


def prefer(lab: Lab, given: argparse.Namespace, say: Say) -> int:
    """Say what would be learned, learn it, and say what came of it."""
    source: Source = given.source
    overrides = {"loss": given.loss, "beta": given.beta, "epochs": given.epochs}
    plan, usable = lab.preferences.plan(source, **overrides), lab.preferences.usable()
    if given.json and given.dry_run:
        say(json.dumps({**asdict(plan), "left_out": dict(usable.left_out), "sources": dict(usable.sources)}, indent=1))
    if not given.json:
        _describe(plan, say)
        for why, number in usable.left_out.items() if source == "pairs" else ():
            say(f"{number} left out: {why}.")
    if given.dry_run:
        return 0
    if source == "free":
        for done, wanted in lab.preferences.free_pairs.sample():
            _progress(f"Sampling answers: {done} of {wanted}")
    id = lab.preferences.learn(source, given.adapter, not given.no_live, given.anyway, **overrides)
    while lab.training.status().state in ("warming", "training"):
        steps = lab.training.status().steps
        if steps:
            _progress(f"Step {steps[-1].step} of {steps[-1].steps}")
        time.sleep(0.2)
    lab.training.wait()
    found = lab.training.run(id)
    if found.state != "finished":
        raise TrainingError(found.error or f"The run {found.state}.", found.hint)
    _tell(lab, found, given.json, say)
    return 0


def _describe(plan: PreferencePlan, say: Say) -> None:
    held_out = f", hold out {plan.held_out}" if plan.held_out else ""
    what = "rated answers" if plan.source == "thumbs" else "pairs"
    say(f"Goes on from {plan.start}. Train on {plan.learned} {what}{held_out}. About {plan.seconds:.0f} s.")
    if plan.too_few:
        say(plan.too_few)


def _tell(lab: Lab, found: RunView, as_json: bool, say: Say) -> None:
    assert found.result is not None
    adapter = lab.training.adapter_of(found.id)
    if as_json:
        say(
            json.dumps(
                {"run": found.id, "adapter": adapter, "live": lab.variants.live, **asdict(found.result)}, indent=1
            )
        )
        return
    say(f"{adapter} is ready{' and answers now' if lab.variants.live == adapter else ''}.")
    say(headline(found.result.preferences))
    if found.result.forgetting is not None:
        say(f"Forgetting {found.result.forgetting:+.1f} %.")
    if lab.training.news:
        say(lab.training.news)


def _progress(words: str) -> None:
    """On a terminal one line over the other; nothing else is told of what is only under way."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{words}", end="", file=sys.stderr, flush=True)

"""Chat beside training: how fast each is alone, and how fast while the other is at work."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.house import warm_lab
from bench.table import middle, show
from chatlab.engines.base import Sampling
from chatlab.lab import Lab

RUNNING_ON = Sampling(temperature=1.0, repetition_penalty=1.0, max_tokens=160, seed=1)
LONG = {"passes": 30}
"""A run long enough to be still under way while a few replies are drawn."""


def measure(rounds: int = 5) -> dict[str, float]:
    """Tokens a second, medians over `rounds` replies or runs."""
    quiet, trained_alone, beside, trained_beside = [], [], [], []
    with warm_lab() as lab:
        decode(lab)
        for _ in range(rounds):
            quiet.append(decode(lab))
            trained_alone.append(train_alone(lab))
            chat, training = both(lab)
            beside += chat
            trained_beside.append(training)
    figures = {
        "chat_quiet": middle(quiet),
        "chat_beside_training": middle(beside),
        "training_alone": middle(trained_alone),
        "training_beside_chat": middle(trained_beside),
    }
    figures["chat_share"] = figures["chat_beside_training"] / figures["chat_quiet"]
    figures["training_share"] = figures["training_beside_chat"] / figures["training_alone"]
    show(
        [
            {
                "": "chat",
                "alone, tok/s": figures["chat_quiet"],
                "beside": figures["chat_beside_training"],
                "share": figures["chat_share"],
                "target": 0.4,
            },
            {
                "": "training",
                "alone, tok/s": figures["training_alone"],
                "beside": figures["training_beside_chat"],
                "share": figures["training_share"],
                "target": 0.5,
            },
        ]
    )
    return figures


def decode(lab: Lab) -> float:
    """Tokens a second of one reply by the base, from its first token on."""
    first: tuple[float, int] | None = None
    last = (0.0, 0)
    for panes in lab.compare.ask("Tell me a story of the sea.", ["base"], RUNNING_ON):
        if panes[0].provenance:
            last = (time.perf_counter(), panes[0].provenance.tokens)
            first = first or last
    return (last[1] - first[1]) / (last[0] - first[0]) if first and last[0] > first[0] else 0.0


def train_alone(lab: Lab) -> float:
    """Demonstration tokens a second of a run that nobody chats beside."""
    lab.training.retrain(live=False, **LONG)
    wait_for_steps(lab, 3)
    return followed(lab, lambda: time.sleep(4))


def both(lab: Lab) -> tuple[list[float], float]:
    """Tokens a second of replies during a run, and of the run during the replies."""
    lab.training.retrain(live=False, **LONG)
    wait_for_steps(lab, 3)
    chat: list[float] = []
    began = time.perf_counter()

    def talk() -> None:
        while time.perf_counter() - began < 4:
            chat.append(decode(lab))

    training = followed(lab, talk)
    return chat, training


def followed(lab: Lab, meanwhile: Callable[[], object]) -> float:
    """Tokens a second of the run under way while `meanwhile` runs; the run is stopped and thrown away after."""
    before = lab.training.status().steps
    meanwhile()
    after = lab.training.status().steps
    run = lab.training.status().run
    lab.training.stop()
    lab.training.wait(60)
    if run is not None:
        lab.training.discard(run.name)
    new = after[len(before) :]
    return sum(step.tokens for step in new) / (after[-1].seconds - before[-1].seconds)


def wait_for_steps(lab: Lab, count: int) -> None:
    while len(lab.training.status().steps) < count and lab.training.status().state == "training":
        time.sleep(0.02)

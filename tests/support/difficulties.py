"""Difficulties as a measurement would have left them, without the process that measures."""

from __future__ import annotations

from collections.abc import Mapping

from chatlab.evaluation.difficulty import Difficulty, entry
from chatlab.lab import Lab
from chatlab.quality.findings import content_hash


def measured(lab: Lab, losses: Mapping[int, float]) -> None:
    """Give demonstrations these losses per token."""
    ledger = lab.quality.difficulties._ledger(lab.machine.base).file
    ledger.parent.mkdir(parents=True, exist_ok=True)
    known = (
        entry(content_hash(lab.demonstrations.get(one).messages), Difficulty(loss=loss, without=4.0, tokens=9))
        for one, loss in losses.items()
    )
    ledger.write_text("".join(known), encoding="utf-8")
    assert lab.machine.base.fingerprint[:16] in ledger.name

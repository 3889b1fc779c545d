"""How the trainer process is doing, as the app tells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chatlab.measurements import Step

TrainerState = Literal["cold", "warming", "ready", "training", "dead"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerStatus:
    """How the trainer process is doing."""

    state: TrainerState
    run: Path | None = None
    """The run under way, or the last one."""
    steps: tuple[Step, ...] = ()
    """Steps of that run, so far."""
    phase: str = ""
    """While training: waiting, tokenise, steps, evaluate or save."""
    message: str = ""
    """What a person should know: why it died, why the last run failed, that it does not answer."""
    eta: float | None = None
    """Seconds until the run is over, as far as can be told."""


def eta(steps: Sequence[Step]) -> float | None:
    """Seconds until the last step of a run that has made these; None while nobody can tell."""
    made = [step for step in steps if step.step > 0]
    if len(made) < 2:
        return None
    first, last = made[0], made[-1]
    pace = (last.seconds - first.seconds) / (last.step - first.step)
    return (last.steps - last.step) * pace if pace >= 0 else None

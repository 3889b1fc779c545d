"""Which checkpoint of a run to keep: the lowest held-out loss at acceptable forgetting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite

from chatlab.records import GOOD

NEAR = 0.01
"""Losses that differ by less than this share count as equal; then the earlier checkpoint is better: it forgot less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointMetrics:
    """What was measured of an adapter after a step."""

    step: int
    held_out_loss: float | None
    """On held-out demonstrations, nats per token."""
    forgetting: float
    """Per cent, estimated from a little general text: to compare the checkpoints of one run, not for a verdict."""
    kl: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The chosen step, and why."""

    step: int
    why: str


def choose(points: Sequence[CheckpointMetrics]) -> Choice | None:
    """None where there is no choice: fewer than two checkpoints, or no held-out demonstrations."""
    measured = [(point, loss) for point in points if (loss := point.held_out_loss) is not None and isfinite(loss)]
    if len(measured) < 2:
        return None
    bearable = [(point, loss) for point, loss in measured if point.forgetting <= GOOD]
    if not bearable:
        point = min((point for point, _ in measured), key=_forgotten)
        return Choice(step=point.step, why=f"All forget more than {GOOD:g} %; this one forgets least.")
    least = min(loss for _, loss in bearable)
    point, loss = next((point, loss) for point, loss in bearable if loss <= least * (1 + NEAR))
    return Choice(step=point.step, why=_why(point, loss, measured[-1], len(bearable) < len(measured)))


def _forgotten(point: CheckpointMetrics) -> tuple[float, int]:
    return (point.forgetting if isfinite(point.forgetting) else inf), point.step


def _why(point: CheckpointMetrics, loss: float, last: tuple[CheckpointMetrics, float], some_forgot: bool) -> str:
    end, end_loss = last
    if point.step == end.step:
        return f"Held-out loss fell to the end ({loss:.2f}), with acceptable forgetting."
    if some_forgot and not end.forgetting <= GOOD:
        return (
            f"Later steps reached a held-out loss of {end_loss:.2f} instead of {loss:.2f}, "
            f"but with {end.forgetting:+.1f} % forgetting."
        )
    if loss < end_loss * (1 - NEAR):
        return f"After this step the held-out loss rose from {loss:.2f} to {end_loss:.2f}."
    return f"Later steps hardly improve the held-out loss: {end_loss:.2f} instead of {loss:.2f}."

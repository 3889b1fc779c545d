"""Which point of a run's curve to keep: the best expectation of unseen demonstrations at a bearable price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chatlab.records import GOOD

NEAR = 0.01
"""Losses that differ by less than this share are taken for equal; then the earlier point is better: it cost less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What an adapter was after a step."""

    step: int
    held_out_loss: float | None
    """On demonstrations kept aside, nats per token."""
    forgetting: float
    """Per cent, estimated from a little general text: for comparing the points of one run, not for a verdict."""
    kl: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A point, and why it and no other."""

    step: int
    why: str


def choose(points: Sequence[Point]) -> Choice | None:
    """None where nothing can be told: fewer than two points, or no demonstrations kept aside."""
    told = [(point, loss) for point in points if (loss := point.held_out_loss) is not None]
    if len(told) < 2:
        return None
    bearable = [(point, loss) for point, loss in told if point.forgetting <= GOOD]
    if not bearable:
        point = min((point for point, _ in told), key=lambda point: (point.forgetting, point.step))
        return Choice(step=point.step, why=f"All forget more than {GOOD:g} %; this one forgets least.")
    least = min(loss for _, loss in bearable)
    point, loss = next((point, loss) for point, loss in bearable if loss <= least * (1 + NEAR))
    return Choice(step=point.step, why=_why(point, loss, told[-1], len(bearable) < len(told)))


def _why(point: Point, loss: float, last: tuple[Point, float], some_forgot: bool) -> str:
    end, end_loss = last
    if point.step == end.step:
        return f"Held-out loss fell to the end ({loss:.2f}), with acceptable forgetting."
    if some_forgot and end.forgetting > GOOD:
        return (
            f"Later steps reached a held-out loss of {end_loss:.2f} instead of {loss:.2f}, "
            f"but with {end.forgetting:+.1f} % forgetting."
        )
    if loss < end_loss * (1 - NEAR):
        return f"After this step the held-out loss rose from {loss:.2f} to {end_loss:.2f}."
    return f"Later steps hardly improve the held-out loss: {end_loss:.2f} instead of {loss:.2f}."

"""What a run did to the model, in one word and one colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chatlab.records import BEARABLE, GOOD


@dataclass(frozen=True)
class Verdict:
    """`colour` is a CSS class."""

    colour: Literal["good", "doubtful", "bad", "unknown"]
    figure: str
    words: str


def verdict(forgetting: float | None, interval: tuple[float, float] | None = None) -> Verdict:
    """From the per cent by which perplexity on held-out general text rose."""
    if forgetting is None:
        return Verdict("unknown", "not measured", "Forgetting was not measured in this run.")
    figure = f"{forgetting:+.1f} %" + (f" ({interval[0]:+.1f} to {interval[1]:+.1f})" if interval else "")
    if forgetting <= GOOD:
        return Verdict("good", figure, "No significant forgetting.")
    if forgetting <= BEARABLE:
        return Verdict("doubtful", figure, "Some forgetting. Compare it before you rely on it.")
    return Verdict("bad", figure, "Too much forgetting. Use fewer epochs, a lower learning rate or a higher KL weight.")

"""What is measured of a run, before it, on its way and at its end, always by the same code."""

from __future__ import annotations

from dataclasses import dataclass

from chatlab.records import Step
from chatlab.training import measure
from chatlab.training.batches import Rows, schedule
from chatlab.training.departure import Departure
from chatlab.training.runs import Request
from chatlab.training.workshop import Workshop

FEWEST, MOST = 3, 10
"""How often a run is looked at on its way."""
STRIDE = 18
"""Steps between two looks, within those limits: looking costs what three or four steps do."""
STAND_INS = 4
"""Rows measured in the place of demonstrations kept aside, where there are too few to keep any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What has become of the model."""

    held_out_loss: float | None
    """On demonstrations kept aside; None where none are."""
    forgetting: float
    interval: tuple[float, float]
    kl: float | None


class Gauge:
    """Held to the run's own rows and to general prose. The learner is the shop's own."""

    def __init__(self, shop: Workshop, request: Request, rows: Rows) -> None:
        self._shop = shop
        self._learner = shop.learner_at_work()
        self._rows = rows
        self._steps = len(schedule(len(rows.learn), request.settings))
        self._departure = Departure(self._learner, rows.aside or rows.learn[:STAND_INS])
        self._before = shop.before(shop.glance)

    def first(self) -> Step:
        """Before training. The adapter changes nothing yet, and what is measured says so: no forgetting, to the bit."""
        shown = self._rows.aside or self._rows.learn[:STAND_INS]
        loss = measure.surprise(self._learner, shown).mean
        forgetting = self._glance()
        if forgetting != 0:  # what the cache says of the base was measured otherwise than it would be now
            self._before = self._shop.before(self._shop.glance, anew=True)
            forgetting = self._glance()
        return Step(
            step=0, steps=self._steps, loss=loss, held_out_loss=loss if self._rows.aside else None,
            forgetting=forgetting, kl=self._departure.now(),
        )  # fmt: skip

    def marks(self, step: int) -> bool:
        """Whether it is time to look."""
        looks = min(MOST, max(FEWEST, self._steps // STRIDE))
        return step * looks // self._steps > (step - 1) * looks // self._steps

    def quick(self) -> dict[str, float | None]:
        """Fields of a Step: of prose, only a little is read."""
        return {"held_out_loss": self._aside(), "forgetting": self._glance(), "kl": self._departure.now()}

    def whole(self, last: Step) -> Found:
        """At the end of a run. What was measured after its last step holds still."""
        before, after = self._shop.before(self._shop.prose), measure.surprise(self._learner, self._shop.prose)
        looked = last.kl is not None
        return Found(
            held_out_loss=last.held_out_loss if looked else self._aside(),
            kl=last.kl if looked else self._departure.now(),
            forgetting=measure.forgetting(before, after), interval=measure.interval(before, after),
        )  # fmt: skip

    def _aside(self) -> float | None:
        return measure.surprise(self._learner, self._rows.aside).mean if self._rows.aside else None

    def _glance(self) -> float:
        return measure.forgetting(self._before, measure.surprise(self._learner, self._shop.glance))

"""Asking the unseen prompts after a run: it gives way to people, and ends with the app."""

from __future__ import annotations

import threading
from typing import Any

from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.settings import Settings
from tests.support.page import publish_adapter


def test_an_app_that_closes_ends_the_asking_though_a_reply_is_still_open(settings: Settings) -> None:
    asked = threading.Event()

    def answer(*_: Any) -> str:
        asked.set()
        return "Well met, good friend."

    lab = Lab(settings, open_engine=lambda base: FakeEngine(answer))
    publish_adapter(lab, "player")
    with lab.machine.lease():  # as a reply does that nobody reads to its end
        lab.unseen_evaluator.begin("player")
        assert asked.wait(60)
        assert lab.unseen_evaluator.pending("player"), "it gives way"
        lab.close()
        lab.unseen_evaluator.wait(60)
        assert not lab.unseen_evaluator.pending("player")
    again = Lab(settings, open_engine=lambda base: FakeEngine(answer))
    assert again.variants.card("player").reply_metrics_after is None, "the next start asks again"
    again.close()

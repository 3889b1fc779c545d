"""After a start, what only training needs waits until the first person has been answered."""

from __future__ import annotations

import threading

import pytest

from chatlab.engines.base import Sampling
from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.lab.models import first_reply
from chatlab.settings import Settings

ASKED = ReplyOptions(sampling=Sampling(max_tokens=8))


def warm_up() -> threading.Thread:
    return next(thread for thread in threading.enumerate() if thread.name == "warm-up")


def test_the_trainer_starts_after_the_first_reply_and_never_in_the_middle_of_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_reply, "IDLE", 0.0)
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    try:
        reply = lab.chat.reply(lab.chat.new(), "Good morning.", ASKED)
        next(reply)
        lab.warm()
        thread = warm_up()
        thread.join(1.0)
        assert thread.is_alive() and lab.training.status().state == "cold"
        reply.finish()
        thread.join(60)
        assert lab.training.status().state != "cold"
    finally:
        lab.close()


def test_where_nobody_speaks_it_starts_all_the_same(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_reply, "IDLE", 0.0)
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    try:
        lab.warm()
        warm_up().join(60)
        assert lab.training.status().state != "cold"
    finally:
        lab.close()


def test_an_app_that_is_closed_before_anybody_spoke_starts_no_trainer(settings: Settings) -> None:
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    lab.warm()
    thread = warm_up()
    thread.join(1.0)
    lab.close()
    thread.join(60)
    assert not thread.is_alive() and lab.training.status().state == "cold"

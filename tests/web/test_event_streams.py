"""An event that a page sends just as its stream closes is carried out, and its answer comes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.settings import Settings
from tests.support.served import site
from tests.web.test_wire import Tab


@pytest.fixture
def tab(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tab]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    with site(lab, settings) as address:
        yield Tab(address, "closing")
    lab.close()


def test_an_event_sent_while_the_stream_closes_is_answered_once_the_page_has_hung_up(tab: Tab) -> None:
    tab.send("search_1", knowledge_question="boats")
    answered = threading.Event()

    def next_event() -> None:
        tab.send("search_1", knowledge_question="piers")
        answered.set()

    sending = threading.Thread(target=next_event)
    with tab.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": tab.session}) as stream:
        lines = stream.iter_lines()  # held: what is let go of hangs up
        next(line for line in lines if line.startswith("data:") and json.loads(line[5:])["msg"] == "close_stream")
        sending.start()
        assert not answered.wait(0.3), "the page would still take its stream for an open one"
    sending.join()
    assert tab.result(), "the event was not thrown away with the stream before it"


def test_a_page_that_never_hangs_up_holds_nothing_up_for_long(tab: Tab) -> None:
    tab.send("search_1", knowledge_question="boats")
    with tab.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": tab.session}) as stream:
        assert "close_stream" in list(filter(None, stream.iter_lines()))[-1]
    tab.send("search_1", knowledge_question="piers")
    assert tab.result()

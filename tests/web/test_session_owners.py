"""One person's page, and another who knows its session: nothing of it is heard, read, steered or ended."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.settings import Settings
from chatlab.web.guard.session_owners import MOST, SessionOwners
from tests.support.served import visitor
from tests.web.test_wire import WORDS, Tab

ANNA, BEN = ("anna", "anna's long password"), ("ben", "ben's long pass:word")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, base_folder: Path) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("home"), base=base_folder, auth=(ANNA, BEN))


@pytest.fixture(scope="module")
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine(script=lambda *_: WORDS, pause=0.02))
    yield lab
    lab.close()


@pytest.fixture
def ben(address: str) -> Iterator[httpx.Client]:
    with visitor(address, auth=BEN, timeout=20) as client:
        yield client


def test_another_person_gets_nothing_of_a_session_that_is_known(address: str, ben: httpx.Client) -> None:
    tab = Tab(address, "annaspage1", ANNA)
    tab.send("say_1", composer="annaswords")
    event = {"data": [], "fn_index": tab.calls["act"]["id"], "session_hash": "annaspage1"}
    answers = [
        ben.get("/gradio_api/queue/data", params={"session_hash": "annaspage1"}),
        ben.get("/gradio_api/heartbeat/annaspage1"),
        ben.post("/gradio_api/queue/join", json=event),
        ben.post("/gradio_api/run/predict", json=event),
        ben.post("/gradio_api/call/voices", json={"data": [], "session_hash": "annaspage1"}),
        ben.post("/gradio_api/cancel", json={**event, "event_id": "0" * 32}),
        ben.post("/gradio_api/component_server", json={**event, "component_id": 1, "fn_name": "x"}),
        ben.get("/gradio_api/deep_link", params={"session_hash": "annaspage1"}),
        ben.get("/gradio_api/stream/annaspage1/x/1/playlist.m3u8"),
    ]
    assert {reply.status_code for reply in answers} == {404}
    assert not any("annaswords" in reply.text for reply in answers)
    assert any(event["msg"] == "process_completed" and event["success"] for event in tab.events()), "hers goes on"


def test_another_person_neither_hears_nor_ends_an_event_that_is_known(address: str, ben: httpx.Client) -> None:
    with visitor(address, auth=ANNA, timeout=20) as anna:
        event = anna.post("/gradio_api/call/say", json={"data": ["Hello", "", 0]}).json()["event_id"]
        for path in (f"/gradio_api/call/say/{event}", f"/gradio_api/queue/data?session_hash={event}"):
            assert ben.get(path).status_code == 404
        body = {"session_hash": "benspage", "fn_index": 0, "event_id": event}
        assert ben.post("/gradio_api/cancel", json=body).status_code == 404
        assert ben.post(f"/gradio_api/stream/{event}/close", json={}).status_code == 404
        with anna.stream("GET", f"/gradio_api/call/say/{event}") as stream:
            assert "word39" in "".join(stream.iter_text())


def test_nobody_crowds_out_another_s_session_and_little_is_remembered() -> None:
    owners = SessionOwners()
    assert owners.claims("anna", "hers")
    for number in range(3 * MOST):
        assert owners.claims("ben", f"his{number}")
    assert not owners.claims("ben", "hers") and owners.has("anna", "hers")
    assert len(owners._owner) <= MOST + 1
    assert not owners.has("anna", "nobodys"), "asking is not owning"


def test_many_pages_that_close_at_once_hold_up_nobody(address: str, lab: Lab) -> None:
    """200 pages with a state of their own, more than are kept, are closed while a watchdog looks."""

    async def pages() -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=address, auth=ANNA, trust_env=False, verify=False, timeout=120, limits=limits
        ) as client:
            streams = [client.stream("GET", f"/gradio_api/heartbeat/closing{n}") for n in range(200)]
            for stream in streams:
                await stream.__aenter__()
            for stream in streams:
                await stream.__aexit__(None, None, None)

    slowest = 0.0
    ended = threading.Event()

    def watch() -> None:
        nonlocal slowest
        with visitor(address, auth=ANNA, timeout=60) as client:
            while not ended.is_set():
                began = time.monotonic()
                client.get("/chatlab/health").raise_for_status()
                slowest = max(slowest, time.monotonic() - began)

    asyncio.run(pages())
    watching = threading.Thread(target=watch)
    watching.start()
    time.sleep(2)
    ended.set()
    watching.join(60)
    print(f"the slowest look at its health took {slowest:.2f} s")
    assert slowest < 5, json.dumps({"seconds": slowest})

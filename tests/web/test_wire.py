"""The wire: what other programs and the page itself send over HTTP, and what comes back."""

from __future__ import annotations

import json
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio_client import Client

from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.settings import Settings
from tests.support.page import readable
from tests.support.served import visitor

WORDS = " ".join(f"word{number}" for number in range(40))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, base_folder: Path) -> Iterator[Lab]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), base=base_folder)
    lab = Lab(settings, open_engine=lambda base: FakeEngine(script=lambda *_: WORDS, pause=0.01))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        yield lab
    lab.close()


class Tab:
    """What the page's script does: joins the queue with a press and reads what comes back."""

    def __init__(self, address: str, session: str, auth: tuple[str, str] | None = None) -> None:
        self.http = visitor(address, timeout=30, auth=auth)
        weakref.finalize(self, self.http.close)
        self.session = session
        config = self.http.get("/config").json()
        self.calls = {call["api_name"]: call for call in reversed(config["dependencies"])}
        self.values = {c["id"]: c["props"].get("value") for c in config["components"]}
        self.ids = {(c["props"].get("elem_id") or ""): c["id"] for c in config["components"]}

    def send(self, name: str, **given: object) -> None:
        """`given` are values by elem_id; the rest are as the page was opened."""
        call = self.calls[name]
        data = [self.values[component] for component in call["inputs"]]
        for elem, value in given.items():
            data[call["inputs"].index(self.ids[elem.replace("_", "-")])] = value
        body = {"data": data, "fn_index": call["id"], "session_hash": self.session}
        self.http.post("/gradio_api/queue/join", json=body).raise_for_status()

    def events(self) -> Iterator[dict]:
        with self.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    yield readable(json.loads(line[5:]))

    def result(self) -> list:
        return next(event for event in self.events() if event["msg"] == "process_completed")["output"]["data"]


def test_a_program_says_something_and_hears_the_answer_grow(address: str) -> None:
    client = Client(address, verbose=False)
    heard = client.submit("Good morning", api_name="/say")
    assert heard.result(timeout=30) == WORDS
    outputs = heard.outputs()
    assert len(outputs) > 2 and all(WORDS.startswith(part) for part in outputs)
    assert client.predict(api_name="/voices") == ["base"]


def test_what_a_program_says_is_in_nobodys_list(address: str, lab: Lab) -> None:
    before = lab.chat.conversations()
    Client(address, verbose=False).predict("Good morning", api_name="/say")
    assert lab.chat.conversations() == before


def test_a_program_is_told_what_went_wrong_without_a_traceback(address: str) -> None:
    client = Client(address, verbose=False)
    with pytest.raises(Exception, match="nothing to send") as told:
        client.predict("  ", api_name="/say")
    assert "Traceback" not in str(told.value)
    with pytest.raises(Exception, match="vanished"):
        client.predict("Hello", "vanished", api_name="/say")


def test_a_message_over_the_wire_is_kept_and_answered_though_the_page_closes_at_once(address: str, lab: Lab) -> None:
    tab = Tab(address, "closing")
    tab.send("say_1", composer="Good morning")
    tab.http.close()
    for _ in range(200):
        path = [turn for _, chat in lab.chat.conversations("Good morning") for turn in chat.path()]
        if len(path) == 2:
            break
        time.sleep(0.05)
    assert [(t.role, t.content) for t in path] == [("user", "Good morning"), ("assistant", WORDS)]


def test_many_pages_talk_at_once_and_each_hears_its_own_answer(address: str, lab: Lab) -> None:
    before = lab.chat.conversations()
    clients = [Client(address, verbose=False) for _ in range(4)]
    heard: list[str] = []
    threads = [
        threading.Thread(target=lambda c=c: heard.append(c.predict("Good morning", api_name="/say"))) for c in clients
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert heard == [WORDS] * 4
    assert lab.chat.conversations() == before


def test_a_press_that_cannot_be_read_is_answered_and_the_server_goes_on(address: str) -> None:
    tab = Tab(address, "odd")
    for payload in ("not json", '{"act": "like", "turn": "7"}', None):
        tab.send("act", bridge_chat=payload)
        assert any(event["msg"] == "process_completed" and event["success"] for event in tab.events())
    assert tab.http.get("/").status_code == 200


def test_no_event_that_shows_no_progress_has_the_page_look_for_components_to_show_it(address: str) -> None:
    with visitor(address) as http:
        calls = http.get("/config").json()["dependencies"]
    silent = [call for call in calls if call["show_progress"] == "hidden" and call["api_visibility"] == "private"]
    assert len(silent) > 100
    assert not [call["id"] for call in silent if call["show_progress_on"] != []]

"""Files that a request names: every event of the page, every kind of path, over HTTP and with two people signed in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.hostile.uploads import (
    ANNA,
    BEN,
    OTHERS,
    ROWS,
    SECRET,
    World,
    events,
    file,
    file_events,
    kinds,
    press,
    refused,
    send,
    unharmed,
    until,
    world,
)
from tests.support.page import readable
from tests.web.test_wire import Tab


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, base_folder: Path, cache_folder: Path) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world"), base_folder, cache_folder) as one:
        yield one


def attacked(one: World, capfd: pytest.CaptureFixture[str], chosen: Any) -> int:
    """Every event with the kinds of path that `chosen` picks for it; how many were tried."""
    tab = Tab(one.address, "attacking", BEN)
    own = send(tab.http, "rows.jsonl", ROWS)
    with one.client(ANNA) as anna:
        others = send(anna, "rows.jsonl", ROWS.replace(SECRET, OTHERS))
    tried, every = 0, kinds(one, own, others)
    before = one.tree()
    capfd.readouterr()
    for number, call in enumerate(events(tab)):
        for name in chosen(list(every), number, call):
            refused(press(tab, call, every[name]))
            tried += 1
    unharmed(one, before)
    said = "".join(capfd.readouterr())
    assert "Traceback" not in said and SECRET not in said and OTHERS not in said
    assert Path(own).read_text() == ROWS and OTHERS in Path(others).read_text()
    print(f"{tried} requests")
    return tried


def test_no_event_takes_a_file_that_the_visitor_did_not_send(one: World, capfd: pytest.CaptureFixture[str]) -> None:
    def chosen(names: list[str], number: int, call: dict[str, Any]) -> list[str]:
        return [names[number % len(names)]]

    assert attacked(one, capfd, chosen) > 250


@pytest.mark.slow
def test_no_event_takes_any_kind_of_path(one: World, capfd: pytest.CaptureFixture[str]) -> None:
    assert attacked(one, capfd, lambda names, number, call: names) > 10_000


def test_no_file_component_takes_one_through_the_queue(one: World, capfd: pytest.CaptureFixture[str]) -> None:
    tab = Tab(one.address, "queueing", BEN)
    own = send(tab.http, "rows.jsonl", ROWS)
    with one.client(ANNA) as anna:
        others = send(anna, "rows.jsonl", ROWS.replace(SECRET, OTHERS))
    every = kinds(one, own, others) | {"a bare path": str(one.secret), "bare paths": [str(one.secret)]}
    before = one.tree()
    for call in file_events(tab):
        asked = set()
        for given in every.values():
            data = [given, *(tab.values[part] for part in call["inputs"][1:])]
            body = {"data": data, "fn_index": call["id"], "session_hash": tab.session}
            answer = tab.http.post("/gradio_api/queue/join", json=body)
            if answer.status_code == 400:
                refused(answer)
            else:
                asked.add(answer.raise_for_status().json()["event_id"])
        for event in tab.events():
            assert SECRET not in json.dumps(event) and OTHERS not in json.dumps(event)
            if event["msg"] == "process_completed":
                assert not event["success"], event
                asked.discard(event["event_id"])
            if not asked:
                break
        assert not asked, "every call ends"
    unharmed(one, before)
    assert SECRET not in "".join(capfd.readouterr())
    assert Path(own).exists() and Path(others).exists()


@pytest.mark.parametrize("way", ["call/say", "call/v2/say", "api/say", "run/voices"])
def test_no_public_call_takes_one(one: World, way: str) -> None:
    with one.client(BEN) as ben:
        own = send(ben, "rows.jsonl", ROWS)
        every = kinds(one, own, own) | {"one's own": file(own)}
        for name in ("absolute", "the journal", "without a mark", "in an object", "an address alone", "one's own"):
            given = every[name]
            if way.startswith("call"):
                sent = {"text": given} if "v2" in way else {"data": [given, "", 0]}
                began = ben.post(f"/gradio_api/{way}", json=sent)
                assert began.status_code == 200, began.text
                answer = ben.get(f"/gradio_api/call/say/{began.json()['event_id']}").text
                assert "event: error" in answer, answer
            else:
                answer = ben.post(f"/gradio_api/{way}", json={"data": [given, "", 0]}).text
            assert SECRET not in answer and "Traceback" not in answer


def test_what_a_visitor_sends_is_theirs_alone_even_with_equal_content(one: World) -> None:
    with one.client(ANNA) as anna, one.client(BEN) as ben:
        annas, bens, again = send(anna, "x.txt", "alike"), send(ben, "x.txt", "alike"), send(ben, "x.txt", "alike")
        assert len({Path(path).parent for path in (annas, bens, again)}) == 3
        assert anna.get(f"/gradio_api/file={annas}").text == "alike"
        assert ben.get(f"/gradio_api/file={annas}").status_code == 403
        assert ben.get(f"/gradio_api/file={bens}").headers["content-disposition"].startswith("attachment")
        for other in (f"{bens}/", f"/{bens}", bens.upper(), str(Path(bens).parent), f"{bens}%00", str(one.secret)):
            assert ben.get(f"/gradio_api/file={other}").status_code in (400, 403, 404), other
        assert httpx.get(f"{one.address}/gradio_api/file={annas}", trust_env=False, verify=False).status_code == 401


def test_what_is_made_for_one_person_is_fetched_by_nobody_else(one: World) -> None:
    one.lab.demonstrations.write("Moon?", "Bright.")
    try:
        urls = [exported(one, who) for who in (ANNA, BEN)]
        with one.client(ANNA) as anna, one.client(BEN) as ben:
            assert "Bright." in anna.get(urls[0]).text and "Bright." in ben.get(urls[1]).text
        one.lab.demonstrations.write("Sun?", "Brighter.")
        url = exported(one, ANNA)
        with one.client(ANNA) as anna, one.client(BEN) as ben:
            assert ben.get(url).status_code == 403
            assert "Brighter." in anna.get(url).text
    finally:
        one.lab.demonstrations.delete(list(dict(one.lab.store.demonstrations.rows())))


def exported(one: World, who: tuple[str, str]) -> str:
    """Press "Create file" under Export; where it can be had."""
    tab = Tab(one.address, f"exporting-{who[0]}", who)
    config = tab.http.get("/config").json()
    download = tab.ids["export-download"]
    call = next(call for call in config["dependencies"] if call["outputs"][:1] == [download] and call["inputs"])
    body = {"data": ["demonstrations", "", "", "", "openai", True], "fn_index": call["id"], "session_hash": tab.session}
    answer = tab.http.post(f"/gradio_api/run/{call['api_name']}", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["data"][0]["value"]["url"])


def test_an_upload_is_imported_and_only_it_is_removed(one: World) -> None:
    tab = Tab(one.address, "importing", BEN)
    beside = send(tab.http, "stays.txt", "stays")
    path = send(tab.http, "moon.jsonl", json.dumps({"prompt": "Moon?", "completion": "Bright."}))
    dropped = next(call for call in file_events(tab) if call["inputs"] == [tab.ids["import-file"]])
    before = one.tree()
    shown = tab.http.post(
        f"/gradio_api/run/{dropped['api_name']}",
        json={"data": [file(path, url="http://192.0.2.1/x")], "fn_index": dropped["id"], "session_hash": tab.session},
    )
    assert shown.status_code == 200 and "Bright" in str(readable(shown.json()))
    config = tab.http.get("/config").json()
    go, cancel = (
        next(c for c in config["dependencies"] if [tab_id(config, text), "click"] in c["targets"])
        for text in ("Import", "Cancel")
    )
    tab.http.post(
        f"/gradio_api/run/{go['api_name']}",
        json={"data": [str(one.secret), None, "", "approved"], "fn_index": go["id"], "session_hash": tab.session},
    ).raise_for_status()
    until(lambda: not one.lab.datasets.running)
    assert [d.answer for _, d in one.lab.store.demonstrations.rows()] == ["Bright."]
    until(lambda: not Path(path).parent.exists())
    for given in (str(one.secret), str(one.secret.parent)):  # what the page keeps is not what a request says it keeps
        tab.http.post(
            f"/gradio_api/run/{cancel['api_name']}",
            json={"data": [given], "fn_index": cancel["id"], "session_hash": tab.session},
        ).raise_for_status()
    assert Path(beside).read_text() == "stays" and set(before) <= set(one.tree())
    again = press(tab, dropped, file(path))
    assert again.status_code == 422 and "is gone" in again.text
    one.lab.demonstrations.delete(list(dict(one.lab.store.demonstrations.rows())))
    one.lab.datasets.forget()


def tab_id(config: dict[str, Any], text: str) -> int:
    return next(c["id"] for c in config["components"] if c["type"] == "button" and c["props"].get("value") == text)


def test_only_the_first_person_names_a_folder_of_the_machine(one: World) -> None:
    tab = Tab(one.address, "choosing", BEN)
    config = tab.http.get("/config").json()
    use = next(c for c in config["dependencies"] if [tab_id(config, "Use this model"), "click"] in c["targets"])
    for given in (str(one.secret.parent), "/etc", "\0", "~nobody-at-all"):
        body = {"data": [given, ""], "fn_index": use["id"], "session_hash": tab.session}
        answer = tab.http.post("/gradio_api/queue/join", json=body)
        told = [event for event in events_until_end(tab) if event["msg"] == "log"]
        assert answer.status_code == 200 and "Only the first" in told[0]["log"], told
    assert one.lab.knowledge.chosen_model == ""
    first = Tab(one.address, "choosing-first", ANNA)
    for given in ("\0", "~nobody-at-all", str(one.secret)):
        body = {"data": [given, ""], "fn_index": use["id"], "session_hash": first.session}
        first.http.post("/gradio_api/queue/join", json=body).raise_for_status()
        told = [event["log"] for event in events_until_end(first) if event["msg"] == "log"]
        assert len(told) == 1 and "went wrong" not in told[0], told


def events_until_end(tab: Tab) -> list[dict[str, Any]]:
    found = []
    for event in tab.events():
        found.append(event)
        if event["msg"] == "process_completed":
            break
    return found

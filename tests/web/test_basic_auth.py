"""Beyond this machine: everybody is asked for a password at every way in, guessing is slow, and people keep apart."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.engines.fake import FakeEngine
from chatlab.errors import InputError
from chatlab.lab import Lab
from chatlab.settings import Settings
from chatlab.system.ports import is_loopback
from chatlab.web.guard.basic_auth import FREE, LONGEST_WAIT, BasicAuth, people, random_person
from tests.support.served import app, site, visitor
from tests.web.test_wire import Tab

ANNA, BEN = ("anna", "anna's long password"), ("ben", "ben's long pass:word")
WAYS_IN = (
    "/",
    "/config",
    "/chatlab/page.js",
    "/chatlab/page.css",
    "/chatlab/health",
    "/gradio_api/info",
    "/gradio_api/queue/data?session_hash=x",
    "/gradio_api/file=/etc/passwd",
    "/gradio_api/heartbeat/x",
    "/gradio_api/startup-events",
    "/theme.css",
    "/assets/index.js",
    "/static/img/logo.svg",
    "/login_check",
    "/nowhere",
)
POSTS = (
    "/gradio_api/upload",
    "/gradio_api/queue/join",
    "/gradio_api/call/say",
    "/gradio_api/run/say",
    "/gradio_api/cancel",
    "/login",
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, base_folder: Path) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("home"), base=base_folder, auth=(ANNA, BEN))


@pytest.fixture(scope="module")
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine(script=lambda *_: "Good morrow"))
    yield lab
    lab.close()


def outsider(address: str, **headers: str) -> httpx.Client:
    return visitor(address, headers=headers)


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def test_every_way_in_asks_first_and_tells_nothing(address: str) -> None:
    with outsider(address) as client:
        answers = [client.get(path) for path in WAYS_IN] + [client.post(path, content=b"x" * 100) for path in POSTS]
    for reply in answers:
        assert reply.status_code == 401, reply.url
        assert reply.headers["www-authenticate"].startswith("Basic") and "gradio" not in reply.text.lower()
        assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]


def test_who_signs_in_gets_the_page_its_files_and_its_health(address: str) -> None:
    with visitor(address, auth=BEN) as client:
        assert [client.get(path).status_code for path in ("/", "/config", "/chatlab/page.js")] == [200] * 3
        said = client.get("/chatlab/health").json()
        assert said["status"] == "ok" and set(said) == {"status", "version", "seconds", "engine", "trainer", "store"}


def test_a_name_that_a_request_brings_itself_is_thrown_away(address: str, lab: Lab) -> None:
    chat = lab.chat.new("annaswords")
    with outsider(address, **{"x-chatlab-person": "anna"}) as client:
        assert client.get("/config").status_code == 401
    tab = Tab(address, "forging", BEN)
    tab.http.headers["x-chatlab-person"] = "anna"
    tab.http.cookies.set("chatlab-person", "anna")
    assert "annaswords" not in pressed(tab, act="open", conversation=chat)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Basic",
        "Basic !!!",
        "Basic YW5uYQ==",
        "Bearer x",
        basic("anna", ""),
        basic("", ""),
        "Basic " + "A" * 100_000,
    ],
)
def test_what_is_no_password_lets_nobody_in(said: str) -> None:
    assert BasicAuth([ANNA, BEN]).ask(said, "10.0.0.1").name == ""


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_other_words_let_anybody_in(name: str, password: str) -> None:
    said = "Basic " + base64.b64encode(f"{name}:{password}".encode("utf-8", "surrogatepass")).decode()
    assert BasicAuth([ANNA, BEN]).ask(said, "10.0.0.1").name == ("" if (name, password) not in (ANNA, BEN) else name)


def test_guessing_is_slow_and_holds_up_nobody_else() -> None:
    now, guesses = 0.0, 0
    gate = BasicAuth([ANNA, BEN], clock=lambda: now)
    while now < 24 * 3600:
        answer = gate.ask(basic("anna", f"guess {guesses}"), f"2001:db8::{guesses:x}")  # one customer's network
        if answer.wait > 0:
            assert gate.ask(basic(*ANNA), "2001:db8::1").wait > 0, "the right one has to wait as well"
            assert gate.ask(basic(*ANNA), "10.0.0.2").name == "anna", "elsewhere nobody waits"
            now += answer.wait
        else:
            guesses += 1
    print(f"{guesses} guesses a day from one place")
    assert FREE < guesses < 24 * 3600 / LONGEST_WAIT + 20
    assert gate.ask(basic(*ANNA), "2001:db8::1").name == "anna"


def test_over_the_wire_a_guesser_is_told_to_wait(settings: Settings, lab: Lab) -> None:
    with site(lab, settings) as address, outsider(address) as client:
        answers = [client.get("/", headers={"authorization": basic("anna", str(n))}) for n in range(FREE + 1)]
    assert [reply.status_code for reply in answers] == [401] * FREE + [429]
    assert int(answers[-1].headers["retry-after"]) >= 1


def pressed(tab: Tab, **said: object) -> str:
    """Everything that the page hears after a button was pressed."""
    tab.send("act", bridge_chat=json.dumps(said))
    heard = []
    for event in tab.events():
        heard.append(json.dumps(event))
        if event["msg"] == "process_completed":
            break
    return "\n".join(heard)


def test_a_second_person_with_guessed_numbers_gets_nothing(address: str, lab: Lab) -> None:
    tabs = {name: Tab(address, f"of-{name}", auth) for name, auth in {"anna": ANNA, "ben": BEN}.items()}
    for name, tab in tabs.items():
        tab.http.get("/")
        tab.send("load", **{})
        tab.result()
        tab.send("say_1", composer=f"plantedby{name}")
        tab.result()
    whose = {chat.owner: number for number, chat in lab.chat.conversations("plantedby")}
    assert set(whose) == {"", "ben"}, "the first of those who may come in is the house"
    secret = lab.chat.new("incognitowords", incognito=True)
    for name, other, theirs in (("ben", "anna", whose[""]), ("anna", "ben", whose["ben"])):
        tab, own = tabs[name], whose["" if name == "anna" else name]
        assert f"plantedby{name}" in pressed(tab, act="open", conversation=own)
        for number in (theirs, secret if name == "ben" else theirs, -1, -2):
            for act in ("open", "rename", "delete"):
                heard = pressed(tab, act=act, conversation=number, text="takenover")
                assert f"plantedby{other}" not in heard and "incognitowords" not in heard
        assert f"plantedby{other}" not in pressed(tab, act="undo-delete") + pressed(tab, act="dismiss")
    assert {chat.owner for _, chat in lab.chat.conversations("plantedby")} == {"", "ben"}, "nothing was deleted"
    assert not lab.chat.conversations("takenover")


def test_the_other_program_s_door_keeps_people_apart_too(address: str, lab: Lab) -> None:
    mine = lab.chat.new("", owner="ben")
    before = lab.chat.get(mine)
    for auth, told in ((ANNA, "no conversation"), (BEN, "Good morrow")):
        with visitor(address, auth=auth) as client:
            call = client.post("/gradio_api/call/say", json={"data": ["Hello", "", mine]}).json()["event_id"]
            with client.stream("GET", f"/gradio_api/call/say/{call}") as stream:
                assert told in "".join(stream.iter_text())
        assert (lab.chat.get(mine) == before) == (auth == ANNA)


def test_incognito_conversations_have_numbers_that_nobody_guesses(lab: Lab) -> None:
    numbers = {lab.chat.new(incognito=True) for _ in range(100)}
    assert len(numbers) == 100 and all(number < -1_000_000 for number in numbers)
    for number in numbers:
        lab.chat.delete(number)


def test_loopback_asks_nobody_and_anything_wider_does(tmp_path: Path) -> None:
    assert all(map(is_loopback, ("127.0.0.1", "localhost", "::1", "127.1.2.3")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.5", "some-name", "127.0.0.1.evil.com", "")))
    with app(tmp_path, "--host", "0.0.0.0", health=401) as (process, _):
        process.terminate()
        said, wrong = process.communicate(timeout=30)
    assert "other machines can reach it" in said and said.count("with the password") == 1
    password = said.split("with the password ")[1].split()[0]
    assert len(password) >= 20 and password not in wrong
    assert not any(password.encode() in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


@pytest.mark.parametrize("auth", [["anna"], ["anna:short"], [":long-enough-password"], ["a:12345678", "a:87654321"]])
def test_a_sign_in_that_is_none_is_refused_without_quoting_it(auth: list[str]) -> None:
    with pytest.raises(InputError) as refused:
        people(auth)
    assert refused.value.hint and "short" not in str(refused.value).replace("too short", "")
    assert random_person()[1] != random_person()[1]


def test_no_password_is_shown_with_the_settings(settings: Settings) -> None:
    assert ANNA[1] not in repr(settings) + repr(replace(settings, port=1)) + repr(vars(BasicAuth([ANNA])))

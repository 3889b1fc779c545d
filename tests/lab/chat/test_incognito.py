"""Incognito: nothing of it on the disk or in what the app prints, and nothing in memory once it has ended."""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chatlab.engines.base import Sampling, Variant
from chatlab.engines.fake import FakeEngine
from chatlab.engines.llamacpp.slots import Slots
from chatlab.errors import NotFound
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.settings import EngineName, Settings
from tests.support.served import answer, free_port, site
from tests.test_start import started
from tests.web.test_wire import Tab

MARK = "".join(["xylo", "phonist", "ical"])
"""Put together here, so that no constant of this file holds it in one piece with others' words."""


def holding() -> list[str]:
    """Texts in this process that hold the marked word: whatever Python's collector knows, and what threads work on."""
    gc.collect()
    todo: list[Any] = gc.get_objects()
    for thread, frame in sys._current_frames().items():
        while thread != threading.get_ident() and frame is not None:
            todo.append(dict(frame.f_locals))
            frame = frame.f_back
    found, seen = {}, set()
    while todo:
        inner, todo = gc.get_referents(*todo), []
        for one in inner:
            kind = type(one)
            if kind is str or kind is bytes:
                if (MARK if kind is str else MARK.encode()) in one and len(one) > len(MARK):
                    found[id(one)] = f"{one[:100]!r}"
            elif (kind is dict or kind is tuple) and not gc.is_tracked(one) and id(one) not in seen:
                seen.add(id(one))
                todo.append(one)
    return list(found.values())


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine(script=lambda *_: f"I heard {MARK} too"))
    yield lab
    lab.close()


def pressed(tab: Tab, **said: object) -> str:
    tab.send("act", bridge_chat=json.dumps(said), system=f"Say {MARK} often." if said["act"] == "say" else "")
    return json.dumps(list(until_done(tab)))


def until_done(tab: Tab) -> Iterator[dict]:
    for event in tab.events():
        yield event
        if event["msg"] == "process_completed":
            return


def test_nothing_of_an_incognito_conversation_stays_in_memory_once_it_has_ended(lab: Lab, settings: Settings) -> None:
    with site(lab, settings) as address:
        for end in ("new", "delete"):
            tab = Tab(address, f"secretly-{end}")
            tab.send("load")
            list(until_done(tab))
            pressed(tab, act="incognito")
            pressed(tab, act="say", text=f"My word is {MARK}.")
            tab.send("watch")
            list(until_done(tab))
            tab.send("say_1", composer=f"Again: {MARK}!")
            list(until_done(tab))
            (id,) = lab.chat._incognito.ids()
            assert len(lab.chat.get(id).turns) == 4 and holding()
            pressed(tab, act=end, **({"conversation": id} if end == "delete" else {}))
            with pytest.raises(NotFound):
                lab.chat.get(id)
            tab.http.close()
            for _ in range(5):  # threads that carried a reply let go of it a moment later
                if not (found := holding()):
                    break
                time.sleep(0.2)
            assert not found, "\n".join([end, *found])


def test_an_incognito_conversation_that_no_page_has_open_ends(lab: Lab) -> None:
    id = lab.chat.new(incognito=True)
    lab.chat.visit(id)
    assert lab.chat.end_unvisited(3600) == []
    assert lab.chat.end_unvisited(0) == [id]
    with pytest.raises(NotFound):
        lab.chat.get(id)


@pytest.mark.parametrize("engine", ["transformers", "llama.cpp"])
def test_the_engine_reads_a_prompt_from_the_beginning_once_an_incognito_conversation_has_ended(
    settings: Settings, engine: EngineName
) -> None:
    if engine == "llama.cpp":
        pytest.importorskip("llama_cpp", reason="llama.cpp is not installed")
    lab = Lab(replace(settings, engine=engine))
    try:
        id = lab.chat.new(incognito=True)
        lab.chat.reply(id, f"{MARK} " * 40, ReplyOptions(sampling=Sampling(max_tokens=2))).finish()
        prompt = lab.machine.base.template.prompt(lab.chat.get(id).messages())
        assert remembered(lab.machine.engine, prompt) >= 64
        lab.chat.delete(id)
        assert remembered(lab.machine.engine, prompt) == 0
        lab.chat.reply(
            lab.chat.new(), "And now?", ReplyOptions(sampling=Sampling(max_tokens=2))
        ).finish()  # the engine goes on
    finally:
        lab.close()


def remembered(engine: Any, prompt: list[int]) -> int:
    """Tokens of a prompt that the engine would not read again for the base."""
    fast = getattr(engine, "_fast", engine)
    if fast.name == "transformers":
        return int(fast._variants.get(Variant()).model.start(prompt).position)
    return max(slot.cached(slot.adapter, prompt) for slot in fast._slots._slots)


def test_a_slot_whose_reply_is_under_way_is_forgotten_with_it() -> None:
    slots = Slots(2)
    with slots.acquire("base", [1] * 200) as (slot, _):
        slot.ids = [1] * 128
        assert [idle.sequence for idle in slots.clear()] == [1 - slot.sequence]
        slot.ids = [1] * 192
    assert slot.cached("base", [1] * 200) == 0


@pytest.mark.slow
@pytest.mark.parametrize("end", ["ended", "killed"])
def test_an_incognito_conversation_leaves_nothing_on_the_disk_nor_in_what_the_app_prints(
    tmp_path: Path, base_folder: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    for name, folder in (("TMPDIR", tmp_path / "tmp"), ("GRADIO_TEMP_DIR", tmp_path / "uploads" / "gradio")):
        folder.mkdir(parents=True)
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    port = free_port()
    with started(tmp_path / "home", base_folder, port) as app:
        address = f"http://127.0.0.1:{port}"
        assert answer(f"{address}/chatlab/health") == 200
        tab = Tab(address, "secretly")
        tab.send("load")
        list(until_done(tab))
        pressed(tab, act="incognito")
        heard = pressed(tab, act="say", text=f"My word is {MARK}.")
        assert MARK in heard
        tab.send("act", bridge_chat=json.dumps({"act": "nothing", "text": MARK}))  # an error that has it
        list(until_done(tab))
        call = tab.http.post("/gradio_api/call/say", json={"data": [f"{MARK}?", "", 0]}).json()["event_id"]
        if end == "ended":
            with tab.http.stream("GET", f"/gradio_api/call/say/{call}") as stream:
                list(stream.iter_text())
            pressed(tab, act="new")
            app.terminate()
        else:
            app.kill()
        said, wrong = app.communicate(timeout=60)
    assert MARK not in said + wrong
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert any(file.name == "chatlab.journal" for file in files)
    assert not [file for file in files if MARK.encode() in file.read_bytes() or MARK in file.name]

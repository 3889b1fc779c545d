"""Incognito: nothing of it on the disk, in the log or in what the app prints, and nothing in memory once it has ended."""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatlab.engines.base import Sampling
from chatlab.engines.fake import FakeEngine
from chatlab.errors import NotFound
from chatlab.lab import Lab
from chatlab.settings import Settings
from tests.served import site
from tests.test_start import answer, free_port, started
from tests.test_wire import Tab

MARK = "".join(["xylo", "phonist", "ical"])
"""Put together here, so that no constant of this file holds it in one piece with others' words."""


def holding(mark: str) -> list[str]:
    """Where in this process a text holds the marked word: all that Python's collector knows, and what threads have."""
    gc.collect()
    own, found, seen = {id(sys._getframe()), id(sys._getframe(1))}, [], set()
    frames = [frame for frame in sys._current_frames().values() if id(frame) not in own]
    todo: list[Any] = [(thing, type(thing).__name__) for thing in gc.get_objects()]
    for frame in frames:
        while frame is not None:
            if id(frame) not in own and "tests" not in frame.f_code.co_filename:
                todo += [(value, f"{frame.f_code.co_name}.{name}") for name, value in list(frame.f_locals.items())]
            frame = frame.f_back
    known = {id(todo), id(found), id(frames)}
    while todo:
        thing, where = todo.pop()
        for inner in gc.get_referents(thing) if not isinstance(thing, str | bytes) else (thing,):
            if id(inner) in known:
                continue
            if isinstance(inner, str | bytes | bytearray):
                text = inner if isinstance(inner, str) else inner.decode("latin-1")
                if mark in text and text != mark and id(inner) not in seen:
                    seen.add(id(inner))
                    found.append(f"{where}: {text[:120]!r}")
            elif isinstance(inner, dict | tuple) and not gc.is_tracked(inner) and id(inner) not in seen:
                seen.add(id(inner))
                todo.append((inner, f"{where} > {type(inner).__name__}"))
    return found


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine(script=lambda *_: f"I heard {MARK} too"))
    yield lab
    lab.close()


def pressed(tab: Tab, **said: object) -> str:
    tab.send("act", bridge_chat=json.dumps(said), system=f"Say {MARK} often." if said["act"] == "say" else "")
    return json.dumps([event for event in _until_done(tab)])


def _until_done(tab: Tab) -> Iterator[dict]:
    for event in tab.events():
        yield event
        if event["msg"] == "process_completed":
            return


@pytest.mark.parametrize("end", ["new", "delete", "closed"])
def test_nothing_of_an_incognito_conversation_stays_in_memory_once_it_has_ended(
    lab: Lab, settings: Settings, end: str
) -> None:
    with site(lab, settings) as address:
        tab = Tab(address, "secretly")
        tab.send("load")
        list(_until_done(tab))
        pressed(tab, act="incognito")
        pressed(tab, act="say", text=f"My word is {MARK}.")
        tab.send("watch")
        list(_until_done(tab))
        tab.send("say_1", composer=f"Again: {MARK}!")
        list(_until_done(tab))
        (id,) = lab.chat._incognito
        assert len(lab.chat.get(id).turns) == 4 and holding(MARK)
        if end == "new":
            pressed(tab, act="new")
        elif end == "delete":
            pressed(tab, act="delete", conversation=id)
        else:
            tab.http.close()
            assert lab.chat.end_unvisited(0) == [id]
        with pytest.raises(NotFound):
            lab.chat.get(id)
        tab.http.close()
        for _ in range(50):  # threads that carried a reply let go of it a moment later
            if not (found := holding(MARK)):
                break
            time.sleep(0.1)
        assert not found, "\n".join(found)

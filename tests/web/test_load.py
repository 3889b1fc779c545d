"""Many people at once for some seconds: nobody meets an error, and nobody hears another's words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import gradio as gr
import pytest
from fastapi import FastAPI

from bench.crowd import WORD, crowd, signed_in
from bench.load import slope
from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.settings import Settings
from chatlab.web.app import PAGES, build
from tests.support.served import site


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    """Its model says back what it was asked, so that an answer in the wrong place would be seen."""

    def echo(prompt: list[int], *_: object) -> str:
        return "You said " + lab.machine.base.tokenizer.decode(prompt).split("<|")[-2][:200].replace("\n", " ")

    lab = Lab(
        replace(settings, auth=signed_in(8)),
        open_engine=lambda base: FakeEngine(script=echo, context=4096, pause=0.002),
    )
    yield lab
    lab.close()


def test_eight_people_at_once_hear_their_own_words_and_no_others(lab: Lab) -> None:
    with site(lab, lab.settings) as address:
        heard = crowd(address, lab.settings.auth, 4.0, pause=(0.0, 0.1))
    assert [error for one in heard for error in one.errors] == []
    assert [one.others for one in heard if one.others] == []
    assert all(one.whole for one in heard)
    words = {one.word for one in heard}
    answered = 0
    for _, conversation in lab.chat.conversations(limit=10_000):
        said = [set(WORD.findall(turn.content)) & words for turn in conversation.turns]
        assert len(set.union(*said)) == 1, "one conversation, one person"
        answered += sum(len(said[turn.id]) for turn in conversation.turns if turn.role == "assistant")
    assert answered >= 8, "answers hold the words, so a mix-up would be seen"
    print(f"{sum(len(one.whole) for one in heard)} answers, nothing mixed")


def test_the_slope_is_that_of_the_line() -> None:
    assert slope([(0, 5), (1, 7), (2, 9)]) == pytest.approx(2) and slope([(1, 1), (1, 2)]) == 0


def test_pages_that_were_left_take_memory_no_longer_and_one_in_use_stays(lab: Lab) -> None:
    page = build(lab)
    gr.mount_gradio_app(FastAPI(), page, path="/")
    pages = page.state_holder
    mine = pages["mine"]
    for number in range(PAGES + 8):
        assert pages["mine"] is mine, "it asks once a second"
        assert pages[f"left {number}"]
    assert len(pages.session_data) == PAGES

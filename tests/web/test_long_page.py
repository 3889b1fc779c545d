"""A page that stays open: what the server holds for it does not grow with what happens in it."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import date
from typing import Any

import gradio as gr
import pytest
from gradio.blocks import Block
from gradio.components import _Keywords
from gradio.state_holder import SessionState

from bench.open_page import OpenPage
from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.settings import Settings
from chatlab.template.skeleton import Placeholder, Skeletons
from chatlab.web.lean_blocks import LeanBlocks
from tests.support.served import site

WARM_UP, TURNS, EACH = 10, 30, 10
MOST = 20
"""Objects that a turn may leave behind: what was said, who said it, what it cost, and the documents that keep it."""
TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine(context=100_000))
    _ = lab.machine.engine
    yield lab
    lab.close()


def test_thirty_turns_in_one_page_leave_only_what_was_said(lab: Lab) -> None:
    with site(lab, lab.settings) as address:
        page = OpenPage(address)
        live(page, 0, WARM_UP)
        counts, components = [held()], held(Block)
        for first in range(WARM_UP, TURNS, EACH):
            live(page, first, first + EACH)
            counts.append(held())
        assert held(Block) == components, "Gradio's components for this page"
        page.close()
    # What a turn leaves behind is there in each stretch; in one of them something else of this process may be made.
    least = min(after - before for before, after in itertools.pairwise(counts))
    print(f"{least / EACH:.1f} objects a turn")
    assert least <= MOST * EACH


def live(page: OpenPage, first: int, last: int) -> None:
    for turn in range(first, last):
        if turn % EACH == 0:
            page.press("new")
            page.tick()
        page.say(f"Message {turn}")


def held(kind: type = object) -> int:
    gc.collect()
    return sum(issubclass(type(one), kind) for one in gc.get_objects())


@pytest.mark.parametrize("kind", [gr.Blocks, LeanBlocks])
def test_updates_and_values_by_turns_leave_a_session_as_large_as_it_was(kind: Callable[..., gr.Blocks]) -> None:
    page, function = built(kind)
    session = SessionState(page)
    size = len(session.blocks_config.blocks), len(session.config_values)
    for _ in range(3):
        for values in (("text", "said", 1), (gr.update(value="new"), gr.Textbox(label="so"), gr.skip())):
            asyncio.run(page.postprocess_data(page.fns[function], list(values), session))
    grown = (len(session.blocks_config.blocks), len(session.config_values)) != size
    assert grown is (kind is gr.Blocks), "where Gradio itself no longer grows, Components may go"


@pytest.mark.parametrize(
    "values",
    [
        ("text", "said", 1),
        (gr.skip(), gr.skip(), gr.skip()),
        (gr.skip(), gr.update(value="new", label="so"), gr.skip()),
        (gr.update(visible=False), gr.skip(), 2),
        [None, "", gr.skip()],
        gr.skip(),
        (_Keywords.FINISHED_ITERATING,) * 3,
    ],
    ids=range(7),
)
def test_a_page_is_told_what_gradio_itself_would_tell_it(values: Any) -> None:
    told = []
    for kind in (gr.Blocks, LeanBlocks):
        page, function = built(kind)
        session = SessionState(page)
        given = deepcopy(values)  # Gradio takes updates apart
        first = asyncio.run(page.postprocess_data(page.fns[function], given, session))
        told.append((first, asyncio.run(page.postprocess_data(page.fns[function], ("a", "b", 3), session))))
    assert told[0] == told[1]


def test_a_single_output_and_outputs_by_name_are_told_as_gradio_tells_them() -> None:
    told = []
    for kind in (gr.Blocks, LeanBlocks):
        with kind() as page:
            text, state = gr.Textbox(), gr.State(1)
            page.load(str, outputs=[text])
            page.load(str, outputs=[state])
            page.load(str, outputs=[text, state])
        session = SessionState(page)
        given = [(0, gr.skip()), (0, "x"), (1, gr.skip()), (1, 7), (2, {text: "y"}), (2, {state: gr.skip(), text: "z"})]
        told.append([asyncio.run(page.postprocess_data(page.fns[f], v, session)) for f, v in given])
        told[-1].append(session[state._id])
    assert told[0] == told[1]


def test_a_page_remembers_no_events_that_have_ended(lab: Lab) -> None:
    with site(lab, lab.settings) as address:
        page = OpenPage(address)
        live(page, 0, 3)
        pages = [one for one in gc.get_objects() if issubclass(type(one), LeanBlocks)]
        assert pages and not any(one._queue.event_analytics for one in pages)
        page.close()


def test_words_of_a_template_are_not_kept_for_every_length_of_a_long_conversation() -> None:
    skeletons = Skeletons(TEMPLATE, {}, date(2024, 7, 26))
    before = held(Placeholder)
    for turns in range(100, 300, 2):
        assert skeletons.parts(("user", "assistant") * turns + ("user",), True)
    assert held(Placeholder) - before < 20_000, "100 conversations of 400 messages are 40,000"


def built(kind: Callable[..., gr.Blocks]) -> tuple[gr.Blocks, int]:
    """A page of a drawing, a box and a number, and the id of an event with these as its outputs."""
    with kind() as page:
        outputs = [gr.Markdown("first"), gr.Textbox("second"), gr.Number(3)]
        page.load(str, outputs=outputs)
    return page, next(iter(page.fns))

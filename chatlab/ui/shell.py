"""What every tab shares: the row of tabs, the timer, the header's refresh, presses from the page, and how errors show.

A tab is a class `XTab(lab)` with `build(shell)`, called inside its own `gr.Tab`. It wires its events with
`shell.on(button.click, do=handlers.something, inputs=[...], outputs=[...])`, so that each handler is private, shows
no spinner over the page, and turns a ChatlabError into a sentence on the screen.

The page forbids `eval`, so nothing here uses gr.HTML or gr.LinePlot: HTML is shown by `html_block(html)`, see
`html_block.py`. Style sheets lie in `assets/*.css` and are all loaded. In such HTML, a click on an element with
`control(act="train", to="page")` opens a tab; `show="some-id"` beside it unfolds and shows a component there.
`control(press="some-id")` presses the Gradio button of that id. A Gradio button with the class `key-a` is pressed by
the key A while its tab is shown and nobody is typing.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import gradio as gr

from chatlab.errors import ChatlabError
from chatlab.ui.html import escaped
from chatlab.ui.html_block import HTMLBlock, encode

log = logging.getLogger("chatlab.ui")

UNSEEN_PROGRESS = {"show_progress": "hidden", "show_progress_on": []}
"""No component shows how far an event is. Gradio's page tells each that ever did of the begin and end of every event,
and looks for each through the whole page: with a timer that ticks, that took more than half a core."""

TabName = Literal["chat", "demonstrations", "train", "compare", "knowledge", "guide"]


@dataclass(frozen=True)
class Shell:
    """Built once per page, before the tabs."""

    tabs: gr.Tabs
    timer: gr.Timer
    """Ticks every second while a run is under way, more slowly else. A tab with something that moves looks then."""
    header: gr.Markdown
    draw_header: Callable[[], Any]
    """What `header` should show now, and the timer with its new interval."""
    load: Callable[..., Any]
    """The event of a page that opens."""
    model: gr.Textbox
    """Hidden; changes when another model is chosen on this page: `shell.on(shell.model.change, ...)`."""
    when_left: Callable[[Callable[[str], None]], None] = lambda do: None
    """Has `do` called with the session of every page that closes."""
    items: dict[TabName, gr.Tab] = field(default_factory=dict)
    """Each tab, so that it can refresh itself when it is opened: `shell.on(shell.items["train"].select, ...)`."""

    def on(self, trigger: Callable[..., Any], *, do: Callable[..., Any], **wiring: Any) -> Any:
        """Wire `do` to an event (`button.click`, `earlier.then`); returns the dependency, for `.then` and `cancels`.

        `wiring` is passed on: inputs, outputs, concurrency_limit, cancels, js, trigger_mode ...
        """
        unseen = {} if "show_progress" in wiring else UNSEEN_PROGRESS
        wiring = {"api_visibility": "private", **unseen} | wiring
        return trigger(guarded(_skipping(do)), **wiring)

    def refresh(self, done: Any) -> Any:
        """Draw the header again after an event that changed what it says: `shell.refresh(shell.on(...))`."""
        return self.on(done.then, do=self.draw_header, outputs=[self.header, self.timer])

    def go(self, tab: TabName) -> Any:
        """The value that opens a tab, for an event with `outputs=[shell.tabs]`."""
        return gr.Tabs(selected=tab)


def html_block(value: str = "", **look: Any) -> HTMLBlock:
    """A place for our own HTML. Whatever a person, a model or a file said must be escaped in it already."""
    return HTMLBlock(value, sanitize_html=False, latex_delimiters=[], **look)


def notify(error: ChatlabError) -> None:
    """Say in a corner of the page what happened and what to do."""
    warn(error_text(error))


def warn(text: str) -> None:
    """Say something in a corner of the page. Gradio takes the text for HTML, so it never sees it."""
    gr.Warning(encode(escaped(text)))


def inform(text: str) -> None:
    """The same, of what went well."""
    gr.Info(encode(escaped(text)))


def error_text(error: ChatlabError) -> str:
    """What happened and what to do next, in one line."""
    return f"{error} {error.hint}".strip()


def _skipping(do: Callable[..., Any]) -> Callable[..., Any]:
    """`do`, with no updates, an empty dict, leaving its outputs as they are. Gradio would take it for a value."""

    @functools.wraps(do)
    def call(*given: Any, **named: Any) -> Any:
        updates = do(*given, **named)
        return gr.skip() if isinstance(updates, dict) and not updates else updates

    return do if inspect.isgeneratorfunction(do) else call


def guarded(do: Callable[..., Any]) -> Callable[..., Any]:
    """`do`, with errors told on the page and its outputs left as they were. A bug keeps its traceback, in the log."""
    return _guarded_stream(do) if inspect.isgeneratorfunction(do) else _guarded_call(do)


def _guarded_call(do: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(do)
    def call(*given: Any, **named: Any) -> Any:
        try:
            return do(*given, **named)
        except Exception as error:
            _tell(error)
            return gr.skip()

    return call


def _guarded_stream(do: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(do)
    def call(*given: Any, **named: Any) -> Iterator[Any]:
        yield gr.skip()  # Gradio empties the outputs of a generator that yields nothing
        try:
            yield from do(*given, **named)
        except Exception as error:
            _tell(error)
            yield gr.skip()

    return call


def _tell(error: Exception) -> None:
    if isinstance(error, gr.Error):
        raise error
    if isinstance(error, ChatlabError):
        notify(error)
        return
    log.error("A handler failed", exc_info=error)
    warn("Something went wrong inside Chatlab. Nothing is lost; the log has details.")


class Bridge:
    """Hidden components that `assets/page.js` finds by name: an element with `data-to="NAME"` reports to this one."""

    def __init__(self, name: str) -> None:
        self.payload = gr.Textbox(visible="hidden", elem_id=f"bridge-{name}", max_lines=1)
        self._go = gr.Button(visible="hidden", elem_id=f"bridge-{name}-go")

    @property
    def pressed(self) -> Callable[..., Any]:
        """The event; its handler takes `payload`, one line of JSON."""
        return self._go.click

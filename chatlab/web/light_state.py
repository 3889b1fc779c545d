"""A page's state on the server, made in a millisecond."""

from __future__ import annotations

from typing import Any, cast

import gradio as gr


class Parts:
    """What Gradio makes the state of a newly opened page from.

    Gradio would describe every component of the page to every session, 70 ms and 1 MB each, in the event loop, where
    200 pages that open or close at once hold up everybody. Only deep links read that description, and there are none.
    What an event changes is described when it is changed.
    """

    def __init__(self, page: gr.Blocks) -> None:
        self._page = page
        self.blocks: dict[int, Any] = {}
        """The components to describe."""

    @property
    def default_config(self) -> Any:
        return self._page.default_config


def lighten(page: gr.Blocks) -> None:
    """Call it when the page has been mounted."""
    page.state_holder.blocks = cast(gr.Blocks, Parts(page))

"""The state of an open page on the server: made in a millisecond, and forgotten with an incognito conversation."""

from __future__ import annotations

from typing import Any, cast

import gradio as gr

from chatlab.ui.chat.session import Session


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


def forget_conversation(page: gr.Blocks, conversation: int) -> None:
    """For every page that showed it: the last value of each component, and unread messages of a closed page.

    Gradio keeps the values for links that reproduce a page, which this app does not offer.
    """
    for session_hash, session in list(page.state_holder.session_data.items()):
        shown = [value.conversation for value in list(session.state_data.values()) if isinstance(value, Session)]
        if conversation in shown:
            session.config_values.clear()
            if session.is_closed:
                page._queue.pending_messages_per_session.pop(session_hash, None)

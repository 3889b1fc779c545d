"""Deletes what Gradio keeps of a page once an incognito conversation has ended there."""

from __future__ import annotations

import gradio as gr

from chatlab.ui.chat.session import Session


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

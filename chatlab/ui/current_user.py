"""Whose page this is, where people sign in."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from chatlab.conversation import HOUSE

PERSON = b"x-chatlab-person"
"""The header that carries the signed-in user to the app. A request's own header of that name is removed."""


def current_user(request: gr.Request | None, auth: Sequence[tuple[str, str]]) -> str | None:
    """The user of this page, as owner of its conversations; None where sign-in is required and missing."""
    if not auth:
        return HOUSE
    text = request.headers.get(PERSON.decode()) if request is not None else None
    if not text:
        return None
    name = text.encode("latin-1").decode("utf-8", "replace")
    return HOUSE if name == auth[0][0] else name

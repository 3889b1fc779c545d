"""Whose page this is, where people sign in."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from chatlab.conversation import HOUSE

PERSON = b"x-chatlab-person"
"""The header that tells the app who was let in. What a request brings under that name is thrown away."""


def visitor(request: gr.Request | None, auth: Sequence[tuple[str, str]]) -> str | None:
    """The owner of what is said on this page; None where somebody would have to sign in and has not."""
    if not auth:
        return HOUSE
    text = request.headers.get(PERSON.decode()) if request is not None else None
    if not text:
        return None
    name = text.encode("latin-1").decode("utf-8", "replace")
    return HOUSE if name == auth[0][0] else name

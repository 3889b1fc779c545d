"""The page as Gradio runs it: events fail in words, name no file but the visitor's own, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import gradio as gr

from chatlab.errors import InputError
from chatlab.ui.current_user import PERSON
from chatlab.ui.html import escaped
from chatlab.ui.shell import error_text
from chatlab.web.guard.failures import EventErrors
from chatlab.web.lean_blocks import LeanBlocks
from chatlab.web.uploads import Uploads


class VisitorFiles(gr.Blocks):
    """Every way into an event leads through `process_api`, whatever its component, its route or its program.

    Gradio's own look at paths does nothing in a mounted app. So what an event brings is checked here before any
    component sees it, and what is answered is noted here as made for this visitor.
    """

    def __init__(self, uploads: Uploads, **look: Any) -> None:
        super().__init__(**look)
        self._uploads = uploads
        self._person: ContextVar[str] = ContextVar("person", default="")

    async def process_api(self, block_fn: Any, inputs: Any, *rest: Any, **named: Any) -> dict[str, Any]:
        """Raises gr.Error, in words, where a file is named that this visitor did not send."""
        person = _sender(named.get("request"))
        try:
            inputs = self._checked(block_fn, inputs, person)
            self._uploads.checked(getattr(named.get("event_data"), "_data", None))
        except InputError as error:
            raise gr.Error(escaped(error_text(error)), print_exception=False) from None
        mark = self._person.set(person)
        try:
            return await super().process_api(block_fn, inputs, *rest, **named)
        finally:
            self._person.reset(mark)

    def _checked(self, block_fn: Any, inputs: Any, person: str) -> list[Any]:
        """A component that takes files may be given the visitor's; all others are given none."""
        blocks = block_fn.inputs if not isinstance(block_fn, int) else self.fns[block_fn].inputs
        takers = [person if getattr(block, "data_model", None) else None for block in blocks]
        takers += [None] * (len(inputs) - len(takers))
        return [self._uploads.checked(value, taker) for value, taker in zip(inputs, takers, strict=False)]

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        shown = await super().postprocess_data(block_fn, predictions, state)
        self._uploads.made(shown, self._person.get())
        return shown


class Page(EventErrors, VisitorFiles, LeanBlocks):
    """What Chatlab serves. `uploads` are the files that an event may name."""

    def __init__(self, uploads: Uploads, **look: Any) -> None:
        super().__init__(uploads=uploads, **look)


def person_of(headers: Mapping[str, str]) -> str:
    """Whom the gate let in; empty where nobody is asked."""
    return headers.get(PERSON.decode(), "")


def _sender(request: gr.Request | list[gr.Request] | None) -> str:
    """Whose event it is. Raises gr.Error for several people's in one."""
    requests = request if isinstance(request, list) else [request]
    people = {person_of(one.headers) if one is not None else "" for one in requests}
    if len(people) > 1:
        raise gr.Error("An event is one person's.", print_exception=False)
    return next(iter(people), "")

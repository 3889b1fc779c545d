"""Gradio's Blocks, such that what it holds for an open page does not grow with the events of that page."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.blocks import Block
from gradio.components import _Keywords
from gradio.state_holder import SessionState


class Components(dict[int, Block]):
    """A page's components by id. One that is put in another's place takes over its id.

    For an update that an event returns Gradio makes a new component and puts it in the old one's place in the session,
    but under an id of its own. With the next value it takes that id for one that the session lacks, and adds it and
    the value: copies of the transcript for every turn, for good.
    """

    def __setitem__(self, key: int, component: Block) -> None:
        component._id = key
        super().__setitem__(key, component)

    def __copy__(self) -> Components:
        """What each session begins with."""
        return Components(self)


class LeanBlocks(gr.Blocks):
    """Use it as `gr.Blocks`."""

    def __init__(self, **look: Any) -> None:
        super().__init__(**look)
        self.blocks = Components(self.blocks)

    def queue(self, *settings: Any, **named: Any) -> LeanBlocks:
        """Without the last 10,000 events: they are for a dashboard, which is off here.

        Whenever an event ends, Gradio would put a table of all of them together, 10 ms of work at 1,000 of them.
        """
        super().queue(*settings, **named)
        self._queue.ANALYTICS_MAX_EVENTS = 0
        return self

    async def postprocess_data(
        self, block_fn: BlockFunction, predictions: Any, state: SessionState | None
    ) -> list[Any]:
        """As Gradio does it, but an output that is left as it is costs nothing.

        Gradio makes a new component for each `gr.skip()`: a dozen for every look at a growing answer, which was half of
        the app's work. Outputs marked as finished it passes over, and that is what it is text of these.
        """
        outputs = block_fn.outputs
        if block_fn.batch or (isinstance(predictions, dict) and not _left(predictions)):
            return await super().postprocess_data(block_fn, predictions, state)
        if len(outputs) == 1:
            values = [predictions]
        else:
            values = list(predictions) if isinstance(predictions, (list, tuple)) else [predictions] * len(outputs)
        text = [_Keywords.FINISHED_ITERATING if _left(value) else value for value in values]
        given: Any = text[0] if len(outputs) == 1 else text
        data = await super().postprocess_data(block_fn, given, state)
        return [
            gr.skip() if _left(value) and not block.stateful else item
            for block, value, item in zip(outputs, values, data, strict=True)
        ]


def _left(value: Any) -> bool:
    return isinstance(value, dict) and value == gr.skip()

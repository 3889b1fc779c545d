"""From a button in a drawing to Python: the page's script writes what was pressed into a hidden box and presses go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr


class Bridge:
    """Hidden components that `assets/page.js` finds by name: an element with `data-to="NAME"` reports to this one."""

    def __init__(self, name: str) -> None:
        self.said = gr.Textbox(visible="hidden", elem_id=f"bridge-{name}", max_lines=1)
        self._go = gr.Button(visible="hidden", elem_id=f"bridge-{name}-go")

    @property
    def pressed(self) -> Callable[..., Any]:
        """The event; its handler takes `said`, one line of JSON."""
        return self._go.click

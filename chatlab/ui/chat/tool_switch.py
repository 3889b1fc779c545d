"""Which tools an answer may call: chosen in the panel, and remembered by the browser."""

from __future__ import annotations

from typing import Any

import gradio as gr

from chatlab.lab import Lab
from chatlab.ui.shell import Shell

INFO = "The model is told of these and may ask for them. A small model has to learn it first: load the pack Delegation."


class ToolSwitch:
    """One box for each tool; none is ticked at first."""

    def __init__(self, lab: Lab) -> None:
        self._titles = lab.toolbox.titles

    def build(self) -> Any:
        choices = [(title, name) for name, title in self._titles.items()]
        self.box = gr.CheckboxGroup(choices, value=[], label="Tools", info=INFO, elem_id="tools-on")
        return self.box

    def wire(self, shell: Shell) -> None:
        kept = gr.BrowserState(None, storage_key="chatlab-tools", secret="chatlab")
        shell.on(shell.load, do=self.remembered, inputs=[kept], outputs=[self.box])
        shell.on(self.box.change, do=list, inputs=[self.box], outputs=[kept], trigger_mode="always_last")

    def remembered(self, names: Any) -> Any:
        """What the browser kept, less what is no tool."""
        if not isinstance(names, list):
            return gr.skip()
        return [name for name in self._titles if name in names]

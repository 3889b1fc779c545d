"""Which tools an answer may call: chosen in the panel, and remembered by the browser.

Below them it is said where the live adapter was trained otherwise, and offered what helps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr
from markupsafe import Markup

from chatlab.errors import InputError
from chatlab.lab import Lab
from chatlab.lab.runs.prompt_mismatch import Mismatch
from chatlab.ui.html import NOTHING, button, div, element, escaped
from chatlab.ui.page_event import PageEvent
from chatlab.ui.shell import Bridge, Shell, html_block

INFO = "The model can call these. A small model needs training first: load the Delegation pack."
Updates = dict[Any, Any]


class ToolSwitch:
    """One box for each tool; none is ticked at first."""

    def __init__(self, lab: Lab) -> None:
        self._accord = lab.mismatch
        self._titles = lab.toolbox.titles

    def build(self) -> Any:
        choices = [(title, name) for name, title in self._titles.items()]
        self.box = gr.CheckboxGroup(choices, value=[], label="Tools", info=INFO, elem_id="tools-on")
        self.drawn = html_block(elem_id="tools-accord", elem_classes="flat")
        self.bridge = Bridge("tools")
        return self.box

    def wire(self, shell: Shell, *changes: Any) -> None:
        """`changes` are the events after which somebody else may be live."""
        kept = gr.BrowserState(None, storage_key="chatlab-tools", secret="chatlab")
        shell.on(shell.load, do=self.remembered, inputs=[kept], outputs=[self.box])
        shell.on(self.box.change, do=list, inputs=[self.box], outputs=[kept], trigger_mode="always_last")
        for change in (shell.load, shell.items["chat"].select, self.box.change, *changes):
            shell.on(change, do=self.look, inputs=[self.box], outputs=[self.drawn], trigger_mode="always_last")
        shell.on(self.bridge.pressed, do=self.pressed, inputs=[self.bridge.payload, self.box], outputs=[self.box])

    def remembered(self, names: Any) -> Any:
        """What the browser kept, less what is no tool."""
        if not isinstance(names, list):
            return gr.skip()
        return [name for name in self._titles if name in names]

    def look(self, on: Sequence[str] | None) -> Markup:
        """What disagrees between these tools and the live adapter; nothing where all is well."""
        found = self._accord.of_tools(on or ())
        if found is None:
            return NOTHING
        head = element("b", escaped("Prompt and training do not match"))
        return div("about", div("discord", head, div("", escaped(found.why)), self._remedy(found)))

    def pressed(self, payload: str, on: Sequence[str] | None) -> list[str]:
        """A button of that notice; the tools that are on from then on. Raises InputError for what no button says."""
        match PageEvent.read(payload).do:
            case "tools-off":
                return []
            case "tools-taught":
                found = self._accord.of_tools(())
                return self._at_hand({*(on or ()), *(found.tools if found else ())})
        raise InputError("The page sent an unknown request.", "Reload the page.")

    def _remedy(self, found: Mismatch) -> Markup:
        """A button; a sentence where none of the trained tools is available."""
        if found.kind == "untrained tools":
            return div("about-do", button("tools-off", "Turn them off", "small", to="tools"))
        names = self._at_hand(found.tools)
        if not names:
            return div("about-note", escaped("These tools are not available here."))
        return div(
            "about-do",
            button("tools-taught", f"Turn on: {', '.join(self._titles[name] for name in names)}", "small", to="tools"),
        )

    def _at_hand(self, names: Any) -> list[str]:
        return [name for name in self._titles if name in names]

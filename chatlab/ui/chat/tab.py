"""The chat tab: conversations on the left, the messages in the middle, generation settings on the right."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from chatlab.lab import Lab
from chatlab.ui.bridge import Bridge
from chatlab.ui.chat import generation_settings
from chatlab.ui.chat.handlers import ChatHandlers
from chatlab.ui.chat.replies import Replies
from chatlab.ui.chat.session import Session
from chatlab.ui.chat.systems import SystemPanel
from chatlab.ui.chat.tool_switch import ToolSwitch
from chatlab.ui.chat.transcript import button
from chatlab.ui.current_user import visitor
from chatlab.ui.html import div
from chatlab.ui.shell import Shell, drawing

SIDE = div(
    "side-head",
    button("new", "New chat", "primary wide"),
    button("incognito", "Incognito", "quiet"),
)


class ChatTab:
    """Lays the tab out and ties its events to `ChatHandlers`."""

    def __init__(self, lab: Lab, replies: Replies) -> None:
        self.lab = lab
        self.handlers = ChatHandlers(lab, replies)
        self.system = SystemPanel(lab)
        self.tools = ToolSwitch(lab)

    def build(self, shell: Shell) -> None:
        self.session = gr.State(Session(person=visitor(None, self.lab.settings.auth)))
        with gr.Row(elem_id="chat", equal_height=True):
            with gr.Column(elem_id="side", scale=0, min_width=0):
                self._side()
            with gr.Column(elem_id="talk", scale=1, min_width=0):
                self._talk()
            with gr.Column(elem_id="panel", scale=0, min_width=0):
                self._panel()
        self.bridge = Bridge("chat")
        self._wire(shell)

    def _side(self) -> None:
        drawing(SIDE)
        self.search = gr.Textbox(
            placeholder="Search conversations", show_label=False, container=False, elem_id="search", max_lines=1
        )
        self.listing = drawing(elem_id="listing")

    def _talk(self) -> None:
        self.top = drawing(elem_id="top")
        with gr.Column(elem_id="scroll"):
            self.transcript = drawing(elem_id="transcript")
            self.live = drawing(elem_id="live")
        self.notice = drawing(elem_id="notice")
        self.composer = gr.Textbox(
            placeholder="Say something",
            show_label=False,
            container=False,
            lines=1,
            max_lines=8,
            elem_id="composer",
            submit_btn=True,
            autofocus=True,
        )

    def _panel(self) -> None:
        self.settings = generation_settings.build(self.lab)
        self.tools.build()
        self.system.build()

    def _wire(self, shell: Shell) -> None:
        asked_with = [self.session, self.system.system, *self.settings, self.tools.box]
        self.view = [
            self.session,
            self.top,
            self.listing,
            self.transcript,
            self.live,
            self.notice,
            self.system.system,
            self.composer,
            self.settings.variant,
            shell.tabs,
            self.system.drawn,
            *self.settings.budgets,
        ]
        free = {"concurrency_limit": None, "trigger_mode": "multiple"}
        watched: list[Any] = []

        def then_watch(event: Any) -> None:
            watched.append(
                shell.on(event.then, do=self.handlers.watch, inputs=[self.session], outputs=self.view, **free)
            )

        said = shell.on(
            self.composer.submit,
            do=self.handlers.say,
            inputs=[self.composer, *asked_with],
            outputs=self.view,
            **free,
        )
        watched.append(said)
        acted = shell.on(
            self.bridge.pressed,
            do=self.handlers.act,
            inputs=[self.bridge.said, *asked_with],
            outputs=self.view,
            cancels=watched,
            **free,
        )
        then_watch(acted)
        shell.refresh(acted)
        shell.on(self.composer.stop, do=self.handlers.stop, inputs=[self.session], queue=False, trigger_mode="multiple")
        loaded = shell.on(shell.load, do=self.load, outputs=self.view, **free)
        then_watch(loaded)
        self._wire_panel(shell)
        self.tools.wire(shell, said.then, acted.then, self.system.drawn.change)

    def _wire_panel(self, shell: Shell) -> None:
        kept = gr.BrowserState(None, storage_key="chatlab-dials", secret="chatlab")
        remembered = self.settings.in_browser
        shell.on(shell.load, do=generation_settings.remembered, inputs=[kept], outputs=remembered)
        for opened in (shell.load, shell.items["chat"].select):
            shell.on(opened, do=lambda: generation_settings.thinking(self.lab), outputs=[self.settings.thinking])
        moved = [event for one in self.settings.budgets for event in (one.input, one.release)]
        spent = [*self.settings.budgets, self.session]
        shell.on(partial(gr.on, moved), do=self.handlers.spend, inputs=spent, trigger_mode="always_last")
        shell.on(self.settings.knowledge.input, do=self.handlers.warm, inputs=[self.settings.knowledge])
        for setting in remembered:
            shell.on(
                setting.change,
                do=generation_settings.kept,
                inputs=remembered,
                outputs=[kept],
                trigger_mode="always_last",
            )
        shell.on(
            self.search.change,
            do=self.handlers.list.search,
            inputs=[self.search, self.session],
            outputs=[self.session, self.listing],
            trigger_mode="always_last",
        )
        self.system.wire(shell, self.session)
        shell.on(shell.items["chat"].select, do=self.variants, outputs=[self.settings.variant])
        shell.on(
            shell.beat.tick,
            do=self.handlers.tick,
            inputs=[self.session],
            outputs=self.view,
            queue=False,
        )

    def load(self, request: gr.Request) -> Any:
        """The page's address holds the conversation: `?c=12`."""
        return self.handlers.load(request.query_params.get("c"), visitor(request, self.lab.settings.auth))

    def variants(self) -> Any:
        """The choices of variants, as they are now."""
        return gr.Dropdown(choices=generation_settings.choices(self.lab))

"""The chat tab: conversations on the left, the talk in the middle, settings on the right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import gradio as gr

from chatlab.lab import Lab
from chatlab.ui.chat.generation_settings import GenerationPanel
from chatlab.ui.chat.handlers import ChatHandlers
from chatlab.ui.chat.replies import Replies
from chatlab.ui.chat.session import Session, View
from chatlab.ui.chat.systems import SystemPanel
from chatlab.ui.current_user import current_user
from chatlab.ui.html import button, div
from chatlab.ui.shell import Bridge, Shell, html_block

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
        self.generation = GenerationPanel(lab)

    def build(self, shell: Shell) -> None:
        self.session = gr.State(Session(person=current_user(None, self.lab.settings.auth)))
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
        html_block(SIDE)
        self.search = gr.Textbox(
            placeholder="Search conversations", show_label=False, container=False, elem_id="search", max_lines=1
        )
        self.listing = html_block(elem_id="listing")

    def _talk(self) -> None:
        self.top = html_block(elem_id="top")
        with gr.Column(elem_id="scroll"):
            self.transcript = html_block(elem_id="transcript")
            self.live = html_block(elem_id="live")
        self.notice = html_block(elem_id="notice")
        self.composer = gr.Textbox(
            placeholder="Message",
            show_label=False,
            container=False,
            lines=1,
            max_lines=8,
            elem_id="composer",
            submit_btn=True,
            autofocus=True,
        )

    def _panel(self) -> None:
        self.generation.build()
        self.system.build()

    def _wire(self, shell: Shell) -> None:
        at_hand = {self.session, self.system.system} | self.generation.inputs
        self.view = [
            self.session,
            self.top,
            self.listing,
            self.transcript,
            self.live,
            self.notice,
            self.system.system,
            self.composer,
            self.generation.variant,
            shell.tabs,
            self.system.drawn,
            *self.generation.budgets,
        ]
        free = {"concurrency_limit": None, "trigger_mode": "multiple"}
        watched: list[Any] = []

        def then_watch(event: Any) -> None:
            watched.append(
                shell.on(event.then, do=self.handlers.watch, inputs=[self.session], outputs=self.view, **free)
            )

        said = shell.on(
            self.composer.submit,
            do=self.say,
            inputs=at_hand | {self.composer},
            outputs=self.view,
            **free,
        )
        watched.append(said)
        acted = shell.on(
            self.bridge.pressed,
            do=self.act,
            inputs=at_hand | {self.bridge.payload},
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
        self.generation.tools.wire(shell, said.then, acted.then, self.system.drawn.change)

    def _wire_panel(self, shell: Shell) -> None:
        kept = gr.BrowserState(None, storage_key="chatlab-dials", secret="chatlab")
        panel = self.generation
        remembered = {*panel.kept.values()}
        shell.on(shell.load, do=panel.restore, inputs=[kept], outputs=remembered)
        for opened in (shell.load, shell.items["chat"].select, shell.model.change):
            shell.on(opened, do=panel.show_thinking, outputs=[panel.thinking])
        moved = [event for budget in panel.budgets for event in (budget.input, budget.release)]
        spent = [*panel.budgets, self.session]
        shell.on(partial(gr.on, moved), do=self.handlers.spend, inputs=spent, trigger_mode="always_last")
        shell.on(panel.knowledge.input, do=self.handlers.warm, inputs=[panel.knowledge])
        for component in remembered:
            shell.on(component.change, do=panel.keep, inputs=remembered, outputs=[kept], trigger_mode="always_last")
        shell.on(
            self.search.change,
            do=self.handlers.list.search,
            inputs=[self.search, self.session],
            outputs=[self.session, self.listing],
            trigger_mode="always_last",
        )
        self.system.wire(shell, self.session)
        shell.on(shell.items["chat"].select, do=panel.show_adapters, outputs=[panel.variant])
        shell.on(shell.model.change, do=panel.follow_model, inputs=[panel.variant], outputs=[panel.variant])
        shell.on(
            shell.timer.tick,
            do=self.handlers.tick,
            inputs=[self.session],
            outputs=self.view,
            queue=False,
        )

    def load(self, request: gr.Request) -> Any:
        """The page's address holds the conversation: `?c=12`."""
        return self.handlers.load(request.query_params.get("c"), current_user(request, self.lab.settings.auth))

    def say(self, values: Mapping[Any, Any]) -> Iterator[View]:
        """A message is sent."""
        session, system = values[self.session], values[self.system.system]
        yield from self.handlers.say(values[self.composer], session, system, self.generation.read(values))

    def act(self, values: Mapping[Any, Any]) -> View:
        """A button is pressed."""
        session, system = values[self.session], values[self.system.system]
        return self.handlers.act(values[self.bridge.payload], session, system, self.generation.read(values))

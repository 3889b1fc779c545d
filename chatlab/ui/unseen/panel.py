"""The section on unseen prompts: who is heard, the grid of what they say, and the set itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from chatlab.engines.base import Sampling
from chatlab.errors import ChatlabError
from chatlab.evaluation.unseen import CALM
from chatlab.lab import Lab
from chatlab.lab.compare.grid import MOST
from chatlab.lab.compare.grid_view import GridView
from chatlab.records import BASE
from chatlab.ui.shell import Shell, drawing, notify
from chatlab.ui.unseen.editor import UnseenEditor
from chatlab.ui.unseen.export import UnseenExport
from chatlab.ui.unseen.sheet_picture import PAGE, WINDOW, pages, progress, sheet_parts

PACE = 0.25
"""Seconds between two drawings: a grid is larger than an answer."""
CHOSEN = "unseen voices"
"""Under which the store keeps who is heard."""
SEED = 0
"""Where chance is let in, it is the same chance for every voice, and the same replies the next time."""

Updates = dict[Any, Any]


class UnseenPanel:
    """What is shown is read from what the lab remembers of each reply; nothing but the page number lives here."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.editor = UnseenEditor(lab)
        self.export = UnseenExport()

    def build(self, shell: Shell) -> None:
        with gr.Column(elem_classes="unseen"):
            gr.Markdown("#### Unseen prompts")
            with gr.Row(elem_classes="tight"):
                self.voices = gr.Dropdown(
                    [BASE],
                    value=[BASE],
                    multiselect=True,
                    max_choices=MOST,
                    label="Adapters",
                    show_label=False,
                    container=False,
                    scale=5,
                    min_width=240,
                    elem_id="unseen-voices",
                )
                self.ask = gr.Button("Run prompts", variant="primary", scale=0, min_width=120, elem_id="unseen-ask")
                self.stop = gr.Button(
                    "Stop", variant="stop", scale=0, min_width=120, visible=False, elem_id="unseen-stop"
                )
            with gr.Row(elem_classes="folds", equal_height=False):
                self.editor.build()
                self._build_sampling()
                self.export.build()
            self.progress = drawing(elem_classes="flat", elem_id="unseen-progress")
            with gr.Column(elem_id="unseen-grid"):
                self.parts = tuple(drawing(elem_classes="flat") for _ in range(3))
            with gr.Row(elem_classes="tight"):
                self.earlier = gr.Button("‹", size="sm", min_width=40, scale=0, visible=False)
                self.later = gr.Button("›", size="sm", min_width=40, scale=0, visible=False)
        self.page = gr.State(0)
        self.asking = gr.State(False)
        """Whether replies are on their way to this page. Then nothing but them is drawn."""
        self._wire(shell)

    def _build_sampling(self) -> None:
        with gr.Accordion("System message and sampling", open=False, elem_id="unseen-how"):
            self.system = gr.Textbox("", label="System message", lines=2, max_lines=8)
            with gr.Row():
                self.temperature = gr.Slider(0, 1.5, CALM.temperature, step=0.05, label="Temperature")
                self.tokens = gr.Slider(8, 512, CALM.max_tokens, step=8, label="Max tokens")
                self.strength = gr.Slider(0, 2, 1.0, step=0.05, label="Adapter strength")

    @property
    def asked(self) -> list[Any]:
        return [self.voices, self.temperature, self.tokens, self.system, self.strength]

    @property
    def shown(self) -> set[Any]:
        own = {self.progress, self.ask, self.stop, self.page, self.asking, self.earlier, self.later}
        return own | set(self.parts)

    def _wire(self, shell: Shell) -> None:
        at_hand = [*self.asked, self.page]
        asking = shell.on(
            self.ask.click,
            do=self.answered,
            inputs=self.asked,
            outputs=self.shown,
            trigger_mode="once",
            concurrency_limit=2,
        )
        ends = {"inputs": at_hand, "outputs": self.shown, "cancels": [asking]}
        shell.on(self.stop.click, do=self.drawn, **ends)
        shell.on(self.voices.input, do=self.choose, **ends)
        for dial in (self.temperature.release, self.tokens.release, self.strength.release, self.system.input):
            shell.on(dial, do=self.drawn, **ends)
        shell.on(self.editor.changed.change, do=self.drawn, **ends)
        shell.on(self.earlier.click, do=self.turned_back, inputs=at_hand, outputs=self.shown)
        shell.on(self.later.click, do=self.turned_on, inputs=at_hand, outputs=self.shown)
        self.editor.wire(shell)
        shell.on(
            shell.items["compare"].select,
            do=self.refresh,
            inputs=[self.asking, *at_hand],
            outputs=self.shown | self.editor.shown | {self.voices},
        )
        made = shell.on(
            self.export.make.click,
            do=self.exported,
            inputs=[*self.asked, self.export.form],
            outputs=self.export.shown,
            trigger_mode="once",
        )
        shell.on(made.then, do=self.export.swept, inputs=[self.export.made], outputs=[self.export.made])

    # What the events do.

    def refresh(self, asking: bool, voices: list[str], *rest: Any) -> Updates:
        """Who can be heard now, what they have said, and the set. At first the base, who was live, and who is."""
        if asking:
            return self.editor.draw()
        names = self._lab.voices.names()
        kept = [name for name in self._lab.store.state.read(CHOSEN, list[str], []) if name in names]
        voices = kept or self._lab.grid.proposed()
        return {
            self.voices: gr.Dropdown(choices=names, value=voices, multiselect=True),
            **self.drawn(voices, *rest),
            **self.editor.draw(),
        }

    def choose(self, voices: list[str], *rest: Any) -> Updates:
        """Remember who is heard, and show what they have said before."""
        self._lab.store.state.set(CHOSEN, list(voices or []))
        return self.drawn(voices, *rest)

    def answered(
        self, voices: list[str], temperature: float, tokens: float, system: str, strength: float
    ) -> Iterator[Updates]:
        """What has not been said yet, as it is said. The page turns with it."""
        asked = (voices or [], _sampling(temperature, tokens), system or "", float(strength))
        start, shown, sheet = -PAGE, 0.0, None
        try:
            for sheet in self._lab.grid.ask(*asked):
                row = sheet.under_way
                if row is None:
                    break
                if not start <= row < start + WINDOW or row // PAGE != start // PAGE:
                    start = row
                    yield self._under_way(sheet, start)
                elif time.monotonic() - shown > PACE:
                    shown = time.monotonic()
                    yield {
                        self.parts[1]: sheet_parts(sheet, start // PAGE, start)[1],
                        self.progress: progress(sheet, True),
                    }
        except ChatlabError as error:
            notify(error)
        yield self._draw(sheet or self._lab.grid.known(*asked), max(0, start) // PAGE)

    def drawn(
        self, voices: list[str], temperature: float, tokens: float, system: str, strength: float, page: int
    ) -> Updates:
        """What has been said before."""
        return self._draw(self._known(voices, temperature, tokens, system, strength), page)

    def turned_on(self, *asked_and_page: Any) -> Updates:
        *asked, page = asked_and_page
        return self._draw(self._known(*asked), page + 1)

    def turned_back(self, *asked_and_page: Any) -> Updates:
        *asked, page = asked_and_page
        return self._draw(self._known(*asked), max(0, page - 1))

    def exported(self, *asked_and_form: Any) -> Updates:
        *asked, form = asked_and_form
        return self.export.write(self._known(*asked), form)

    def _known(self, voices: list[str], temperature: float, tokens: float, system: str, strength: float) -> GridView:
        return self._lab.grid.known(voices or [], _sampling(temperature, tokens), system or "", float(strength))

    def _under_way(self, sheet: GridView, start: int) -> Updates:
        """While replies come there is one thing to press."""
        return {
            **dict(zip(self.parts, sheet_parts(sheet, start // PAGE, start), strict=True)),
            self.progress: progress(sheet, True),
            self.asking: True,
            self.ask: gr.Button(visible=False),
            self.stop: gr.Button(visible=True),
            self.earlier: gr.Button(visible=False),
            self.later: gr.Button(visible=False),
        }

    def _draw(self, sheet: GridView, page: int) -> Updates:
        last = pages(sheet) - 1
        page = min(page, last)
        return {
            **dict(zip(self.parts, sheet_parts(sheet, page), strict=True)),
            self.progress: progress(sheet, False),
            self.page: page,
            self.asking: False,
            self.earlier: gr.Button(f"‹ previous {PAGE}", visible=page > 0),
            self.later: gr.Button(f"next {PAGE} ›", visible=page < last),
            self.ask: gr.Button("Continue" if 0 < sheet.done < sheet.size else "Run prompts", visible=True),
            self.stop: gr.Button(visible=False),
        }


def _sampling(temperature: float, tokens: float) -> Sampling:
    """The calm one, but for what was chosen."""
    if temperature == 0:
        return Sampling(temperature=0.0, max_tokens=int(tokens))
    return Sampling(temperature=float(temperature), max_tokens=int(tokens), seed=SEED)

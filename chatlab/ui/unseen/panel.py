"""Unseen prompts: the adapters that are run, the grid of their replies, the prompts, and the grid as a file."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from chatlab.engines.base import Sampling
from chatlab.errors import ChatlabError, DiskFull
from chatlab.evaluation.unseen import GREEDY
from chatlab.lab import Lab
from chatlab.lab.compare.grid import MOST
from chatlab.lab.compare.grid_files import written
from chatlab.lab.compare.grid_view import GridView
from chatlab.records import BASE
from chatlab.system.clock import now
from chatlab.system.temporary import discard, new_folder
from chatlab.ui.adapter_choices import adapter_choices
from chatlab.ui.shell import Shell, html_block, notify
from chatlab.ui.unseen.editor import UnseenEditor
from chatlab.ui.unseen.grid_render import PAGE, WINDOW, pages, progress, view_parts

PACE = 0.25
"""Seconds between two updates: a grid is larger than an answer."""
CHOSEN = "unseen variants"
"""Key in the store's state: the adapters that are run."""
SEED = 0
"""Above temperature 0 every adapter gets this seed, so that replies can be compared and repeated."""

Updates = dict[Any, Any]
Values = Mapping[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class GridSettings:
    """Values of the boxes above the grid."""

    variants: tuple[str, ...]
    sampling: Sampling
    system: str
    strength: float


class UnseenPanel:
    """Draws the lab's known replies; holds nothing but the page number."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.editor = UnseenEditor(lab)
        self.export = UnseenExport()

    def build(self, shell: Shell) -> None:
        with gr.Column(elem_classes="unseen"):
            gr.Markdown("#### Unseen prompts")
            with gr.Row(elem_classes="tight"):
                self.variants = gr.Dropdown(
                    [BASE],
                    value=[BASE],
                    multiselect=True,
                    max_choices=MOST,
                    label="Adapters",
                    show_label=False,
                    container=False,
                    scale=5,
                    min_width=240,
                    elem_id="unseen-variants",
                )
                self.ask = gr.Button("Run prompts", variant="primary", scale=0, min_width=120, elem_id="unseen-ask")
                self.stop = gr.Button(
                    "Stop", variant="stop", scale=0, min_width=120, visible=False, elem_id="unseen-stop"
                )
            with gr.Row(elem_classes="folds", equal_height=False):
                self.editor.build()
                self._build_sampling()
                self.export.build()
            self.progress = html_block(elem_classes="flat", elem_id="unseen-progress")
            with gr.Column(elem_id="unseen-grid"):
                self.parts = tuple(html_block(elem_classes="flat") for _ in range(3))
            with gr.Row(elem_classes="tight"):
                self.earlier = gr.Button("‹", size="sm", min_width=40, scale=0, visible=False)
                self.later = gr.Button("›", size="sm", min_width=40, scale=0, visible=False)
        self.page = gr.State(0)
        self.asking = gr.State(False)
        """Whether replies are on their way to this page. Then nothing else is rendered."""
        self._wire(shell)

    def _build_sampling(self) -> None:
        with gr.Accordion("System message and sampling", open=False, elem_id="unseen-how"):
            self.system = gr.Textbox("", label="System message", lines=2, max_lines=8)
            with gr.Row():
                self.temperature = gr.Slider(0, 1.5, GREEDY.temperature, step=0.05, label="Temperature")
                self.tokens = gr.Slider(8, 512, GREEDY.max_tokens, step=8, label="Max tokens")
                self.strength = gr.Slider(0, 2, 1.0, step=0.05, label="Adapter strength")

    @property
    def asked(self) -> set[Any]:
        return {self.variants, self.temperature, self.tokens, self.system, self.strength}

    @property
    def shown(self) -> set[Any]:
        own = {self.progress, self.ask, self.stop, self.page, self.asking, self.earlier, self.later}
        return own | set(self.parts)

    def _wire(self, shell: Shell) -> None:
        at_hand = self.asked | {self.page}
        asking = shell.on(
            self.ask.click,
            do=self.answered,
            inputs=self.asked,
            outputs=self.shown,
            trigger_mode="once",
            concurrency_limit=2,
        )
        ends = {"inputs": at_hand, "outputs": self.shown, "cancels": [asking]}
        shell.on(self.stop.click, do=self.draw_known, **ends)
        shell.on(self.variants.input, do=self.choose, **ends)
        for dial in (self.temperature.release, self.tokens.release, self.strength.release, self.system.input):
            shell.on(dial, do=self.draw_known, **ends)
        shell.on(self.editor.changed.change, do=self.draw_known, **ends)
        shell.on(self.earlier.click, do=self.turned_back, inputs=at_hand, outputs=self.shown)
        shell.on(self.later.click, do=self.turned_on, inputs=at_hand, outputs=self.shown)
        self.editor.wire(shell)
        shell.on(
            partial(gr.on, [shell.items["compare"].select, shell.model.change]),
            do=self.refresh,
            inputs=at_hand | {self.asking},
            outputs=self.shown | self.editor.shown | {self.variants},
        )
        made = shell.on(
            self.export.make.click,
            do=self.exported,
            inputs=self.asked | {self.export.form},
            outputs=self.export.shown,
            trigger_mode="once",
        )
        shell.on(made.then, do=self.export.swept, inputs=[self.export.made], outputs=[self.export.made])

    # What the events do.

    def refresh(self, values: Values) -> Updates:
        """The adapters that can be run, their replies, and the prompts. At first: the base, the live adapter and the
        one before it.
        """
        if values[self.asking]:
            return self.editor.draw()
        names = self._lab.variants.names()
        kept = [name for name in self._lab.store.state.read(CHOSEN, list[str], []) if name in names]
        variants = kept or self._lab.grid.default_variants()
        return {
            self.variants: gr.Dropdown(choices=adapter_choices(self._lab), value=variants, multiselect=True),
            **self.draw_known({**values, self.variants: variants}),
            **self.editor.draw(),
        }

    def choose(self, values: Values) -> Updates:
        """Store the chosen adapters, and show their known replies."""
        self._lab.store.state.set(CHOSEN, list(values[self.variants] or []))
        return self.draw_known(values)

    def answered(self, values: Values) -> Iterator[Updates]:
        """The replies that are not known yet, as they come. The page turns with them."""
        ask = self._read(values)
        start, shown, view = -PAGE, 0.0, None
        try:
            for view in self._lab.grid.ask(ask.variants, ask.sampling, ask.system, ask.strength):
                row = view.next_row
                if row is None:
                    break
                if not start <= row < start + WINDOW or row // PAGE != start // PAGE:
                    start = row
                    yield self._under_way(view, start)
                elif time.monotonic() - shown > PACE:
                    shown = time.monotonic()
                    yield {
                        self.parts[1]: view_parts(view, start // PAGE, start)[1],
                        self.progress: progress(view, True),
                    }
        except ChatlabError as error:
            notify(error)
        yield self._draw(view or self._known(values), max(0, start) // PAGE)

    def draw_known(self, values: Values) -> Updates:
        """The known replies."""
        return self._draw(self._known(values), values[self.page])

    def turned_on(self, values: Values) -> Updates:
        return self._draw(self._known(values), values[self.page] + 1)

    def turned_back(self, values: Values) -> Updates:
        return self._draw(self._known(values), max(0, values[self.page] - 1))

    def exported(self, values: Values) -> Updates:
        return self.export.write(self._known(values), values[self.export.form])

    def _read(self, values: Values) -> GridSettings:
        temperature, tokens = float(values[self.temperature]), int(values[self.tokens])
        seed = None if temperature == 0 else SEED
        return GridSettings(
            variants=tuple(values[self.variants] or ()),
            sampling=Sampling(temperature=temperature, max_tokens=tokens, seed=seed),
            system=values[self.system] or "",
            strength=float(values[self.strength]),
        )

    def _known(self, values: Values) -> GridView:
        ask = self._read(values)
        return self._lab.grid.cached(ask.variants, ask.sampling, ask.system, ask.strength)

    def _under_way(self, view: GridView, start: int) -> Updates:
        """While replies come there is one thing to press."""
        return {
            **dict(zip(self.parts, view_parts(view, start // PAGE, start), strict=True)),
            self.progress: progress(view, True),
            self.asking: True,
            self.ask: gr.Button(visible=False),
            self.stop: gr.Button(visible=True),
            self.earlier: gr.Button(visible=False),
            self.later: gr.Button(visible=False),
        }

    def _draw(self, view: GridView, page: int) -> Updates:
        last = pages(view) - 1
        page = min(page, last)
        return {
            **dict(zip(self.parts, view_parts(view, page), strict=True)),
            self.progress: progress(view, False),
            self.page: page,
            self.asking: False,
            self.earlier: gr.Button(f"‹ previous {PAGE}", visible=page > 0),
            self.later: gr.Button(f"next {PAGE} ›", visible=page < last),
            self.ask: gr.Button("Continue" if 0 < view.done < view.size else "Run prompts", visible=True),
            self.stop: gr.Button(visible=False),
        }


FORMS = (("Markdown", "md"), ("CSV", "csv"), ("JSON lines", "jsonl"))


class UnseenExport:
    """The file is created on request, and removed once the page has its own copy."""

    def build(self) -> None:
        with gr.Accordion("Export", open=False, elem_id="unseen-out"):
            self.form = gr.Radio(
                list(FORMS), value="md", label="File", show_label=False, container=False, elem_classes="segments"
            )
            with gr.Row(elem_classes="tight"):
                self.make = gr.Button(
                    "Create file", variant="primary", size="sm", scale=0, min_width=120, elem_id="unseen-export"
                )
                self.download = gr.DownloadButton(
                    "Download", size="sm", scale=0, min_width=120, visible=False, elem_id="unseen-download"
                )
        self.made = gr.State("", delete_callback=discard)

    @property
    def shown(self) -> set[Any]:
        return {self.download, self.made}

    def write(self, view: GridView, form: str) -> Updates:
        """Raises InputError where there are no replies, and DiskFull."""
        data = written(view, form)
        try:
            with new_folder() as folder:
                path = folder / f"unseen-{now()[:10]}.{form}"
                path.write_bytes(data)
        except OSError as error:
            raise DiskFull(f"The file could not be made: {error.strerror}.", "Free some disk space.") from error
        return {
            self.download: gr.DownloadButton(f"Download {path.name}", value=str(path), visible=True),
            self.made: str(path),
        }

    def swept(self, made: str) -> Updates:
        """Remove the file: the page has its own copy by now."""
        discard(made)
        return {self.made: ""}

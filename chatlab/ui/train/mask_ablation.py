"""With and without the loss mask, as a thing to run: one button, its progress, and both results beside each other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import gradio as gr
from markupsafe import Markup

from chatlab.errors import ChatlabError
from chatlab.evaluation.replies import SPOKEN_ROLE
from chatlab.evaluation.statistics import fisher_exact
from chatlab.evaluation.unseen import role_markers
from chatlab.lab import Lab
from chatlab.lab.runs.mask_ablation import Ablation, Side
from chatlab.measurements import Step
from chatlab.training.defaults import FEW
from chatlab.ui.html import NOTHING, div, duration, element, escaped, joined, progress_bar, span
from chatlab.ui.shell import Shell, error_text, html_block
from chatlab.ui.train.plots import BLUE, BROWN, Line, plot
from chatlab.ui.unseen import EVERYDAY, kind_for

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

SURE = 0.05
"""A difference that chance makes more often than this is called none."""
ABOUT = (
    "Trains the approved demonstrations twice: with the loss mask (answers only) and without it (prompts too). Then "
    "both adapters answer the unseen prompts. Neither goes live."
)
HEADS = ("With mask", "Without mask")

Updates = dict[Any, Any]


class MaskTrialPanel:
    """Draws the latest trial; it goes on whether anybody looks or not."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def build(self) -> None:
        with gr.Accordion("Loss mask comparison", open=False, elem_id="mask-trial"):
            self.about = html_block(div("faint", span("", ABOUT)), elem_classes="flat")
            with gr.Row(elem_classes="tight"):
                self.start = gr.Button("Run", size="sm", min_width=110, scale=0, elem_id="mask-trial-start")
                self.stop = gr.Button("Pause", size="sm", min_width=110, scale=0, visible=False)
                self.go_on = gr.Button("Continue", size="sm", variant="primary", min_width=90, scale=0, visible=False)
                self.discard = gr.Button("Discard", size="sm", min_width=110, scale=0, visible=False)
            self.progress = html_block(visible=False, elem_id="mask-trial-progress")
            self.curves = gr.Plot(show_label=False, container=False, visible=False)
            self.result = html_block(visible=False, elem_id="mask-trial-result")
        self.pulse = gr.State(None)

    @property
    def shown(self) -> set[Any]:
        buttons = {self.start, self.stop, self.go_on, self.discard}
        return {self.about, self.progress, self.curves, self.result, self.pulse} | buttons

    def wire(self, shell: Shell) -> None:
        shell.on(shell.items["train"].select, do=self.draw, outputs=self.shown)
        shell.on(
            shell.timer.tick, do=self.tick, inputs=[self.pulse], outputs=self.shown, trigger_mode="once", queue=False
        )
        for button, do in (
            (self.start, self.started),
            (self.stop, self.stopped),
            (self.go_on, self.gone_on),
            (self.discard, self.thrown_away),
        ):
            shell.refresh(shell.on(button.click, do=do, outputs=self.shown, trigger_mode="once"))

    def draw(self) -> Updates:
        """The latest trial as it stands, and what can be done with it."""
        ablation = self._lab.mask_ablation.latest()
        running = ablation is not None and ablation.state == "running"
        finished = ablation is not None and ablation.state == "finished"
        result = self._result(ablation) if ablation else ""
        curves = self._curves(ablation) if ablation else None
        return {
            self.about: div("faint", span("", f"{ABOUT} {self._estimate()}")),
            self.start: gr.Button("Run again" if ablation else "Run", visible=not running),
            self.stop: gr.Button(visible=running),
            self.go_on: gr.Button(visible=ablation is not None and not running and not finished),
            self.discard: gr.Button(visible=ablation is not None and not running),
            self.progress: gr.Markdown(
                self._progress(ablation) if ablation else "", visible=bool(ablation) and not finished
            ),
            self.result: gr.Markdown(result, visible=bool(result)),
            self.curves: gr.Plot(curves, visible=curves is not None),
            self.pulse: self._pulse(ablation),
        }

    def tick(self, pulse: str | None) -> Any:
        """Draws only what is new, and nothing before the tab was opened for the first time."""
        if pulse is None or self._pulse(self._lab.mask_ablation.latest()) == pulse:
            return gr.skip()
        return self.draw()

    def started(self) -> Updates:
        kind = kind_for([tag for i in self._lab.demonstrations.approved() for tag in self._tags(i)])
        self._lab.mask_ablation.start("" if kind == EVERYDAY else kind)
        return self.draw()

    def stopped(self) -> Updates:
        self._lab.mask_ablation.stop()
        return self.draw()

    def gone_on(self) -> Updates:
        self._lab.mask_ablation.go_on()
        return self.draw()

    def thrown_away(self) -> Updates:
        self._lab.mask_ablation.discard()
        return self.draw()

    def _tags(self, demonstration: int) -> tuple[str, ...]:
        return self._lab.demonstrations.get(demonstration).tags[:1]

    def _estimate(self) -> str:
        try:
            few = len(self._lab.demonstrations.approved()) < FEW
            aside = f" With fewer than {FEW} demonstrations, held-out loss is not measured."
            return f"About {duration(self._lab.mask_ablation.seconds())} in all.{aside if few else ''}"
        except ChatlabError as error:
            return error_text(error)

    def _pulse(self, ablation: Ablation | None) -> str:
        """Differs whenever what is shown would."""
        if ablation is None:
            return "none"
        steps = len(self._lab.training.status().steps) if ablation.state == "running" else 0
        come = [f"{side.adapter} {len(side.replies)}" for side in ablation.sides]
        return " ".join([ablation.created, ablation.state, ablation.problem, str(steps), *come])

    def _progress(self, ablation: Ablation) -> Markup:
        """What is being done, and how much of it all."""
        done = sum(self._share(ablation, side) for side in ablation.sides) / 2
        words = (
            self._doing(ablation)
            if ablation.state == "running"
            else ablation.problem or "Paused. Continue resumes from here."
        )
        bar = progress_bar(done)
        return div("run-progress", bar, span("warning" if ablation.problem else "run-phase", words))

    def _share(self, ablation: Ablation, side: Side) -> float:
        """Training counts three quarters of a side, asking the rest."""
        last = self._steps(side)[-1:]
        trained = 1.0 if side.adapter else last[0].step / last[0].steps if last else 0.0
        return 0.75 * trained + 0.25 * len(side.replies) / max(1, len(ablation.prompts))

    def _doing(self, ablation: Ablation) -> str:
        for side, head in zip(ablation.sides, HEADS, strict=True):
            if not side.adapter:
                steps = self._steps(side)
                made = f" · step {steps[-1].step} of {steps[-1].steps}" if steps else ""
                return f"Training · {head.lower()}{made}"
        asked = sum(len(side.replies) for side in ablation.sides)
        return f"Answering · reply {asked + 1} of {2 * len(ablation.prompts)}"

    def _result(self, ablation: Ablation) -> Markup:
        """Nothing until both have something to show."""
        masked, bare = ablation.sides
        pairs = min(len(masked.replies), len(bare.replies))
        if not pairs:
            return NOTHING
        text = div("verdict", span("", headline(masked, bare))) if ablation.complete else NOTHING
        top = div("trial-top", figures(masked, bare, self._last_losses(ablation)))
        return div("mask-trial", text, top, self._replies(ablation))

    def _curves(self, ablation: Ablation) -> Figure | None:
        """Held-out loss against the step; both runs have the same steps and hold out the same answers."""
        colours = (BLUE, BROWN)
        lines = [
            Line([(s.step, s.held_out_loss) for s in self._steps(side) if s.held_out_loss is not None], colour, head)
            for side, head, colour in zip(ablation.sides, HEADS, colours, strict=True)
        ]
        if not all(line.points for line in lines):
            return None
        length = max((steps[-1].steps for side in ablation.sides if (steps := self._steps(side))), default=1)
        return plot(lines, length, "Held-out loss")

    def _last_losses(self, ablation: Ablation) -> list[float | None]:
        measured = [
            [s.held_out_loss for s in self._steps(side) if s.held_out_loss is not None] for side in ablation.sides
        ]
        return [losses[-1] if losses else None for losses in measured]

    def _steps(self, side: Side) -> tuple[Step, ...]:
        run = self._lab.mask_ablation.run(side)
        return run.steps if run else ()

    def _replies(self, ablation: Ablation) -> Markup:
        """The prompts and both adapters' replies, with role markers in them marked."""
        markers = role_markers(self._lab.machine.base.template)
        masked, bare = ablation.sides
        rows = zip(masked.replies, bare.replies, strict=False)
        head = element("tr", joined(element("th", escaped(name)) for name in ("Asked", *HEADS)))
        body = joined(
            element(
                "tr",
                element("td", escaped(one.prompt))
                + joined(element("td", span_marked(reply.text, markers)) for reply in (one, other)),
            )
            for one, other in rows
        )
        return div("samples", element("table", head + body))


def headline(masked: Side, bare: Side) -> str:
    """What the trial shows, and what it does not."""
    one, other = masked.reply_metrics, bare.reply_metrics
    fewer, more = sorted((one.role_leaks, other.role_leaks))
    if fisher_exact(fewer, more, one.replies) > SURE:
        return (
            f"No clear difference: {one.role_leaks} of {one.replies} replies write the user's turn with the mask, "
            f"{other.role_leaks} without."
        )
    worse = "without" if other.role_leaks > one.role_leaks else "with"
    better = "with" if worse == "without" else "without"
    return f"Trained {worse} the mask, {more} of {one.replies} replies write the user's turn; {better} it, {fewer}."


def figures(masked: Side, bare: Side, losses: list[float | None]) -> Markup:
    """A grid, a line a measure. No table: the replies are the one that is read aloud row by row."""
    one, other = masked.reply_metrics, bare.reply_metrics
    rows = [
        ("Write the user's turn", _of(one.role_leaks, one.replies), _of(other.role_leaks, other.replies)),
        ("Repeat the prompt", _of(one.prompt_echoes, one.replies), _of(other.prompt_echoes, other.replies)),
        ("Stop by themselves", _of(one.stops, one.replies), _of(other.stops, other.replies)),
        ("On-format", _of(one.well_formed, one.replies), _of(other.well_formed, other.replies)),
        ("Tokens per answer", f"{one.tokens:.1f}", f"{other.tokens:.1f}"),
        ("Held-out loss", *("-" if loss is None else f"{loss:.2f}" for loss in losses)),
    ]
    cells = joined(span("trial-cell", cell) for row in ((f"Of {one.replies} replies", *HEADS), *rows) for cell in row)
    return div("trial-figures", cells)


def span_marked(text: str, markers: list[str]) -> Markup:
    """A reply with every role marker in it marked."""
    known = "|".join(map(re.escape, sorted(markers, key=len, reverse=True)))
    pattern = re.compile(f"({known})" if known else r"(?!)")
    words = SPOKEN_ROLE.sub(lambda found: f"\0{found[0]}\0", text)
    pieces = [piece for part in words.split("\0") for piece in pattern.split(part)]
    return div("sample-text", *(_piece(piece, markers) for piece in pieces if piece))


def _piece(piece: str, markers: list[str]) -> Markup:
    role_leaks = piece in markers or SPOKEN_ROLE.fullmatch(piece) is not None
    return element("mark", escaped(piece), kind="stray") if role_leaks else escaped(piece)


def _of(count: int, replies: int) -> str:
    return f"{count} of {replies}" if 0 < count < replies else ("none" if count == 0 else f"all {replies}")

"""Difficulty of each answer for the base, and a slider that previews pruning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
from markupsafe import Markup

from chatlab.evaluation.difficulty import Difficulty
from chatlab.evaluation.scoring import Progress
from chatlab.lab.data.demonstrations import Demonstrations
from chatlab.lab.data.quality import Hardness, Quality
from chatlab.quality.pruning import Pruning
from chatlab.ui.demonstrations.quality import row
from chatlab.ui.html import NOTHING, counted, div, duration, element, escaped, joined, progress_bar, span
from chatlab.ui.shell import Shell, html_block

ENDS = 5
"""Rows shown of the hardest, and of the easiest."""
LISTED = 300
"""Rows shown of those that would go; more would make the page slow."""
BARS = 40

Updates = dict[Any, Any]


class PruningPanel:
    """A place in it is (per cent to keep, by which measure, whether doubles go)."""

    def __init__(self, quality: Quality, demonstrations: Demonstrations) -> None:
        self._quality = quality
        self._demonstrations = demonstrations

    def build(self) -> None:
        with gr.Accordion("Difficulty and pruning", open=False, elem_id="pruning") as self.fold:
            with gr.Row(elem_classes="tight"):
                self.measure = gr.Button("Measure difficulty", size="sm", scale=0, min_width=160, elem_id="measure")
                self.cancel = gr.Button("Stop", size="sm", scale=0, min_width=70, visible=False)
                self.progress = html_block(elem_classes="flat", elem_id="measuring")
            self.ends = html_block(elem_classes="flat", elem_id="difficulty-ends")
            with gr.Column(visible=False, elem_classes="pruner") as self.pruner:
                with gr.Row(elem_classes="tight"):
                    self.keep = gr.Slider(1, 100, value=50, step=1, label="Keep the hardest, %", scale=3, min_width=240)
                    self.by = gr.Radio(
                        [("Answer loss", "loss"), ("Instruction-following difficulty", "ratio")],
                        value="loss",
                        label="Measure",
                        show_label=False,
                        container=False,
                        elem_classes="segments",
                        scale=2,
                    )
                    self.duplicates = gr.Checkbox(
                        True, label="Drop duplicates first", container=False, scale=1, min_width=150
                    )
                self.preview = html_block(elem_classes="flat", elem_id="prune-preview")
                self.apply = gr.Button("Discard", size="sm", scale=0, min_width=160, elem_id="prune")
        self.timer = gr.Timer(0.8, active=False)

    @property
    def place(self) -> list[Any]:
        return [self.keep, self.by, self.duplicates]

    def read(self, values: Mapping[Any, Any]) -> tuple[float, Hardness, bool]:
        """Per cent to keep, measure, and whether duplicates go, in the values of `place`."""
        return values[self.keep], values[self.by], values[self.duplicates]

    @property
    def shown(self) -> set[Any]:
        wired = {self.measure, self.cancel, self.progress, self.ends, self.pruner, self.preview, self.apply}
        return wired | {self.fold, self.timer}

    def wire(self, shell: Shell) -> None:
        for event in (self.keep.input, self.by.input, self.duplicates.input):
            shell.on(
                event,
                do=self.foresee,
                inputs=self.place,
                outputs={self.preview, self.apply},
                trigger_mode="always_last",
            )
        for trigger, do in (
            (self.measure.click, self.start),
            (self.cancel.click, self.stop),
            (self.timer.tick, self.draw),
        ):
            shell.on(trigger, do=do, inputs=self.place, outputs=self.shown)

    def draw(self, keep: float, by: Hardness, duplicates: bool) -> Updates:
        """Everything as it is now; the timer goes while a measurement is under way."""
        difficulties = self._quality.difficulties
        known, progress, missing = difficulties.known(), difficulties.progress(), difficulties.missing()
        return {
            self.fold: gr.Accordion(),
            self.measure: gr.Button(_offer(missing, len(known)), interactive=missing > 0, visible=not progress.running),
            self.cancel: gr.Button(visible=progress.running),
            self.progress: _progress(progress),
            self.ends: self._ends(known),
            self.pruner: gr.Column(visible=len(known) > 1),
            self.timer: gr.Timer(active=progress.running),
        } | self.foresee(keep, by, duplicates)

    def start(self, keep: float, by: Hardness, duplicates: bool) -> Updates:
        self._quality.difficulties.measure()
        return self.draw(keep, by, duplicates)

    def stop(self, keep: float, by: Hardness, duplicates: bool) -> Updates:
        self._quality.difficulties.cancel()
        return self.draw(keep, by, duplicates)

    def foresee(self, keep: float, by: Hardness, duplicates: bool) -> Updates:
        """What would go, and the button that does just that."""
        plan = self._quality.prune_preview(keep / 100, by, duplicates)
        gone = len(plan.gone)
        return {
            self.preview: self._preview(plan, by),
            self.apply: gr.Button(f"Discard {gone:,}" if gone else "Nothing to discard", interactive=gone > 0),
        }

    def prune(self, keep: float, by: Hardness, duplicates: bool) -> int:
        """How many went."""
        return self._quality.prune(keep / 100, by, duplicates)

    def _ends(self, known: Mapping[int, Difficulty]) -> Markup:
        if len(known) < 2:
            return div("faint", span("", _WHAT))
        ordered = sorted(known, key=lambda i: -known[i].loss)
        count = min(ENDS, len(ordered) // 2)
        halves = (("Hardest", ordered[:count]), ("Easiest", ordered[: -count - 1 : -1]))
        return div("ends", *(self._end(title, ids, known) for title, ids in halves))

    def _end(self, title: str, ids: Sequence[int], known: Mapping[int, Difficulty]) -> Markup:
        facts = (self._row(i, known[i]) for i in ids)
        return div("end", element("h4", escaped(title)), *facts)

    def _row(self, demonstration_id: int, difficulty: Difficulty | None, *more: str) -> Markup:
        return row(demonstration_id, self._demonstrations.get(demonstration_id), *more, *_facts(difficulty))

    def _preview(self, plan: Pruning, by: Hardness) -> Markup:
        known = self._quality.difficulties.known()
        duplicates = (self._row(i, known.get(i), "duplicate") for i in plan.duplicates[:LISTED])
        easy = (self._row(i, known.get(i)) for i in plan.easy[: max(0, LISTED - len(plan.duplicates))])
        more = len(plan.gone) - LISTED
        rest = span("faint", f"and {more:,} more") if more > 0 else NOTHING
        going = div(
            "going",
            element("h4", escaped("To be discarded: duplicates first, then the easiest")),
            *duplicates,
            *easy,
            rest,
        )
        return div(
            "foresight", _bars(plan, known, by), span("sentence", _sentence(plan)), going if plan.gone else NOTHING
        )


def _facts(difficulty: Difficulty | None) -> tuple[str, ...]:
    if difficulty is None:
        return ()
    helped = "helps" if difficulty.gain >= 0 else "misleads"
    return f"{difficulty.loss:.2f} nats", f"prompt {helped} {abs(difficulty.gain):.2f}"


def _sentence(plan: Pruning) -> str:
    total = len(plan.kept) + len(plan.gone)
    parts = [f"{len(plan.kept):,} of {counted(total, 'approved demonstration')} would stay"]
    if plan.duplicates:
        parts.append(f"{counted(len(plan.duplicates), 'duplicate')} would go")
    if plan.easy:
        parts.append(f"{len(plan.easy):,} easy ones would go")
    note = f" {len(plan.unmeasured):,} not measured yet stay." if plan.unmeasured else ""
    return ", ".join(parts) + "." + note


def _bars(plan: Pruning, known: Mapping[int, Difficulty], by: Hardness) -> Markup:
    """A histogram of difficulty, easy on the left; what would go is pale."""
    values = {i: known[i].loss if by == "loss" else known[i].ratio for i in (*plan.kept, *plan.gone) if i in known}
    if not values:
        return NOTHING
    low, high = min(values.values()), max(values.values())
    step = (high - low) / BARS or 1.0
    counts = [[0, 0] for _ in range(BARS)]
    gone = set(plan.gone)
    for i, value in values.items():
        counts[min(BARS - 1, int((value - low) / step))][i in gone] += 1
    tallest = max(sum(pair) for pair in counts)
    bars = joined(
        element(
            "i",
            element("b", kind="gone", style=f"height:{44 * gone_ / tallest:.1f}px"),
            element("b", style=f"height:{44 * kept / tallest:.1f}px"),
        )
        for kept, gone_ in counts
    )
    unit = "nats per token" if by == "loss" else "loss with / without the instruction"
    scale = div("bars-scale", span("", f"{low:.2f}"), span("", unit), span("", f"{high:.2f}"))
    return div("bars-box", div("bars", bars), scale)


def _offer(missing: int, known: int) -> str:
    if not missing:
        return "All measured" if known else "Nothing to measure"
    return f"Measure {missing:,} more" if known else f"Measure {counted(missing, 'demonstration')}"


def _progress(progress: Progress) -> Markup:
    if progress.message:
        return span("warning", progress.message)
    if not progress.running:
        return NOTHING
    left = f", {duration(progress.left)} left" if progress.left is not None else ""
    bar = progress_bar(progress.share)
    return div("run-progress", bar, span("run-phase", f"{progress.done:,} of {progress.total:,} measured{left}"))


_WHAT = (
    "Difficulty is the base model's loss on the answer, in nats per token. Measuring runs in the background. Pruning "
    "easy ones can help or hurt, so compare the adapters before and after."
)

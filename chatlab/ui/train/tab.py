"""The Train tab: what a run would do, the run under way or on show, and what there has been."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from chatlab.lab import Lab
from chatlab.records import BASE
from chatlab.ui.compare.asking import choose
from chatlab.ui.run_watch import Pulse
from chatlab.ui.shell import Shell
from chatlab.ui.train.history import TrainHistory
from chatlab.ui.train.mask_ablation import MaskTrialPanel
from chatlab.ui.train.plan import TrainPlan
from chatlab.ui.train.preferences import PreferencesPanel
from chatlab.ui.train.run import TrainRun

Updates = dict[Any, Any]
Values = Mapping[Any, Any]


class TrainTab:
    """Three parts; what one changes, the others draw again."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.plan = TrainPlan(lab)
        self.run = TrainRun(lab)
        self.history = TrainHistory(lab)
        self.mask_ablation = MaskTrialPanel(lab)
        self.preferences = PreferencesPanel(lab)

    def build(self, shell: Shell) -> None:
        with gr.Row(equal_height=False, elem_classes="train"):
            with gr.Column(min_width=300, elem_classes="train-plan"):
                self.plan.build()
            with gr.Column(min_width=300, elem_classes="train-run"):
                self.run.build()
            with gr.Column(min_width=300, elem_classes="train-history"):
                self.history.build()
        self.preferences.build()
        self.mask_ablation.build()
        self._wire(shell)
        self.preferences.wire(shell)
        self.mask_ablation.wire(shell)

    @property
    def shown(self) -> set[Any]:
        return self.plan.shown | self.run.shown | self.history.shown | self.preferences.shown

    def _wire(self, shell: Shell) -> None:
        plan, run = self.plan, self.run
        plan.wire(shell)
        at_hand = plan.form.inputs | {run.chosen, *self.preferences.inputs}
        for opened in (shell.items["train"].select, shell.model.change):
            shell.on(opened, do=self.refresh, inputs=at_hand, outputs=self.shown)
        shell.on(
            shell.timer.tick,
            do=self.tick,
            inputs=at_hand | {run.pulse},
            outputs=self.shown,
            trigger_mode="once",
            queue=False,
        )
        shell.refresh(shell.on(plan.button.click, do=self.start, inputs=plan.inputs, outputs=self.shown))
        preferences = self.preferences
        done = shell.on(
            preferences.button.click,
            do=preferences.started,
            inputs=[*preferences.inputs, preferences.live],
            outputs=[preferences.progress],
            trigger_mode="once",
        )
        shell.refresh(shell.on(done.then, do=self.newest, inputs=at_hand, outputs=self.shown))
        self._wire_run(shell, at_hand)
        self._wire_history(shell, at_hand)

    def _wire_run(self, shell: Shell, at_hand: set[Any]) -> None:
        run = self.run
        shell.on(run.stop.click, do=run.ask_stop, outputs={run.dialog})
        shell.on(run.go_on.click, do=run.keep_going, outputs={run.dialog})
        shell.on(run.stop_only.click, do=run.stop_for_now, outputs={run.dialog})
        shell.on(run.stop_keep.click, do=run.stop_and_keep, outputs={run.dialog})
        shell.on(run.spare.click, do=run.kept, outputs={run.sure})
        for button, do, inputs in (
            (run.resume, run.resumed, [run.chosen]),
            (run.live, run.gone_live, [run.chosen, run.warned]),
            (run.undo, run.undone_live, [run.chosen]),
            (run.really, run.deleted, [run.chosen]),
        ):
            done = shell.on(button.click, do=do, inputs=inputs, outputs=run.shown)
            if button is run.live:  # drawn again, the button would have forgotten that it warned
                shell.refresh(shell.on(done.then, do=self.history.draw, outputs=self.history.shown))
                continue
            shell.refresh(shell.on(done.then, do=self.refresh, inputs=at_hand, outputs=self.shown))
        shell.on(run.compare.click, do=self.comparer(shell), inputs=[run.chosen], outputs=[shell.tabs])
        done = shell.on(
            run.discard.click, do=self.discarded, inputs=[run.chosen], outputs=run.shown | self.history.shown
        )
        shell.refresh(shell.on(done.then, do=self.plan.draw, inputs=self.plan.form.inputs, outputs=self.plan.shown))
        for trigger, answers in ((run.show_answers.click, run.more_answers), (run.fresh.change, run.first_answers)):
            shell.on(
                trigger, do=answers, inputs=[run.chosen], outputs={run.samples, run.show_answers}, trigger_mode="once"
            )
        points = run.checkpoints
        for trigger in (points.ask.click, points.prompt.submit):
            asking = shell.on(
                trigger, do=run.tried, inputs=[run.chosen, points.prompt], outputs={points.answers}, trigger_mode="once"
            )
            shell.on(points.stop.click, do=lambda: None, cancels=[asking])
        done = shell.on(
            points.publish.click,
            do=run.saved_checkpoint,
            inputs=[run.chosen, points.step],
            outputs={points.message},
            trigger_mode="once",
        )
        shell.refresh(shell.on(done.then, do=self.history.draw, outputs=self.history.shown))
        filled = self.plan.form.inputs | {self.plan.form.fold}
        self.plan.redraw(shell, shell.on(run.copy.click, do=self.copy, inputs=[run.chosen], outputs=filled))

    def _wire_history(self, shell: Shell, at_hand: set[Any]) -> None:
        run, history = self.run, self.history
        shell.on(history.runs.input, do=self.open, inputs=[history.runs], outputs=run.shown)
        shell.on(history.variants.input, do=history.picked, inputs=[history.variants], outputs=history.of_variant)
        history.export.wire(shell, history.variants)
        bring = history.bring
        for trigger, take, given in (
            (bring.bring.click, history.brought, bring.path),
            (bring.path.submit, history.brought, bring.path),
            (bring.files.upload, history.dropped, bring.files),
        ):
            shell.refresh(
                shell.on(
                    trigger,
                    do=take,
                    inputs=[given],
                    outputs=history.shown,
                    trigger_mode="once",
                    show_progress="minimal",
                )
            )
        variant = [history.variants]
        for button, do, inputs in (
            (history.live, history.gone_live, [*variant, history.warned]),
            (history.here, history.retrained_here, variant),
            (history.back, history.taken_back, variant),
            (history.remove, history.set_aside, variant),
            (history.restore, history.brought_back, []),
        ):
            done = shell.on(button.click, do=do, inputs=inputs, outputs=history.shown)
            shell.refresh(shell.on(done.then, do=run.draw, inputs=[run.chosen], outputs=run.shown))

    def refresh(self, values: Values) -> Updates:
        """Everything as it is now."""
        run = self.run.draw(values[self.run.chosen]) | {self.run.pulse: self.run.watch.pulse()}
        return self.plan.draw(values) | run | self.history.draw() | self.preferences.draw_all(values)

    def tick(self, values: Values) -> Any:
        """Once a second. Draws the rest again only when a run begins, ends or is published, and nothing before the
        tab was opened for the first time.
        """
        before: Pulse | None = values[self.run.pulse]
        if before is None:
            return gr.skip()
        updates = self.run.tick(values[self.run.chosen], before)
        if not updates:
            return gr.skip()
        now: Pulse = updates[self.run.pulse]
        if before.stage == now.stage:
            return updates
        return updates | self.plan.draw(values) | self.history.draw() | self.preferences.draw_all(values)

    def start(self, values: Values) -> Updates:
        """The big button."""
        self.plan.start(values)
        return self.newest(values)

    def newest(self, values: Values) -> Updates:
        """Show the run that was begun last."""
        return self.refresh({**values, self.run.chosen: None}) | {self.run.chosen: None, self.run.fresh: ""}

    def open(self, chosen: str | None) -> Updates:
        """Show a run from the list."""
        return self.run.draw(chosen) | {self.run.chosen: chosen}

    def discarded(self, chosen: str | None) -> Updates:
        """Set the adapter of the run on show aside; or ask once more, where there is only the run to lose."""
        adapter = self.run.watch.adapter(chosen)
        if adapter is None:
            return self.run.make_sure()
        return self.history.set_aside(adapter) | self.run.draw(chosen)

    def comparer(self, shell: Shell) -> Callable[[str | None], Any]:
        """Opens Compare with the base and the adapter of the run on show."""

        def compare(chosen: str | None) -> Any:
            adapter = self.run.watch.adapter(chosen)
            choose(self._lab, [BASE, adapter] if adapter else [BASE])
            return shell.go("compare")

        return compare

    def copy(self, chosen: str | None) -> Updates:
        """The settings of the run on show, into the form."""
        run = self.run.watch.run(chosen)
        return self.plan.form.copy(run.request.settings) if run else {}

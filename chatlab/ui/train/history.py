"""The lists of runs and of adapters."""

from __future__ import annotations

from typing import Any

import gradio as gr
from markupsafe import Markup

from chatlab.errors import AdapterForgets
from chatlab.lab import Lab
from chatlab.records import BASE, AdapterCard
from chatlab.ui.adapter_choices import OTHER, made_for
from chatlab.ui.html import counted, div, span
from chatlab.ui.run_watch import RunWatch
from chatlab.ui.shell import html_block, notify
from chatlab.ui.train import lineage, report
from chatlab.ui.train.bring import BringAdapter
from chatlab.ui.train.export import AdapterExport
from chatlab.ui.verdict import verdict

MOST = 50
"""Runs listed; older ones stay on the disk."""

Updates = dict[Any, Any]


class TrainHistory:
    """Two lists. Picking a run shows it above; picking an adapter says what can be done with it."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._watch = RunWatch(lab)
        self.export = AdapterExport(lab)
        self.bring = BringAdapter(lab)

    def build(self) -> None:
        self.warned = gr.State(None)
        gr.Markdown("#### Runs")
        self.no_runs = html_block(div("empty", span("", "No runs yet.")))
        self.runs = gr.Radio([], label="Runs", show_label=False, container=False, elem_classes="rows", elem_id="runs")
        gr.Markdown("#### Adapters")
        self.variants = gr.Radio(
            [], label="Adapters", show_label=False, container=False, elem_classes="rows", elem_id="adapters"
        )
        with gr.Row(elem_classes="tight"):
            self.live = gr.Button("Go live", size="sm", min_width=80, scale=0, interactive=False)
            self.here = gr.Button(
                "Retrain on this model too", size="sm", min_width=180, scale=0, visible=False, elem_id="retrain-here"
            )
            self.back = gr.Button("Undo", size="sm", min_width=80, scale=0, visible=False)
            self.remove = gr.Button("Remove", size="sm", min_width=80, scale=0, interactive=False)
            self.restore = gr.Button("Restore", size="sm", min_width=80, scale=0, visible=False)
        with gr.Accordion("Training data", open=False, visible=False, elem_id="adapter-papers") as self.details:
            self.training_data = html_block()
        self.export.build()
        self.bring.build()
        self.problems = html_block()

    @property
    def shown(self) -> set[Any]:
        buttons = {self.live, self.here, self.back, self.remove, self.restore}
        return (
            {
                self.no_runs,
                self.runs,
                self.variants,
                self.problems,
                self.details,
                self.training_data,
                self.warned,
                *buttons,
            }
            | self.export.of_variant
            | self.bring.shown
        )

    @property
    def of_variant(self) -> set[Any]:
        """The components that depend on the chosen adapter."""
        return {
            self.live,
            self.here,
            self.warned,
            self.remove,
            self.details,
            self.training_data,
        } | self.export.of_variant

    def draw(self, variant: str | None = None) -> Updates:
        """Both lists as they are now."""
        cards = self._lab.variants.all_cards()
        others = {card.name for card in self._lab.variants.others()}
        adapters = {card.run: card.name for card in cards}
        runs = [
            (report.row(run, adapters.get(run.id)), run.id)
            for run in map(self._watch.seen, self._lab.training.runs()[:MOST])
        ]
        live, previous = self._lab.variants.live, self._lab.variants.previous
        variants = [(_base_row(live), BASE), *((_row(card, live, card.name in others), card.name) for card in cards)]
        picked = variant if variant in {name for _, name in variants} else None
        return {
            self.runs: gr.Radio(choices=runs, visible=bool(runs)),
            self.no_runs: gr.Markdown(visible=not runs),
            self.variants: gr.Radio(choices=variants, value=picked),
            self.back: gr.Button(f"Undo: back to {previous}", visible=previous is not None),
            self.problems: _problems(self._lab.variants.problems),
        } | self.picked(picked)

    def picked(self, variant: str | None) -> Updates:
        adapter = variant if variant != BASE else None
        return {
            self.details: gr.Accordion(visible=adapter is not None),
            self.training_data: lineage.of_adapter(self._lab, adapter) if adapter else "",
            self.warned: None,
            self.live: gr.Button(
                "Go live",
                variant="secondary",
                interactive=variant in self._lab.variants.names() and variant != self._lab.variants.live,
            ),
            self.here: gr.Button(visible=variant in {c.name for c in self._lab.variants.others() if not c.origin}),
            self.remove: gr.Button(interactive=variant is not None and variant != BASE),
        } | self.export.picked(variant)

    def gone_live(self, variant: str | None, warned: str | None = None) -> Updates:
        """Go live; an adapter that forgot too much only after a warning and a second press."""
        try:
            if variant:
                self._lab.variants.go_live(variant, knowingly=warned == variant)
        except AdapterForgets as forgets:
            notify(forgets)
            return {self.live: gr.Button("Go live anyway", variant="stop"), self.warned: variant}
        return self.draw(variant)

    def retrained_here(self, variant: str | None) -> Updates:
        """Train the approved demonstrations on the model that answers, as the chosen adapter of another was."""
        card = self._lab.variants.card(variant) if variant else None
        if card is not None:
            self._lab.training.retrain_like(card)
        return self.draw(variant)

    def taken_back(self, variant: str | None) -> Updates:
        self._lab.variants.undo()
        return self.draw(variant)

    def set_aside(self, variant: str | None) -> Updates:
        """Remove an adapter, so that it can be brought back."""
        if not variant or variant == BASE:
            return {}
        self._lab.variants.remove(variant)
        return self.draw() | self.offer_back(variant)

    def brought_back(self) -> Updates:
        return self.draw(self._lab.variants.restore()) | self.offer_back(None)

    def brought(self, path: str, request: gr.Request | None = None) -> Updates:
        """Bring the adapter at a path, and choose it in the list."""
        name, updates = self.bring.from_path(path, request)
        return self.draw(name or None) | updates

    def dropped(self, files: list[str] | None, request: gr.Request | None = None) -> Updates:
        """The same for files that were dropped."""
        name, updates = self.bring.from_files(files, request)
        return self.draw(name or None) | updates

    def offer_back(self, name: str | None) -> Updates:
        return {self.restore: gr.Button(f"Restore {name}", visible=name is not None)}


def _base_row(live: str) -> str:
    return f"{'● ' if live == BASE else ''}base\nthe base model, no adapter"


def _row(card: AdapterCard, live: str, other: bool) -> str:
    learned = "trained elsewhere" if card.origin else counted(len(card.demonstrations), "demonstration")
    voted = [counted(len(card.preferences), "preference")] if card.preferences else []
    facts = [learned, *voted, f"forgetting {verdict(card.forgetting).figure}"]
    if card.held_out_before is not None and card.held_out_after is not None:
        facts.append(f"loss {card.held_out_before:.2f} → {card.held_out_after:.2f}")
    if other:
        return f"{card.name}{OTHER}{made_for(card)}\n{' · '.join(facts)}"
    return f"{'● ' if card.name == live else ''}{card.name}\n{' · '.join(facts)}"


def _problems(problems: dict[str, str]) -> Markup:
    return div("problems", *(div("warning", span("", f"{name}: {why}")) for name, why in problems.items()))

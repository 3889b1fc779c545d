"""Before and after, read rather than measured: the base and the new adapter answer prompts that neither has seen."""

from __future__ import annotations

import time
from collections.abc import Iterator

from markupsafe import Markup

from chatlab.engines.base import Sampling
from chatlab.lab import Lab
from chatlab.lab.compare.compare import Pane
from chatlab.records import BASE
from chatlab.training.process.runs import RunView
from chatlab.ui.html import NOTHING, div, element, escaped, joined, span
from chatlab.ui.unseen import EVERYDAY, kind_for, unseen_prompts

PROMPTS = 3
PACE = 0.12
"""Seconds between two drawings; more often costs the browser more than it shows."""
SAMPLING = Sampling(temperature=0.7, max_tokens=64, seed=0)

Answers = list[tuple[str, list[Pane]]]
"""A prompt, and who answered it how."""


class TrainSamples:
    """Answers are kept while the app runs, by adapter, so that a reload shows them again without asking."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._known: dict[str, Answers] = {}

    def known(self, adapter: str | None) -> Markup:
        """The known answers of this adapter; empty if there are none."""
        return render(self._known[adapter]) if adapter in self._known else NOTHING

    def ask(self, run: RunView, adapter: str) -> Iterator[Markup]:
        """Run the next few prompts, and yield the answers as they grow below the known ones."""
        answers = list(self._known.get(adapter, []))
        prompts, begin = self._prompts(run), len(answers)
        shown = 0.0
        for prompt in prompts[begin : begin + PROMPTS]:
            answers.append((prompt, []))
            for panes in self._lab.compare.ask(prompt, [BASE, adapter], SAMPLING):
                answers[-1] = (prompt, panes)
                if time.monotonic() - shown > PACE:
                    shown = time.monotonic()
                    yield render(answers)
        self._known[adapter] = answers
        yield render(answers)

    def _prompts(self, run: RunView) -> list[str]:
        """The person's unseen prompts, or those of the pack that the run was trained on."""
        kind = kind_for(self._tags(run))
        return self._lab.unseen.prompts() if kind == EVERYDAY else unseen_prompts(kind)

    def _tags(self, run: RunView) -> list[str]:
        wanted = set(run.request.demonstrations)
        rows, _ = self._lab.demonstrations.find(limit=500)
        return [tag for demonstration_id, d in rows if demonstration_id in wanted for tag in d.tags[:1]]


def render(answers: Answers) -> Markup:
    """A table: the prompt, the base's answer, the adapter's."""
    head = element("tr", joined(element("th", escaped(name)) for name in ("Prompt", "Before", "After")))
    rows = joined(
        element("tr", element("td", escaped(prompt)) + joined(element("td", _said(pane)) for pane in panes))
        for prompt, panes in answers
    )
    return div("samples", element("table", head + rows))


def _said(pane: Pane) -> Markup:
    if pane.error:
        return span("warning", pane.error)
    proof = f"{pane.provenance.adapter} {pane.provenance.sha256[:8]}".strip() if pane.provenance else ""
    return span("sample-text", pane.text) + div("proof", span("", proof))

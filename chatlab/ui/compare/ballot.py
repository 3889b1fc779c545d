"""The vote buttons and their keys: the panes by number, then tie and bad; T and B as well."""

from __future__ import annotations

from typing import Any

import gradio as gr

from chatlab.lab.compare.compare import MOST
from chatlab.records import Verdict
from chatlab.ui.compare.panes import LETTERS
from chatlab.ui.compare.session import Round

Updates = dict[Any, Any]


class Ballot:
    """Shown when all have duration. For two panes the keys are 1, 2, 3, 4: left, right, tie, both bad."""

    def build(self) -> None:
        with gr.Row(visible=False, elem_classes="tight votes", elem_id="ballot") as self.row:
            self.best = [_button(f"{letter} ({i + 1})", f"key-{i + 1}") for i, letter in enumerate(LETTERS[:MOST])]
            self.tie = _button("Tie (T)", "key-t")
            self.bad = _button("Both bad (B)", "key-b")

    @property
    def parts(self) -> set[Any]:
        return {self.row, *self.best, self.tie, self.bad}

    @property
    def verdicts(self) -> list[tuple[gr.Button, Verdict, int | None]]:
        """What each button says."""
        best: list[tuple[gr.Button, Verdict, int | None]] = [(b, "best", i) for i, b in enumerate(self.best)]
        return [*best, (self.tie, "tie", None), (self.bad, "both bad", None)]

    def draw(self, round_: Round | None) -> Updates:
        """The buttons for this round. They show how many answers there are, and nothing else about them."""
        if round_ is None or not round_.can_vote:
            return {self.row: gr.Row(visible=False)}
        count, two = len(round_.panes), len(round_.spoke) == 2
        word = "better" if two else "best"
        best = {
            button: gr.Button(f"{LETTERS[i]} is {word}  ({i + 1})", visible=i in round_.spoke)
            for i, button in enumerate(self.best)
        }
        return best | {
            self.row: gr.Row(visible=True),
            self.tie: _keyed("Tie" if two else "No difference", count + 1, "t"),
            self.bad: _keyed("Both bad" if two else "All bad", count + 2, "b"),
        }


def _button(label: str, key: str) -> gr.Button:
    return gr.Button(label, size="sm", min_width=90, elem_classes=key)


def _keyed(label: str, number: int, letter: str) -> gr.Button:
    return gr.Button(f"{label}  ({number} or {letter.upper()})", elem_classes=[f"key-{number}", f"key-{letter}"])

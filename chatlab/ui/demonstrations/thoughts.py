"""The boxes of what is thought before answers, each above its answer's: quiet, and only where there is one to hold."""

from __future__ import annotations

from typing import Any

import gradio as gr

from chatlab.lab.data.demonstrations import Demonstrations
from chatlab.ui.demonstrations.calls import STEP
from chatlab.ui.demonstrations.drafts import BOXES, DraftWords

LABEL = "Thought before the answer"
LEARNED = "Learned like the answer. Left empty, it answers at once."
UNLEARNED = "Kept, but not learned: the base's chat template has no place for a thought."


class ThoughtBoxes:
    """One for every turn; those of prompts are never shown."""

    def __init__(self, demonstrations: Demonstrations) -> None:
        self._demonstrations = demonstrations
        self.boxes: list[Any] = []

    def build(self) -> None:
        """The next one, above the box of its turn."""
        box = gr.Textbox(
            label=LABEL,
            lines=1,
            max_lines=8,
            visible=False,
            elem_classes="thought-box",
            elem_id=f"demonstration-thought-{len(self.boxes)}",
        )
        self.boxes = [*self.boxes[: BOXES - 1], box]

    def draw(self, words: DraftWords) -> dict[Any, Any]:
        """Shown where something is thought, and before every answer where the template has a place for a thought."""
        place = self._demonstrations.thinks
        shown = _shown(words, place)
        info = LEARNED if place else UNLEARNED
        thoughts = [*words.reasoning, *[""] * len(self.boxes)]
        return {
            box: gr.Textbox(value=reasoning, visible=number in shown, info=info)
            for number, (box, reasoning) in enumerate(zip(self.boxes, thoughts, strict=False))
        }

    def clear(self) -> dict[Any, Any]:
        return {box: gr.Textbox(value="", visible=False) for box in self.boxes}


def _shown(words: DraftWords, place: bool) -> set[int]:
    """Which turns have one. Before a call, which is an answer that a result follows, none is asked for."""
    turns = enumerate(zip(words.roles, [*words.roles[1:], None], words.reasoning, strict=True))
    return {
        number
        for number, (role, following, reasoning) in turns
        if role == "assistant" and (reasoning or (place and (role, following) != STEP))
    }

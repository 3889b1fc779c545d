"""The boxes of what is thought before answers, each above its answer's: quiet, and only where there is one to hold."""

from __future__ import annotations

from typing import Any

import gradio as gr

from chatlab.lab.data.demonstrations import Demonstrations
from chatlab.ui.demonstrations.calls import STEP
from chatlab.ui.demonstrations.drafts import BOXES, Words

LABEL = "Thinking before the answer"
LEARNED = "Trained like the answer. Leave empty for none."
UNLEARNED = "Stored, but not trained on: the chat template has no thinking."


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

    def draw(self, words: Words) -> dict[Any, Any]:
        """Shown where something is thought, and before every answer where the template has a place for a thought."""
        place = self._demonstrations.thinks
        shown = _shown(words, place)
        info = LEARNED if place else UNLEARNED
        thoughts = [*words.thoughts, *[""] * len(self.boxes)]
        return {
            box: gr.Textbox(value=thought, visible=number in shown, info=info)
            for number, (box, thought) in enumerate(zip(self.boxes, thoughts, strict=False))
        }

    def clear(self) -> dict[Any, Any]:
        return {box: gr.Textbox(value="", visible=False) for box in self.boxes}


def _shown(words: Words, place: bool) -> set[int]:
    """Which turns have one. Before a call, which is an answer that a result follows, none is asked for."""
    turns = enumerate(zip(words.roles, [*words.roles[1:], None], words.thoughts, strict=True))
    return {
        number
        for number, (role, following, thought) in turns
        if role == "assistant" and (thought or (place and (role, following) != STEP))
    }

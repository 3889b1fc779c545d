"""The boxes in which a demonstration is written or changed. Every change is stored as a draft."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import gradio as gr

from chatlab.errors import InputError, NotFound
from chatlab.lab.data.demonstrations import Demonstrations
from chatlab.records import Demonstration, Role
from chatlab.tools import Toolbox
from chatlab.ui.demonstrations.drafts import BLANK, BOXES, NEW, STEP, Drafts, DraftWords, parsed, tools_of
from chatlab.ui.shell import Shell, html_block

LABELS: dict[str, str] = {
    "user": "Prompt",
    "assistant": "Answer",
    "system": "System message",
    "tool": "Tool result (not trained on)",
}
CALLING = "Tool call, such as Call: calculator 12 * 7"


class DemonstrationEditor:
    """A system box, twelve turns of which the needed ones are shown, each with its thinking, and tags.

    A draft is kept until it is saved or discarded.
    """

    def __init__(self, demonstrations: Demonstrations, drafts: Drafts, toolbox: Toolbox) -> None:
        self._demonstrations = demonstrations
        self._toolbox = toolbox
        self._drafts = drafts
        self.thoughts = ThoughtBoxes(demonstrations)

    def build(self) -> None:
        # Both travel with the texts from the browser, so that a draft can never land under another's id.
        self.selected = gr.Number(value=None, precision=0, visible="hidden", elem_id="demonstration-selected")
        self.roles = gr.Textbox(visible="hidden")
        self.hint = html_block(_HINT, elem_classes="flat")
        self.system = gr.Textbox(label="System message (optional)", lines=1, max_lines=6, visible=False)
        self.boxes = [self._box(n) for n in range(BOXES)]
        self.tags = gr.Textbox(label="Tags, separated by commas", max_lines=1, visible=False)
        with gr.Row(elem_classes="tight"):
            self.save = gr.Button("Save", variant="primary", size="sm", visible=False, min_width=110, scale=0)
            self.more = gr.Button("Add a turn", size="sm", visible=False, min_width=110, scale=0)
            self.step = gr.Button("Add a tool step", size="sm", visible=False, min_width=110, scale=0)
            self.revert = gr.Button("Discard changes", size="sm", visible=False, min_width=110, scale=0)

    def _box(self, number: int) -> Any:
        self.thoughts.build()
        return gr.Textbox(lines=2, max_lines=14, visible=False, elem_id=f"demonstration-box-{number}")

    @property
    def inputs(self) -> set[Any]:
        return {self.selected, self.system, self.tags, self.roles, *self.boxes, *self.thoughts.boxes}

    def read(self, values: Mapping[Any, Any]) -> DraftWords:
        """The typed words in the values of `inputs`."""
        return DraftWords.typed(
            system=values[self.system],
            tags=values[self.tags],
            roles=values[self.roles],
            texts=[values[box] for box in self.boxes],
            reasoning=[values[box] for box in self.thoughts.boxes],
        )

    @property
    def shown(self) -> set[Any]:
        return {*self.inputs, self.hint, self.save, self.more, self.step, self.revert}

    def wire(self, shell: Shell) -> None:
        # Gradio reports typing key by key, but neither pasting nor deleting: those are caught when the box is left.
        written = (self.system, self.tags, *self.boxes, *self.thoughts.boxes)
        changes = [event for box in written for event in (box.input, box.blur)]
        shell.on(
            partial(gr.on, changes),
            do=self.remember,
            inputs=self.inputs,
            outputs=[self.revert],
            trigger_mode="always_last",
            queue=False,
        )
        outputs = {*self.boxes, *self.thoughts.boxes, self.roles, self.more, self.step, self.revert}
        shell.on(self.more.click, do=self.add_turn, inputs=self.inputs, outputs=outputs)
        shell.on(self.step.click, do=self.add_step, inputs=self.inputs, outputs=outputs)

    def remember(self, values: Mapping[Any, Any]) -> Any:
        """Keep a draft until it is saved or discarded."""
        return self._remembered(values[self.selected], self.read(values))

    def _remembered(self, selected: int | None, words: DraftWords) -> Any:
        if selected is None:
            return gr.Button(visible=False)
        changed = words != self._stored(int(selected))
        if changed:
            self._drafts.keep(int(selected), words)
        else:
            self._drafts.drop(int(selected))
        return gr.Button(visible=changed)

    def add_turn(self, values: Mapping[Any, Any]) -> dict[Any, Any]:
        """Boxes for one more prompt and answer."""
        words = self.read(values)
        return self._with_room(values[self.selected], words.with_room(len(words.roles), "user", "assistant"))

    def add_step(self, values: Mapping[Any, Any]) -> dict[Any, Any]:
        """Boxes for a call and its result before the last answer. An empty result is computed on saving."""
        words = self.read(values)
        known = words.roles
        place = len(known) - 1 - known[::-1].index("assistant") if "assistant" in known else len(known)
        return self._with_room(values[self.selected], words.with_room(place, *STEP))

    def _with_room(self, selected: int | None, longer: DraftWords) -> dict[Any, Any]:
        if len(longer.roles) > BOXES:
            raise InputError(f"The editor takes up to {BOXES} turns.", "Import a file for longer ones.")
        return self._boxes(longer) | {
            self.roles: " ".join(longer.roles),
            self.revert: self._remembered(selected, longer),
        }

    def open(self, selected: int) -> dict[Any, Any]:
        """Show a demonstration, or the new one, with its draft."""
        stored = self._stored(selected)
        draft = self._drafts.get(selected) or stored
        return self._fill(selected, draft, changed=draft != stored)

    def clear(self) -> dict[Any, Any]:
        hidden = {box: gr.Textbox(value="", visible=False) for box in (self.system, self.tags, *self.boxes)}
        buttons = {button: gr.Button(visible=False) for button in (self.save, self.more, self.step, self.revert)}
        return (
            hidden
            | self.thoughts.clear()
            | buttons
            | {self.selected: None, self.roles: "", self.hint: gr.Markdown(visible=True)}
        )

    def keep(self, values: Mapping[Any, Any], release: bool = False) -> int:
        """Store the typed words and return their id. Raises InputError, and then changes nothing.

        Raises UnseenRepeated where it would teach an unseen prompt, unless `release` takes that out.
        """
        selected: int | None = values[self.selected]
        if selected is None:
            raise InputError("There is nothing to save.", "Choose a demonstration, or write one.")
        words = self.read(values)
        kept = self._keep_new(words, release) if selected == NEW else self._keep_changed(int(selected), words, release)
        self.forget(selected)
        return kept

    def forget(self, selected: int | None) -> None:
        """Delete a draft."""
        if selected is not None:
            self._drafts.drop(int(selected))

    def holds(self, selected: int | None) -> bool:
        """Whether the open demonstration still exists."""
        if not selected:
            return True
        try:
            self._demonstrations.get(int(selected))
        except NotFound:
            return False
        return True

    def _stored(self, selected: int) -> DraftWords:
        return BLANK if selected == NEW else DraftWords.of(self._demonstrations.get(selected))

    def _keep_new(self, words: DraftWords, release: bool) -> int:
        messages = parsed(words.messages(), (), self._toolbox)
        written = Demonstration(messages=messages, source="written", tags=words.label_list())
        return self._demonstrations.add([written], release)[0]

    def _keep_changed(self, selected: int, words: DraftWords, release: bool) -> int:
        before = self._demonstrations.get(selected).messages
        stored = [m for i, m in enumerate(before) if i or m.role != "system"]
        earlier = stored[: max(0, len(stored) - BOXES)]
        messages = parsed(words.messages(earlier), tools_of(before), self._toolbox)
        self._demonstrations.update(selected, messages=messages, tags=words.label_list(), release=release)
        return selected

    def _fill(self, selected: int, words: DraftWords, changed: bool) -> dict[Any, Any]:
        return self._boxes(words) | {
            self.selected: selected,
            self.roles: " ".join(words.roles),
            self.system: gr.Textbox(value=words.system, visible=True),
            self.tags: gr.Textbox(value=words.tags, visible=True),
            self.hint: gr.Markdown(visible=False),
            self.save: gr.Button("Save" if selected else "Save demonstration", visible=True),
            self.revert: gr.Button(visible=changed),
        }

    def _boxes(self, words: DraftWords) -> dict[Any, Any]:
        line = list(zip(words.roles, words.texts, strict=True))
        shown = {
            box: gr.Textbox(value=text, label=label, visible=True)
            for box, (_, text), label in zip(self.boxes, line, _labels(words.roles), strict=False)
        }
        hidden = {box: gr.Textbox(value="", visible=False) for box in self.boxes[len(line) :]}
        room = gr.Button(visible=len(line) + 2 <= BOXES)
        return shown | hidden | self.thoughts.draw(words) | {self.more: room, self.step: room}


def _labels(roles: Sequence[Role]) -> list[str]:
    """What each box is called. An answer before a result is a call."""
    following = [*roles[1:], None]
    return [CALLING if (role, after) == STEP else LABELS[role] for role, after in zip(roles, following, strict=True)]


_HINT = "Choose a demonstration to see which words are trained on."


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

    def draw(self, words: DraftWords) -> dict[Any, Any]:
        """Shown where something is thought, and before every answer where the template has a place for a thought."""
        place = self._demonstrations.thinks
        shown = _with_thought(words, place)
        info = LEARNED if place else UNLEARNED
        thoughts = [*words.reasoning, *[""] * len(self.boxes)]
        return {
            box: gr.Textbox(value=reasoning, visible=number in shown, info=info)
            for number, (box, reasoning) in enumerate(zip(self.boxes, thoughts, strict=False))
        }

    def clear(self) -> dict[Any, Any]:
        return {box: gr.Textbox(value="", visible=False) for box in self.boxes}


def _with_thought(words: DraftWords, place: bool) -> set[int]:
    """Which turns have one. Before a call, which is an answer that a result follows, none is asked for."""
    turns = enumerate(zip(words.roles, [*words.roles[1:], None], words.reasoning, strict=True))
    return {
        number
        for number, (role, following, reasoning) in turns
        if role == "assistant" and (reasoning or (place and (role, following) != STEP))
    }

"""The settings of a run that a person may overrule. An empty box means automatic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import gradio as gr

from chatlab.errors import InputError
from chatlab.records import TrainSettings


@dataclass(frozen=True)
class Field:
    """One setting: its label, the hint when to touch it, and its range."""

    label: str
    when: str
    least: float
    most: float
    whole: bool = False

    def read(self, typed: str) -> int | float:
        """Raises InputError for anything but a number in the range."""
        try:
            value = int(typed) if self.whole else float(typed.replace(",", "."))
        except ValueError:
            value = float("nan")
        if not self.least <= value <= self.most:
            kind = "a whole number" if self.whole else "a number"
            raise InputError(
                f"{self.label} cannot be {typed!r}.",
                f"It takes {kind} from {self.least:g} to {self.most:g}; leave it empty for automatic.",
            )
        return value


FIELDS = {
    "epochs": Field(
        "Epochs", "Raise it when answers barely change; lower it when they copy the training data.", 1, 1000, whole=True
    ),
    "learning_rate": Field("Learning rate", "Halve it when the loss jumps; double it when nothing changes.", 1e-7, 1),
    "kl_weight": Field("KL weight", "Raise it when forgetting is high; 0 turns the KL penalty off.", 0, 1000),
    "rank": Field(
        "LoRA rank", "Raise it for thousands of demonstrations; lower it for a smaller adapter.", 1, 512, whole=True
    ),
    "layers": Field(
        "Share of layers", "1 puts the adapter on all layers, not only the upper ones: it takes twice as long.", 0.05, 1
    ),
    "alpha": Field("LoRA alpha", "Leave it at twice the rank.", 0.01, 4096),
    "batch_size": Field(
        "Batch size", "Raise it for steadier steps; lower it when memory runs out.", 1, 1024, whole=True
    ),
    "grad_accumulation": Field(
        "Gradient accumulation", "Raise it when memory runs out; the result stays the same.", 1, 1024, whole=True
    ),
    "max_tokens": Field("Max tokens", "Raise it when long demonstrations are left out.", 8, 131072, whole=True),
    "held_out": Field("Held-out share", "0 trains on all and measures no held-out loss.", 0, 0.5),
    "seed": Field("Seed", "Change it to see how much varies by chance.", 0, 2**31 - 1, whole=True),
    "dropout": Field("LoRA dropout", "Try 0.05 to 0.1 when it overfits.", 0, 0.9),
}

OTHERS = {
    "kl_samples": "KL samples",
    "max_grad_norm": "Max gradient norm",
    "weight_decay": "Weight decay",
    "adam_epsilon": "Adam epsilon",
    "lr_scheduler_type": "LR schedule",
    "mask": "Loss mask",
}
"""Labels of settings that the form has no box for."""


def label(name: str) -> str:
    """What a field of TrainSettings is called on the screen."""
    return FIELDS[name].label if name in FIELDS else OTHERS.get(name, name.replace("_", " ").capitalize())


class TrainSettingsForm:
    """One box a setting, and a tick for the mask. Plain text boxes: Gradio turns an empty number into a 0."""

    def build(self) -> None:
        with gr.Accordion("Advanced settings", open=False, elem_id="advanced-settings") as self.fold:
            gr.Markdown("Leave a box empty for the automatic value in grey.", elem_classes="flat faint")
            with gr.Row(elem_classes="settings-form"):
                self.boxes = {
                    name: gr.Textbox("", label=field.label, info=field.when, min_width=150, max_lines=1)
                    for name, field in FIELDS.items()
                }
            self.mask = gr.Checkbox(
                True,
                label="Train on answers only (loss mask)",
                info="Turn it off only to compare: the model then learns to write prompts too.",
            )
            self.clear = gr.Button("Reset to automatic", size="sm")

    @property
    def inputs(self) -> set[Any]:
        return {*self.boxes.values(), self.mask}

    def overrides(self, values: Mapping[Any, Any]) -> dict[str, Any]:
        """The settings that are not automatic, by the names of TrainSettings. Raises InputError."""
        typed = {name: (values[box] or "").strip() for name, box in self.boxes.items()}
        chosen: dict[str, Any] = {name: FIELDS[name].read(text) for name, text in typed.items() if text}
        return chosen if values[self.mask] else chosen | {"mask": False}

    def show_automatic(self, settings: TrainSettings) -> dict[Any, Any]:
        """The grey number in each box."""
        known = asdict(settings)
        return {box: gr.Textbox(placeholder=f"{known[name]:g}") for name, box in self.boxes.items()}

    def copy(self, settings: TrainSettings) -> dict[Any, Any]:
        """Every box filled from a run, and the fold opened."""
        known = asdict(settings)
        return {box: repr(known[name]) for name, box in self.boxes.items()} | {
            self.mask: settings.mask,
            self.fold: gr.Accordion(open=True),
        }

    def automatic(self) -> dict[Any, Any]:
        """All boxes empty."""
        return dict.fromkeys(self.boxes.values(), "") | {self.mask: True}

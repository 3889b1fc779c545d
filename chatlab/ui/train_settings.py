"""The settings of a run that a person may overrule. An empty box leaves the choice to Chatlab."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import gradio as gr

from chatlab.records import TrainSettings

FIELDS: dict[str, tuple[str, str]] = {
    "passes": (
        "Passes",
        "More when it has not learned enough; fewer when it repeats its demonstrations word for word.",
    ),
    "learning_rate": ("Learning rate", "Halve it when the loss jumps about; double it when nothing changes."),
    "leash": ("Leash", "Raise it when the model forgets; 0 lets go and shows what forgetting is."),
    "rank": ("Rank", "Raise it for thousands of demonstrations; lower it for a smaller adapter."),
    "alpha": ("Alpha", "Leave at twice the rank, unless a recipe says otherwise."),
    "batch": ("Batch", "Larger is steadier and needs more memory; smaller takes more steps."),
    "accumulate": ("Pieces a batch", "Raise it when memory runs out; the result stays the same."),
    "max_tokens": ("Longest demonstration, tokens", "Raise it when long demonstrations are left out."),
    "held_out": ("Share kept aside", "0 learns from every one, and measures on none."),
    "seed": ("Seed", "Change it to see how much of a result is luck."),
    "dropout": ("Dropout", "0.05 to 0.1 when it learns its demonstrations by heart."),
}
WHOLE = {"passes", "rank", "batch", "accumulate", "max_tokens", "seed"}


class TrainSettingsForm:
    """One box a setting, and a tick for the mask."""

    def build(self) -> None:
        with gr.Accordion("Advanced settings", open=False, elem_id="advanced-settings") as self.fold:
            gr.Markdown("An empty box is chosen for you; the grey number is the choice.", elem_classes="flat faint")
            with gr.Row(elem_classes="settings-form"):
                self.boxes = {
                    name: gr.Number(
                        value=None, label=label, info=info, min_width=220, precision=0 if name in WHOLE else None,
                        minimum=0, step=1 if name in WHOLE else 0.0001,
                    )
                    for name, (label, info) in FIELDS.items()
                }  # fmt: skip
            self.mask = gr.Checkbox(
                True,
                label="Grade only the answers (loss mask)",
                info="Off only to see what goes wrong without it: the model then learns to write prompts too.",
            )
            self.clear = gr.Button("Back to automatic", size="sm")

    @property
    def inputs(self) -> list[Any]:
        return [*self.boxes.values(), self.mask]

    def overrides(self, *values: Any) -> dict[str, Any]:
        """What differs from automatic, by the names of TrainSettings."""
        *numbers, mask = values
        chosen: dict[str, Any] = {
            name: int(value) if name in WHOLE else float(value)
            for name, value in zip(self.boxes, numbers, strict=True)
            if value is not None
        }
        return chosen if mask else chosen | {"mask": False}

    def show_automatic(self, settings: TrainSettings) -> dict[Any, Any]:
        """The grey number in each box."""
        known = asdict(settings)
        return {box: gr.Number(placeholder=f"{known[name]:g}") for name, box in self.boxes.items()}

    def copy(self, settings: TrainSettings) -> dict[Any, Any]:
        """Every box filled from a run, and the fold opened."""
        known = asdict(settings)
        return {box: known[name] for name, box in self.boxes.items()} | {
            self.mask: settings.mask,
            self.fold: gr.Accordion(open=True),
        }

    def automatic(self) -> dict[Any, Any]:
        """All boxes empty."""
        return dict.fromkeys(self.boxes.values()) | {self.mask: True}

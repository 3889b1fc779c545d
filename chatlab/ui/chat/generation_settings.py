"""The panel beside the chat: which adapter answers, how strongly, and how tokens are sampled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from chatlab.engines.base import Sampling
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.ui.adapter_choices import adapter_choices
from chatlab.ui.chat.tool_switch import ToolSwitch

LIVE = ""
"""The choice that follows the live adapter."""

DEFAULTS = Sampling()
RANGES = {
    "strength": (0, 1.5),
    "temperature": (0, 1.5),
    "top_p": (0.05, 1),
    "repetition_penalty": (1, 2),
    "seed": (0, 2**31),
}
"""The numbers that the browser keeps, and what they may be."""
KEPT = (*RANGES, "knowledge")
FORMER = ("strength", "temperature", "top_p", "repetition_penalty", "max_tokens", "seed", "thinking", "knowledge")
"""The values that browsers keep as a list: now, and when the budgets were among them."""

Values = Mapping[Any, Any]


class GenerationPanel:
    """The components, and the settings that their values mean."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.tools = ToolSwitch(lab)

    def build(self) -> None:
        self.variant = gr.Dropdown(choices(self._lab), value=LIVE, label="Adapter", elem_id="adapter", filterable=False)
        self.strength = gr.Slider(
            0, 1.5, 1.0, step=0.05, label="Strength", info="0 is the base model, 1 the adapter as trained."
        )
        self.knowledge = gr.Checkbox(
            label="Answer from my documents",
            info="Passages from Knowledge are added to your message; answers can cite them as [1].",
            elem_id="knowledge-on",
        )
        with gr.Accordion("Sampling", open=False):
            self.temperature = gr.Slider(
                0,
                1.5,
                DEFAULTS.temperature,
                step=0.05,
                label="Temperature",
                info="Lower is more predictable; 0 always picks the likeliest token.",
            )
            self.top_p = gr.Slider(
                0.05, 1, DEFAULTS.top_p, step=0.05, label="Top-p", info="Lower it to drop unlikely tokens."
            )
            self.repetition_penalty = gr.Slider(
                1,
                2,
                DEFAULTS.repetition_penalty,
                step=0.05,
                label="Repetition penalty",
                info="Raise it above 1 when answers repeat themselves.",
            )
            self.seed = gr.Number(None, label="Seed", precision=0, info="Set it to repeat an answer; empty is random.")
        self.max_tokens = gr.Slider(
            16,
            1024,
            DEFAULTS.max_tokens,
            step=16,
            label="Max tokens",
            elem_id="budget",
            info="The longest answer, for this conversation.",
        )
        self.thinking = gr.Slider(
            0,
            2048,
            0,
            step=32,
            label="Max thinking tokens",
            visible=False,
            elem_id="thinking",
            info="At the limit the answer begins. 0 turns thinking off.",
        )
        self.tools.build()

    @property
    def budgets(self) -> list[Any]:
        """The components whose values a conversation keeps."""
        return [self.max_tokens, self.thinking]

    @property
    def kept(self) -> dict[str, Any]:
        """The components whose values the browser keeps: neither the adapter nor what a conversation keeps."""
        return {name: getattr(self, name) for name in KEPT}

    @property
    def inputs(self) -> set[Any]:
        return {self.variant, *self.kept.values(), *self.budgets, self.tools.box}

    def read(self, values: Values) -> ReplyOptions:
        """The settings in the values of `inputs`."""
        seed = values[self.seed]
        return ReplyOptions(
            variant=values[self.variant] or None,
            strength=float(values[self.strength]),
            sampling=Sampling(
                temperature=float(values[self.temperature]),
                top_p=float(values[self.top_p]),
                repetition_penalty=float(values[self.repetition_penalty]),
                max_tokens=int(values[self.max_tokens]),
                seed=None if seed is None else int(seed),
                thinking=int(values[self.thinking] or 0),
            ),
            knowledge=bool(values[self.knowledge]),
            tools=tuple(values[self.tools.box] or ()),
        )

    def keep(self, values: Values) -> list[Any]:
        """What the browser keeps, in the order of KEPT."""
        return [values[component] for component in self.kept.values()]

    def restore(self, values: Any) -> dict[Any, Any]:
        """Updates from what the browser kept."""
        return {self.kept[name]: value for name, value in fitting(values).items()}

    def show_thinking(self) -> Any:
        """The budget of a thought, shown where the base's template has thoughts."""
        return gr.Slider(visible=self._lab.machine.base.template.thinking is not None)

    def show_adapters(self) -> Any:
        """The adapters that can be chosen now."""
        return gr.Dropdown(choices=choices(self._lab))

    def follow_model(self, chosen: str | None) -> Any:
        """The adapters of the model that answers now; the live one, where the chosen one is another model's."""
        kept = chosen if chosen in self._lab.variants.names() else LIVE
        return gr.Dropdown(choices=choices(self._lab), value=kept)


def fitting(values: Any) -> dict[str, Any]:
    """The values of a browser by name, less what is no value of that component."""
    if not isinstance(values, list):
        return {}
    for names in (KEPT, FORMER):
        if len(names) == len(values):
            named = dict(zip(names, values, strict=True))
            numbers = {name: named[name] for name, span in RANGES.items() if _fits(named[name], *span)}
            return numbers | ({"knowledge": named["knowledge"]} if isinstance(named["knowledge"], bool) else {})
    return {}


def _fits(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def choices(lab: Lab) -> list[tuple[str, str]]:
    """The live adapter, then the base and every adapter by name."""
    return [(f"Live: {lab.variants.live}", LIVE), *adapter_choices(lab)]

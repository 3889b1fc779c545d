"""The panel beside the chat: which variant answers, how strongly, and how the next token is sampled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gradio as gr

from chatlab.engines.base import Sampling
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions

LIVE = ""
"""The choice that follows the live variant."""

DEFAULTS = Sampling()
RANGES = ((0, 1.5), (0, 1.5), (0.05, 1), (1, 2), (0, 2**31))
"""Ranges of what the browser keeps: strength, temperature, top p, repetition penalty, seed; then a boolean."""
WITH_BUDGETS = 8
"""How many values a browser has kept while the budgets were among them."""


class GenerationSettings(NamedTuple):
    """The panel's components, in the order of `reply_options`."""

    variant: Any
    strength: Any
    temperature: Any
    top_p: Any
    repetition_penalty: Any
    max_tokens: Any
    seed: Any
    thinking: Any
    knowledge: Any

    @property
    def budgets(self) -> list[Any]:
        """Those that are kept with the conversation."""
        return [self.max_tokens, self.thinking]

    @property
    def in_browser(self) -> list[Any]:
        """Those that the browser remembers, in the order of `RANGES`; knowledge last."""
        return [self.strength, self.temperature, self.top_p, self.repetition_penalty, self.seed, self.knowledge]


def reply_options(
    variant: str | None = LIVE,
    strength: float = 1.0,
    temperature: float = DEFAULTS.temperature,
    top_p: float = DEFAULTS.top_p,
    repetition_penalty: float = DEFAULTS.repetition_penalty,
    max_tokens: float = DEFAULTS.max_tokens,
    seed: float | None = None,
    thinking: float | None = 0,
    knowledge: bool | None = False,
    tools: Sequence[str] | None = (),
) -> ReplyOptions:
    """The components' values, in their order, as the chat takes them."""
    sampling = Sampling(
        temperature=float(temperature),
        top_p=float(top_p),
        repetition_penalty=float(repetition_penalty),
        max_tokens=int(max_tokens),
        seed=None if seed is None else int(seed),
        thinking=int(thinking or 0),
    )
    return ReplyOptions(
        sampling=sampling,
        variant=variant or None,
        strength=float(strength),
        knowledge=bool(knowledge),
        tools=tuple(tools or ()),
    )


def kept(*values: float | bool | None) -> list[float | bool | None]:
    """What the browser keeps of the panel."""
    return list(values)


def remembered(values: Any) -> list[Any]:
    """The settings as the browser kept them; the defaults where it kept nothing that fits."""
    if isinstance(values, list) and len(values) == WITH_BUDGETS:
        values = [*values[:4], values[5], values[7]]
    if not isinstance(values, list) or len(values) != len(RANGES) + 1:
        return [gr.skip()] * (len(RANGES) + 1)
    *numbers, knowledge = values
    fitting = [v if _fits(v, *span) else gr.skip() for v, span in zip(numbers, RANGES, strict=True)]
    return [*fitting, knowledge if isinstance(knowledge, bool) else gr.skip()]


def _fits(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def choices(lab: Lab) -> list[tuple[str, str]]:
    """The live variant, then the base and every adapter by name."""
    return [(f"Live: {lab.variants.live}", LIVE), *((name, name) for name in lab.variants.names())]


def build(lab: Lab) -> GenerationSettings:
    variant = gr.Dropdown(choices(lab), value=LIVE, label="Who speaks", elem_id="voice", filterable=False)
    strength = gr.Slider(
        0, 1.5, 1.0, step=0.05, label="Strength", info="0 is the base alone, 1 the adapter as it was trained."
    )
    knowledge = gr.Checkbox(
        label="Answer from my documents",
        info="What matches in Knowledge is put before the question and can be cited as [1].",
        elem_id="knowledge-on",
    )
    with gr.Accordion("How it draws its words", open=False):
        temperature = gr.Slider(
            0, 1.5, DEFAULTS.temperature, step=0.05, label="Temperature", info="0 always takes the likeliest word."
        )
        top_p = gr.Slider(0.05, 1, DEFAULTS.top_p, step=0.05, label="Top p", info="Leaves out the unlikely tail.")
        penalty = gr.Slider(
            1, 2, DEFAULTS.repetition_penalty, step=0.05, label="Repetition penalty", info="1 lets it repeat itself."
        )
        seed = gr.Number(None, label="Seed", precision=0, info="Empty draws anew each time.")
    budget = gr.Slider(
        16,
        1024,
        DEFAULTS.max_tokens,
        step=16,
        label="Most tokens in an answer",
        elem_id="budget",
        info="Kept with the conversation.",
    )
    thinking = gr.Slider(
        0,
        2048,
        0,
        step=32,
        label="Most tokens of thinking before it",
        visible=False,
        elem_id="thinking",
        info="Then the thought is closed and the answer begins. 0 answers at once.",
    )
    return GenerationSettings(variant, strength, temperature, top_p, penalty, budget, seed, thinking, knowledge)


def thinking(lab: Lab) -> Any:
    """The budget of reasoning, offered where the base's template has a place for it."""
    return gr.Slider(visible=lab.machine.base.template.thinking is not None)

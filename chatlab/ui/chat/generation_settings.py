"""The panel beside the chat: who speaks, how strongly, and how the next token is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from chatlab.conversation import Budget
from chatlab.engines.base import Sampling
from chatlab.lab import Lab

LIVE = ""
"""The choice that follows whoever is live."""

DEFAULTS = Sampling()
BUDGET, THINKING = 5, 7
"""Places, among the dials, of the two that belong to a conversation."""
RANGES = ((0, 1.5), (0, 1.5), (0.05, 1), (1, 2), (0, 2**31))
"""Of what the browser keeps: strength, temperature, top p, repetition penalty and seed; after them a yes or no."""
FORMER = 8
"""How many values a browser has kept where it kept the budgets too, among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dials:
    """What the panel says."""

    voice: str | None
    """None for whoever is live."""
    strength: float
    sampling: Sampling
    knowledge: bool = False
    """Whether the documents are asked too."""
    tools: tuple[str, ...] = ()
    """What may be called."""

    @classmethod
    def of(
        cls,
        voice: str | None = LIVE,
        strength: float = 1.0,
        temperature: float = DEFAULTS.temperature,
        top_p: float = DEFAULTS.top_p,
        repetition_penalty: float = DEFAULTS.repetition_penalty,
        max_tokens: float = DEFAULTS.max_tokens,
        seed: float | None = None,
        thinking: float | None = 0,
        knowledge: bool | None = False,
        tools: Sequence[str] | None = (),
    ) -> Dials:
        """From the components' values, in their order."""
        sampling = Sampling(
            temperature=float(temperature),
            top_p=float(top_p),
            repetition_penalty=float(repetition_penalty),
            max_tokens=int(max_tokens),
            seed=None if seed is None else int(seed),
            thinking=int(thinking or 0),
        )
        return cls(
            voice=voice or None,
            strength=float(strength),
            sampling=sampling,
            knowledge=bool(knowledge),
            tools=tuple(tools or ()),
        )

    @property
    def budget(self) -> Budget:
        """What answers may spend."""
        return Budget(answer=self.sampling.max_tokens, thinking=self.sampling.thinking)

    @property
    def chosen(self) -> tuple[Sampling, str | None, float, bool, tuple[str, ...]]:
        """What a reply is asked for with, in the order of `Chat.reply`."""
        return self.sampling, self.voice, self.strength, self.knowledge, self.tools


def browsers(dials: Sequence[Any]) -> list[Any]:
    """Those of the dials that the browser remembers: neither who speaks nor what a conversation may spend."""
    return [dial for place, dial in enumerate(dials) if place not in (0, BUDGET, THINKING)]


def kept(*values: float | bool | None) -> list[float | bool | None]:
    """What the browser keeps of the panel."""
    return list(values)


def remembered(values: Any) -> list[Any]:
    """The dials as the browser kept them; as they come where it kept nothing that fits."""
    if isinstance(values, list) and len(values) == FORMER:
        values = browsers([None, *values])
    if not isinstance(values, list) or len(values) != len(RANGES) + 1:
        return [gr.skip()] * (len(RANGES) + 1)
    *numbers, knowledge = values
    fitting = [v if _fits(v, *span) else gr.skip() for v, span in zip(numbers, RANGES, strict=True)]
    return [*fitting, knowledge if isinstance(knowledge, bool) else gr.skip()]


def _fits(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def choices(lab: Lab) -> list[tuple[str, str]]:
    """Whoever is live, then the base and every adapter by name."""
    return [(f"Live: {lab.voices.live}", LIVE), *((name, name) for name in lab.voices.names())]


def build(lab: Lab) -> list[Any]:
    """The components, in the order of `Dials.of`."""
    voice = gr.Dropdown(choices(lab), value=LIVE, label="Adapter", elem_id="voice", filterable=False)
    strength = gr.Slider(
        0, 1.5, 1.0, step=0.05, label="Strength", info="0 is the base model, 1 the adapter as trained."
    )
    knowledge = gr.Checkbox(
        label="Answer from my documents",
        info="Passages from Knowledge are added to your message; answers can cite them as [1].",
        elem_id="knowledge-on",
    )
    with gr.Accordion("Sampling", open=False):
        temperature = gr.Slider(
            0,
            1.5,
            DEFAULTS.temperature,
            step=0.05,
            label="Temperature",
            info="Lower is more predictable; 0 always picks the likeliest token.",
        )
        top_p = gr.Slider(0.05, 1, DEFAULTS.top_p, step=0.05, label="Top-p", info="Lower it to drop unlikely tokens.")
        penalty = gr.Slider(
            1,
            2,
            DEFAULTS.repetition_penalty,
            step=0.05,
            label="Repetition penalty",
            info="Raise it above 1 when answers repeat themselves.",
        )
        seed = gr.Number(None, label="Seed", precision=0, info="Set it to repeat an answer; empty is random.")
    budget = gr.Slider(
        16,
        1024,
        DEFAULTS.max_tokens,
        step=16,
        label="Max tokens",
        elem_id="budget",
        info="The longest answer, for this conversation.",
    )
    thinking = gr.Slider(
        0,
        2048,
        0,
        step=32,
        label="Max thinking tokens",
        visible=False,
        elem_id="thinking",
        info="At the limit the answer begins. 0 turns thinking off.",
    )
    return [voice, strength, temperature, top_p, penalty, budget, seed, thinking, knowledge]


def thinking(lab: Lab) -> Any:
    """The budget of a thought, offered where the base's template has a place for one."""
    return gr.Slider(visible=lab.machine.base.template.thinking is not None)

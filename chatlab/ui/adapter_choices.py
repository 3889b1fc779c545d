"""The adapters of a list: those that can be chosen, then those of other models, which stand grey and say why."""

from __future__ import annotations

from chatlab.lab import Lab
from chatlab.records import AdapterCard
from chatlab.ui.html import one_line

OTHER = " \N{MIDDLE DOT} made for "
"""In the label of an adapter of another model; `page.css` greys what holds it. No adapter's name can."""


def made_for(card: AdapterCard) -> str:
    """The name of its model, as far as it is known."""
    return one_line(card.base_name, 60) or f"another model ({card.base[:7]})"


def adapter_choices(lab: Lab) -> list[tuple[str, str]]:
    """Labels and names: the base, the adapters made for it, and the others."""
    own = [(name, name) for name in lab.variants.names()]
    return own + [(f"{card.name}{OTHER}{made_for(card)}", card.name) for card in lab.variants.others()]

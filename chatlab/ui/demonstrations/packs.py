"""Starter packs as cards, each loaded with one click."""

from __future__ import annotations

from typing import Any

import gradio as gr
from markupsafe import Markup

from chatlab.lab.data.demonstrations import Demonstrations
from chatlab.lab.data.packs import Pack
from chatlab.ui.html import counted, div, span
from chatlab.ui.shell import html_block


class DemonstrationPacks:
    """The cards, in a fold that is open while there is nothing else to see."""

    def __init__(self, demonstrations: Demonstrations) -> None:
        self._demonstrations = demonstrations
        self.buttons: dict[str, gr.Button] = {}
        self._cards: dict[str, gr.Markdown] = {}

    def build(self) -> None:
        packs = self._demonstrations.packs()
        with gr.Accordion("Starter packs", open=False) as self.fold:
            with gr.Row(elem_classes="packs"):
                for pack in packs:
                    with gr.Column(min_width=260, elem_classes="card"):
                        self._cards[pack.name] = html_block(_card(pack), elem_classes="flat")
                        self.buttons[pack.name] = gr.Button(_offer(pack), size="sm", elem_id=f"load-{pack.name}")

    @property
    def shown(self) -> set[Any]:
        return {self.fold, *self._cards.values(), *self.buttons.values()}

    def draw(self, empty: bool) -> dict[Any, Any]:
        """The cards as they are now; the fold opens while the store is `empty`, and is left as it is afterwards."""
        updates: dict[Any, Any] = {self.fold: gr.Accordion(open=True) if empty else gr.Accordion()}
        for pack in self._demonstrations.packs():
            updates[self._cards[pack.name]] = _card(pack)
            updates[self.buttons[pack.name]] = gr.Button(
                _offer(pack),
                interactive=pack.loaded < pack.size,
                variant="primary" if empty and pack.loaded < pack.size else "secondary",
            )
        return updates


def _card(pack: Pack) -> Markup:
    return div("pack", span("pack-title", pack.title), span("pack-about", pack.about))


def _offer(pack: Pack) -> str:
    left = pack.size - pack.loaded
    if not left:
        return f"Loaded, all {pack.size}"
    return f"Load {counted(left, 'demonstration')}" if not pack.loaded else f"Load the missing {left}"

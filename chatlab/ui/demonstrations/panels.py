"""The folds above the list, findings and pruning, and what they do to the list and the desk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatlab.lab import Lab
from chatlab.lab.data.quality import Hardness
from chatlab.ui.demonstrations.pruning import PruningPanel
from chatlab.ui.demonstrations.quality import QualityPanel
from chatlab.ui.shell import Shell

if TYPE_CHECKING:
    from chatlab.ui.demonstrations.tab import DemonstrationsTab

Updates = dict[Any, Any]


class QualityPanels:
    """Handlers that change demonstrations end with what is selected and the place in the list."""

    def __init__(self, lab: Lab, tab: DemonstrationsTab) -> None:
        self._tab = tab
        self.findings = QualityPanel(lab.quality, lab.demonstrations)
        self.pruning = PruningPanel(lab.quality, lab.demonstrations)

    def build(self) -> None:
        self.findings.build()
        self.pruning.build()

    @property
    def shown(self) -> set[Any]:
        return self.findings.shown | self.pruning.shown

    @property
    def place(self) -> list[Any]:
        return [*self.findings.place, *self.pruning.place]

    def wire(self, shell: Shell) -> None:
        tab, findings, pruning = self._tab, self.findings, self.pruning
        at_hand = [tab.editor.selected, *tab.list.place]
        everything = tab.list.shown | tab.desk | tab.packs.shown | self.shown | {tab.undo, tab.undoable}
        shell.on(shell.items["demonstrations"].select, do=self.opened, inputs=self.place, outputs=self.shown)
        pressed = [findings.bridge.said, *findings.place, *at_hand]
        shell.on(findings.bridge.pressed, do=self.pressed, inputs=pressed, outputs=everything, trigger_mode="multiple")
        shell.on(pruning.apply.click, do=self.pruned, inputs=[*self.place, *at_hand], outputs=everything)
        findings.wire(shell)
        pruning.wire(shell)

    def follow(self, shell: Shell, *changes: Any) -> None:
        """Draw again after events that changed demonstrations elsewhere in the tab."""
        for change in changes:
            shell.on(change.then, do=self.opened, inputs=self.place, outputs=self.shown)

    def opened(self, kind: str, page: int, key: str, keep: float, by: Hardness, doubles: bool) -> Updates:
        """Both folds as they are now."""
        return self.findings.refresh(kind, page, key) | self.pruning.draw(keep, by, doubles)

    def pressed(self, payload: str, kind: str, page: int, key: str, selected: int | None, *place: Any) -> Updates:
        """A button on a finding's card, or the number of a demonstration anywhere."""
        pressed = self.findings.press(payload, kind, page, key)
        if pressed.show:
            return self._tab.list.draw(*place, selected=pressed.show) | self._tab.open(pressed.show)
        return pressed.updates | (self._changed(pressed.done, selected, *place) if pressed.done else {})

    def pruned(
        self,
        kind: str,
        page: int,
        key: str,
        keep: float,
        by: Hardness,
        doubles: bool,
        selected: int | None,
        *place: Any,
    ) -> Updates:
        """Discard what the preview showed."""
        gone = self.pruning.prune(keep, by, doubles)
        drawn = self._changed(f"discarded {gone:,}", selected, *place)
        return drawn | self.opened(kind, page, key, keep, by, doubles)

    def _changed(self, done: str, selected: int | None, *place: Any) -> Updates:
        """List and desk after several changed at once."""
        tab = self._tab
        there = selected if tab.editor.holds(selected) else None
        drawn = tab.list.draw(*place, selected=there) | tab.open(there)
        return drawn | tab.offer_undo(("quality", there or 0, ""), f"Undo: {done}  (U)")

"""The folds above the list, findings and pruning, and what they change in the list and the editor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from chatlab.lab import Lab
from chatlab.ui.demonstrations.pruning import PruningPanel
from chatlab.ui.demonstrations.quality import QualityPanel
from chatlab.ui.shell import Shell

if TYPE_CHECKING:
    from chatlab.ui.demonstrations.tab import DemonstrationsTab

Updates = dict[Any, Any]
Values = Mapping[Any, Any]


class QualityPanels:
    """Both folds, and what their buttons change in the tab."""

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
    def inputs(self) -> set[Any]:
        return {*self.findings.place, *self.pruning.place}

    def wire(self, shell: Shell) -> None:
        tab, findings, pruning = self._tab, self.findings, self.pruning
        at_hand = self.inputs | tab.list.inputs | {tab.editor.selected}
        everything = tab.list.shown | tab.editing | tab.packs.shown | self.shown | {tab.undo, tab.undoable}
        shell.on(shell.items["demonstrations"].select, do=self.opened, inputs=self.inputs, outputs=self.shown)
        pressed = at_hand | {findings.bridge.payload}
        shell.on(findings.bridge.pressed, do=self.pressed, inputs=pressed, outputs=everything, trigger_mode="multiple")
        shell.on(pruning.apply.click, do=self.pruned, inputs=at_hand, outputs=everything)
        findings.wire(shell)
        pruning.wire(shell)

    def follow(self, shell: Shell, *changes: Any) -> None:
        """Draw again after events that changed demonstrations elsewhere in the tab."""
        for change in changes:
            shell.on(change.then, do=self.opened, inputs=self.inputs, outputs=self.shown)

    def opened(self, values: Values) -> Updates:
        """Both folds as they are now."""
        return self.findings.refresh(*self.findings.read(values)) | self.pruning.draw(*self.pruning.read(values))

    def pressed(self, values: Values) -> Updates:
        """A button on a finding's card, or the number of a demonstration anywhere."""
        pressed = self.findings.press(values[self.findings.bridge.payload], *self.findings.read(values))
        if pressed.show:
            return self._tab.list.draw(self._tab.list.read(values), selected=pressed.show) | self._tab.open(
                pressed.show
            )
        return pressed.updates | (self._changed(pressed.done, values) if pressed.done else {})

    def pruned(self, values: Values) -> Updates:
        """Discard the demonstrations of the preview."""
        gone = self.pruning.prune(*self.pruning.read(values))
        return self._changed(f"discarded {gone:,}", values) | self.opened(values)

    def _changed(self, done: str, values: Values) -> Updates:
        """List and editor after several demonstrations changed at once."""
        tab, selected = self._tab, values[self._tab.editor.selected]
        there = selected if tab.editor.holds(selected) else None
        updates = tab.list.draw(tab.list.read(values), selected=there) | tab.open(there)
        return updates | tab.offer_undo(("quality", there or 0, ""), f"Undo: {done}  (U)")

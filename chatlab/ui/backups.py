"""Backups: copies of the store, made and restored, and the trash of removed adapters."""

from __future__ import annotations

from typing import Any

import gradio as gr

from chatlab.conversation import HOUSE
from chatlab.errors import InputError
from chatlab.lab import Lab
from chatlab.store import Backup
from chatlab.ui.current_user import current_user
from chatlab.ui.html import NOTHING, counted, div, press, span
from chatlab.ui.shell import Shell, html_block

Updates = dict[Any, Any]

ABOUT = (
    "Backups hold conversations, demonstrations, preferences, votes and unseen prompts. One is made each day you "
    "open Chatlab; store/backups keeps the newest ten. Documents, adapters and runs are not included: to back them "
    "up, close Chatlab and copy the store and adapters folders."
)
SEVERAL = " Restoring brings back only your own conversations. Shared data is restored only by {house}."
RELOAD = press("Reload the page", "quiet", act="reload")


class SafekeepingPanel:
    """A restore asks first and backs up the current state, so that it can be undone."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._keeping = lab.backups

    def build(self, shell: Shell) -> None:
        with gr.Accordion("Backups", open=False, elem_id="backups") as self.fold:
            html_block(div("import-notes", span("", self._about())), elem_classes="flat")
            self.pick = gr.Radio([], label="Saved backups", elem_id="backups-kept")
            with gr.Row(elem_classes="tight"):
                self.make = _button("Back up now", "backups-make", variant="primary")
                self.restore = _button("Restore", "backups-restore")
                self.sure = _button("Yes, replace everything with this backup", "backups-sure", visible=False)
                self.cancel = _button("Cancel", "backups-cancel", visible=False)
                self.undo = _button("Undo the restore", "backups-undo", visible=False)
            self.message = html_block(elem_id="backups-said", elem_classes="flat")
            with gr.Row(elem_classes="tight"):
                self.trash = _button("Empty the trash", "trash-empty", visible=False)
        self._wire(shell)

    def _wire(self, shell: Shell) -> None:
        shown = [self.pick, self.restore, self.sure, self.cancel, self.undo, self.message, self.trash]
        shell.on(self.fold.expand, do=self.opened, outputs=shown)
        shell.on(self.make.click, do=self.made, outputs=shown, trigger_mode="once")
        shell.on(self.restore.click, do=self.asked, inputs=[self.pick], outputs=shown)
        shell.on(self.cancel.click, do=self.opened, outputs=shown)
        shell.on(self.sure.click, do=self.restored, inputs=[self.pick], outputs=shown, trigger_mode="once")
        shell.on(self.undo.click, do=self.undone, outputs=shown, trigger_mode="once")
        shell.on(self.trash.click, do=self.emptied, outputs=shown, trigger_mode="once")

    def opened(self, request: gr.Request | None = None) -> Updates:
        """As it is now."""
        return self._shown(self._person(request))

    def _shown(self, person: str, said: str = "", stale: bool = False) -> Updates:
        """`stale` when the rest of the page still shows what was there before."""
        kept = self._keeping.all()
        number, size = self._keeping.trash()
        emptying = f"Empty the trash: {counted(number, 'removed adapter')}, {size / 2**20:.1f} MB"
        return {
            self.pick: gr.Radio([(_label(one), one.name) for one in kept], value=None),
            self.restore: gr.Button(visible=bool(kept)),
            self.sure: gr.Button(visible=False),
            self.cancel: gr.Button(visible=False),
            self.undo: gr.Button(visible=self._keeping.undoable(person)),
            self.message: div("import-notes", span("", said), RELOAD if stale else NOTHING) if said else "",
            self.trash: gr.Button(emptying, visible=bool(number)),
        }

    def made(self, request: gr.Request | None = None) -> Updates:
        person = self._person(request)
        made = self._keeping.make()
        return self._shown(person, f"Saved as backup {made.number}.")

    def asked(self, name: str | None, request: gr.Request | None = None) -> Updates:
        """What restoring will do, before it does."""
        person, chosen = self._person(request), self._chosen(name)
        what, rest = self._scope(person)
        words = (
            f"{what} will be restored to {_when(chosen)}{rest}. The current state is backed up first, so you can undo."
        )
        return {
            self.restore: gr.Button(visible=False),
            self.sure: gr.Button(visible=True),
            self.cancel: gr.Button(visible=True),
            self.undo: gr.Button(visible=False),
            self.message: div("import-notes", span("", words)),
        }

    def restored(self, name: str | None, request: gr.Request | None = None) -> Updates:
        person, chosen = self._person(request), self._chosen(name)
        before = self._keeping.restore(chosen.name, person)
        what, rest = self._scope(person)
        words = f"Restored to {_when(chosen)}: {what[0].lower()}{what[1:]}{rest}. "
        return self._shown(person, words + f"The earlier state is backup {before.number}.", stale=True)

    def undone(self, request: gr.Request | None = None) -> Updates:
        person = self._person(request)
        self._keeping.undo(person)
        return self._shown(person, "Restore undone.", stale=True)

    def emptied(self, request: gr.Request | None = None) -> Updates:
        person = self._person(request)
        gone = self._keeping.empty_trash()
        return self._shown(person, f"Deleted {counted(gone, 'removed adapter')}.")

    def _person(self, request: gr.Request | None) -> str:
        person = current_user(request, self._lab.settings.auth)
        if person is None:
            raise InputError("You are not signed in.", "Reload the page.")
        return person

    def _about(self) -> str:
        auth = self._lab.settings.auth
        return ABOUT + (SEVERAL.format(house=auth[0][0]) if len(auth) > 1 else "")

    def _scope(self, person: str) -> tuple[str, str]:
        """What a restore by this person brings back, and what it leaves."""
        auth = self._lab.settings.auth
        if len(auth) < 2:
            return "Everything", ""
        if person == HOUSE:
            return "Shared data and your conversations", "; other people's conversations do not change"
        left = f"; only {auth[0][0]} can restore shared data"
        return "Your conversations", left

    def _chosen(self, name: str | None) -> Backup:
        found = next((one for one in self._keeping.all() if one.name == name), None)
        if found is None:
            raise InputError("No backup is chosen.", "Choose one from the list.")
        return found


def _button(label: str, name: str, **look: Any) -> gr.Button:
    return gr.Button(label, size="sm", scale=0, min_width=120, elem_id=name, **look)


def _label(one: Backup) -> str:
    return f"{one.number}: {_when(one)}, {one.bytes / 1000:,.0f} kB"


def _when(one: Backup) -> str:
    return f"{one.created[:10]} {one.created[11:16]} UTC"

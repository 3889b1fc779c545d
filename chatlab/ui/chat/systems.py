"""The system message's part of the panel: the message itself, presets, variables, and who the model says it is."""

from __future__ import annotations

from typing import Any

import gradio as gr

from chatlab.errors import InputError
from chatlab.lab import Lab
from chatlab.lab.chat.system_messages import DATED, SystemMessages, in_lines, others
from chatlab.lab.data.identity import TONES, Tone, Written
from chatlab.ui.chat.about import About
from chatlab.ui.chat.session import Session
from chatlab.ui.demonstrations.lineage import ask_for
from chatlab.ui.html import counted
from chatlab.ui.page_event import PageEvent
from chatlab.ui.shell import Bridge, Shell, html_block, inform

HINT = "Instructions for every answer. {name}, {maker}, {date} and your own variables are filled in."
Updates = dict[Any, Any]


class SystemPanel:
    """Handlers end with the session, where they are about a conversation."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.about = About(lab)
        self._systems: SystemMessages = lab.system_messages

    def build(self) -> None:
        values = self._systems.values()
        self.system = gr.Textbox(label="System message", info=HINT, lines=3, max_lines=10, elem_id="system")
        self.drawn = html_block(elem_id="about")
        self.presets = gr.Dropdown(self._names(), value=None, label="Preset", elem_id="presets", filterable=False)
        with gr.Accordion("Save as preset", open=False, elem_id="own-presets"):
            self.name = gr.Textbox(label="Name", max_lines=1, elem_id="preset-name")
            with gr.Row(elem_classes="tight"):
                self.save = gr.Button("Save", size="sm", min_width=60, elem_id="preset-save")
                self.rename = gr.Button("Rename", size="sm", min_width=60, elem_id="preset-rename")
                self.delete = gr.Button("Delete", size="sm", min_width=60, elem_id="preset-delete")
                self.undo = gr.Button("Undo", size="sm", min_width=60, visible=False, elem_id="preset-undo")
        with gr.Accordion("Variables", open=False, elem_id="variables"):
            self.called = gr.Textbox(values["name"], label="{name}", max_lines=1, elem_id="variable-name")
            self.maker = gr.Textbox(values.get("maker", ""), label="{maker}", max_lines=1, elem_id="variable-maker")
            self.others = gr.Textbox(
                in_lines(values),
                label="Other variables",
                info="One per line, like `language: English`.",
                lines=2,
                max_lines=6,
                elem_id="variable-others",
            )
        with gr.Accordion("Teach an identity", open=False, elem_id="identity"):
            self.tone = gr.Dropdown(list(TONES), value=TONES[0], label="Tone", filterable=False)
            self.under = gr.Checkbox(True, label="With this system message", elem_id="identity-under")
            self.write = gr.Button("Write drafts", size="sm", elem_id="identity-write")
        self.bridge = Bridge("self")

    @property
    def variables(self) -> list[Any]:
        return [self.called, self.maker, self.others]

    def wire(self, shell: Shell, session: Any) -> None:
        here = [self.system, session]
        message = {self.system, self.drawn}
        chosen = shell.on(self.presets.input, do=self.begin, inputs=[self.presets], outputs={self.system, self.name})
        for settled in (chosen.then, self.system.blur):
            shell.on(settled, do=self.set, inputs=here, outputs=message)
        shell.on(shell.items["chat"].select, do=self.look, inputs=here, outputs={self.drawn})
        shell.on(shell.load, do=self.came, inputs=here, outputs={self.presets, *self.variables})
        kept = {self.presets, self.name, self.undo}
        shell.on(self.save.click, do=self.saved, inputs=[self.name, self.system], outputs=kept)
        shell.on(self.rename.click, do=self.renamed, inputs=[self.presets, self.name], outputs=kept)
        shell.on(self.delete.click, do=self.deleted, inputs=[self.presets], outputs=kept)
        shell.on(self.undo.click, do=self.brought_back, outputs=kept)
        for box in self.variables:
            shell.on(box.blur, do=self.set_values, inputs=[*self.variables, *here], outputs={self.drawn})
        drafted = {"outputs": {*message, shell.tabs}}
        drawn = [self.tone, self.under, *here]
        shell.on(self.write.click, do=self.written, inputs=drawn, **drafted, trigger_mode="once")
        shell.on(self.bridge.pressed, do=self.pressed, inputs=[self.bridge.payload, *drawn], **drafted)
        self._tabs = shell.tabs

    # The message.

    def set(self, text: str, session: Session) -> Updates:
        """Keep it with the conversation, if there is one yet: from the next answer on."""
        if session.conversation is not None:
            conversation = self.lab.chat.get(session.conversation)
            if text.strip() != (conversation.system_template or conversation.system):
                self.lab.chat.set_system(session.conversation, self._systems.filled(text), text)
        return self.look(text, session)

    def begin(self, name: str | None) -> Updates:
        """Put a preset into the box."""
        preset = self._systems.get(name or "Nothing")
        own = any(one.name == preset.name for one in self._systems.own())
        return {self.system: preset.text, self.name: preset.name if own else gr.skip()}

    def look(self, text: str, session: Session) -> Updates:
        """What stands below the box, as it is now."""
        return {self.drawn: self.render(text, session)}

    def render(self, text: str | None, session: Session) -> str:
        conversation = None if session.conversation is None else self.lab.chat.get(session.conversation)
        return self.about.draw(text, conversation)

    def came(self, text: str, session: Session) -> Updates:
        """A page that opens: presets and variables as the store has them."""
        values = self._systems.values()
        return self._choices() | {
            self.called: values["name"],
            self.maker: values.get("maker", ""),
            self.others: in_lines(values),
        }

    def pressed(self, payload: str, tone: Tone, under: bool, text: str, session: Session) -> Updates:
        """A button below the message. Raises InputError for what no button says."""
        match PageEvent.read(payload).do:
            case "system-again":
                return self._become(text, session)
            case "system-none":
                return self._become("", session)
            case "system-trained":
                return self._become(self._trained(text, session), session)
            case "identity":
                return self.written(tone, under, text, session)
        raise InputError("The page sent an unknown request.", "Reload the page.")

    def _become(self, text: str, session: Session) -> Updates:
        if session.conversation is not None:
            self.lab.chat.set_system(session.conversation, self._systems.filled(text), text)
        return {self.system: text, self.drawn: self.render(text, session)}

    def _trained(self, text: str, session: Session) -> str:
        """The message that the live adapter was trained with, its date being today's from now on."""
        told = self._told(text, session)
        found = next(
            (one for one in self.lab.mismatch.of(told) if one.kind in ("missing message", "other message")), None
        )
        if found is None:
            raise InputError("The live adapter has no other system message.", "Write one, or choose a preset.")
        return DATED.sub("{date}", found.trained)

    def _told(self, text: str, session: Session) -> str:
        if session.conversation is None:
            return self._systems.filled(text)
        return self.lab.chat.get(session.conversation).system

    # Presets.

    def saved(self, name: str, text: str) -> Updates:
        kept = self._systems.save(name, text)
        inform(f"Saved as {kept.name}.")
        return self._choices(kept.name)

    def renamed(self, chosen: str | None, name: str) -> Updates:
        return self._choices(self._systems.rename(chosen or "", name).name)

    def deleted(self, chosen: str | None) -> Updates:
        self._systems.delete(chosen or "")
        return self._choices() | {self.name: "", self.undo: gr.Button(visible=True)}

    def brought_back(self) -> Updates:
        return self._choices(self._systems.undo_delete()) | {self.undo: gr.Button(visible=False)}

    def _names(self) -> list[str]:
        return [one.name for one in self._systems.presets()]

    def _choices(self, chosen: str | None = None) -> Updates:
        return {self.presets: gr.Dropdown(choices=self._names(), value=chosen)}

    # Variables and identity.

    def set_values(self, name: str, maker: str, lines: str, text: str, session: Session) -> Updates:
        """Keep them; a message that is set keeps the values with which it was filled in."""
        self._systems.set_values(name, maker, others(lines))
        return self.look(text, session)

    def written(self, tone: Tone, under: bool, text: str, session: Session) -> Updates:
        """Add drafts to the queue and open it. Skipped questions are named."""
        values = self._systems.values()
        system = self._told(text, session) if under else ""
        done = self.lab.identity.write(values["name"], values.get("maker", ""), tone, system)
        inform(drafted(done))
        if not done.ids:
            return {self.drawn: self.render(text, session)}
        ask_for(self.lab, done.ids[-1])
        return {self.drawn: self.render(text, session), self._tabs: gr.Tabs(selected="demonstrations")}


def drafted(done: Written) -> str:
    """In words."""
    said = [f"{counted(len(done.ids), 'draft')} added. Approve them in Demonstrations before training."]
    if done.known:
        said.append(f"{counted(done.known, 'question')} skipped: already answered.")
    if done.unseen:
        said.append(f"{counted(done.unseen, 'question')} skipped: in your unseen prompts.")
    return " ".join(said)

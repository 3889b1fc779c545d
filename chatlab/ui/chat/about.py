"""Below the system message: the text that the model will read, whether it was trained with it, and answer lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chatlab.conversation import Conversation
from chatlab.errors import ChatlabError
from chatlab.evaluation.length_drift import LEAST, Growth
from chatlab.lab import Lab
from chatlab.lab.guide.answer_length import LengthReport
from chatlab.lab.runs.prompt_mismatch import Kind, Mismatch
from chatlab.records import Message
from chatlab.ui.chat.transcript import button
from chatlab.ui.html import counted, div, element, escaped, one_line, span

IDENTITY = ("identity", "Write identity demonstrations")
TRAINED = ("system-trained", "Use the trained message")
WAYS: Mapping[Kind, tuple[tuple[str, str], ...]] = {
    "untrained message": (("system-none", "Talk without it"), IDENTITY),
    "missing message": (TRAINED, IDENTITY),
    "other message": (TRAINED, IDENTITY),
    "other name": (IDENTITY,),
}
"""What a button does and is called, by what disagrees."""


class About:
    """Draws; changes nothing."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def draw(self, wording: str | None, conversation: Conversation | None) -> str:
        """One line of HTML. `wording` is what stands in the box; a conversation has its own message."""
        system = self.lab.system_messages.filled(wording) if conversation is None else conversation.system
        return div(
            "about",
            self._preview(wording or "", system, conversation),
            self._accord(system),
            thrift(self.lab.answer_lengths.report()),
        )

    def _preview(self, wording: str, system: str, conversation: Conversation | None) -> str:
        head = "What the model reads first" if system else "No system message: the model reads only the conversation."
        text = div("read-first", escaped(system)) if system else ""
        return div(
            "preview", span("about-head", head), text, self._as_written(system), *self._notes(wording, conversation)
        )

    def _as_written(self, system: str) -> str:
        """The message within the chat template, if the model is open already."""
        if not system or not self.lab.machine.started:
            return ""
        try:
            template = self.lab.machine.base.template
            messages = [Message(role="system", content=system), Message(role="user", content="…")]
            ids = template.prompt(messages)
        except ChatlabError:
            return ""
        summary = element("summary", escaped(f"As the chat template writes it, {counted(len(ids), 'token')}"))
        return element("details", summary + div("read-first raw", escaped(template.text(ids))))

    def _notes(self, wording: str, conversation: Conversation | None) -> list[str]:
        notes = []
        if unset := self.lab.system_messages.unset(wording):
            names = ", ".join(f"{{{name}}}" for name in unset)
            notes.append(div("about-note warn", escaped(f"{names} has no value and reaches the model as it is.")))
        if conversation is None:
            return notes
        if self.lab.system_messages.filled(wording) != conversation.system:
            said = escaped("It was filled in when it was set. Filled in now, it would read otherwise. ")
            notes.append(div("about-note", said, _own("system-again", "Fill it in again")))
        return [*notes, *_in_the_middle(conversation)]

    def _accord(self, system: str) -> str:
        found = self.lab.mismatch.of(system)
        untrained = [one for one in found if one.kind != "other name"]
        return discords(found, self.lab.mismatch.ready(system) if untrained and system else 0)


def _in_the_middle(conversation: Conversation) -> list[str]:
    """What a changed message does to a conversation that has answers already."""
    answers = [turn for turn in conversation.path() if turn.role == "assistant"]
    older = sum(turn.original_system != () for turn in answers)
    if older:
        said = f"{counted(older, 'answer')} above kept another system message: the one that it was asked under."
        said += " Kept as a demonstration, it is learned under that one."
        return [div("about-note", escaped(said))]
    if answers:
        return [div("about-note", escaped("A change counts from the next answer on; those above keep this one."))]
    return []


def discords(found: Sequence[Mismatch], ready: int) -> str:
    """How prompt and training differ, and what can be done; nothing where they agree."""
    if not found:
        return ""
    ways = list(dict.fromkeys(way for one in found for way in WAYS[one.kind]))
    retrain = button("retrain", f"Retrain: {counted(ready, 'approved demonstration')} with this message", "small")
    return div(
        "discord",
        element("b", "Prompt and training disagree"),
        *(part for one in found for part in (div("", escaped(one.why)), _trained(one))),
        div("about-do", *(_own(act, label) for act, label in ways), retrain if ready else ""),
    )


def _trained(one: Mismatch) -> str:
    return div("read-first", escaped(one_line(one.trained, 240))) if one.trained and one.kind != "other name" else ""


def thrift(found: LengthReport) -> str:
    """Mean answer length; a warning where it grows."""
    if not found.now.count:
        return ""
    few = f"; from {LEAST} on it is said whether they grow" if found.now.count < LEAST else ""
    taught = "" if found.taught is None else f" Answers it learned have {found.taught.mean:.0f}."
    over = f"over {counted(found.now.count, 'answer')}{few}."
    said = f"{found.name}: {found.now.mean:.0f} tokens an answer on average, {over}"
    return div(
        "thrift",
        span("", said + taught),
        *(div("about-note warn", escaped(grown_in_words(found, one))) for one in found.growth),
    )


def grown_in_words(found: LengthReport, growth: Growth) -> str:
    """One sentence of a warning."""
    if growth.since == "demonstrations":
        return (
            f"Answers are {growth.times:.1f} times as long as the ones that {found.name} learned: "
            f"{growth.now.mean:.0f} tokens against {growth.before.mean:.0f}."
        )
    return (
        f"Answers grow: {growth.now.mean:.0f} tokens on average by {found.name}, "
        f"{growth.before.mean:.0f} by {found.earlier} before it ({growth.times:.1f} times as many)."
    )


def _own(act: str, label: str) -> str:
    return button(act, label, "small", to="self")

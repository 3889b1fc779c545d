"""Below the system message: what the model will really read, whether it was trained with it, how long it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from chatlab.conversation import Conversation
from chatlab.errors import ChatlabError
from chatlab.evaluation.length_drift import LEAST, Growth
from chatlab.lab import Lab
from chatlab.lab.guide.answer_length import LengthReport
from chatlab.lab.runs.prompt_mismatch import Kind, Mismatch
from chatlab.records import Message
from chatlab.ui.html import NOTHING, button, counted, div, element, escaped, one_line, span

IDENTITY = ("identity", "Write identity demonstrations")
TRAINED = ("system-trained", "Use the trained system message")
WAYS: Mapping[Kind, tuple[tuple[str, str], ...]] = {
    "untrained message": (("system-none", "Remove the system message"), IDENTITY),
    "missing message": (TRAINED, IDENTITY),
    "other message": (TRAINED, IDENTITY),
    "other name": (IDENTITY,),
}
"""What a button does and is called, by what disagrees."""


class About:
    """Draws; changes nothing."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def draw(self, wording: str | None, conversation: Conversation | None) -> Markup:
        """One line of HTML. `wording` is what stands in the box; a conversation has its own message."""
        told = self.lab.system_messages.filled(wording) if conversation is None else conversation.system
        return div(
            "about",
            self._preview(wording or "", told, conversation),
            self._accord(told),
            report(self.lab.answer_lengths.report()),
        )

    def _preview(self, wording: str, told: str, conversation: Conversation | None) -> Markup:
        head = "The model reads this first" if told else "No system message. The model reads only the conversation."
        text = div("read-first", escaped(told)) if told else NOTHING
        return div(
            "preview", span("about-head", head), text, self._as_written(told), *self._notes(wording, conversation)
        )

    def _as_written(self, told: str) -> Markup:
        """With the template's own words around it, once the model is open: nothing is opened to show this."""
        if not told or not self.lab.machine.started:
            return NOTHING
        try:
            template = self.lab.machine.base.template
            asked = [Message(role="system", content=told), Message(role="user", content="…")]
            ids = template.prompt(asked)
        except ChatlabError:
            return NOTHING
        summary = element("summary", escaped(f"With the chat template, {counted(len(ids), 'token')}"))
        return element("details", summary + div("read-first raw", escaped(template.text(ids))))

    def _notes(self, wording: str, conversation: Conversation | None) -> list[Markup]:
        notes = []
        if unset := self.lab.system_messages.unset(wording):
            names = ", ".join(f"{{{name}}}" for name in unset)
            notes.append(div("about-note warn", escaped(f"{names} has no value, so the model sees it unfilled.")))
        if conversation is None:
            return notes
        if self.lab.system_messages.filled(wording) != conversation.system:
            said = escaped("Its variables have new values since it was set. ")
            notes.append(div("about-note", said, _own("system-again", "Update")))
        return [*notes, *_in_the_middle(conversation)]

    def _accord(self, told: str) -> Markup:
        found = self.lab.mismatch.of(told)
        untrained = [one for one in found if one.kind != "other name"]
        return discords(found, self.lab.mismatch.ready(told) if untrained and told else 0)


def _in_the_middle(conversation: Conversation) -> list[Markup]:
    """What a change does to a conversation in which something was answered already."""
    answers = [turn for turn in conversation.path() if turn.role == "assistant"]
    older = sum(turn.original_system != () for turn in answers)
    if older:
        said = f"{counted(older, 'answer')} above used another system message."
        said += " A demonstration made from one keeps that message."
        return [div("about-note", escaped(said))]
    if answers:
        return [div("about-note", escaped("A change applies from the next answer on."))]
    return []


def discords(found: Sequence[Mismatch], ready: int) -> Markup:
    """Prompt and training do not match: in what, and what can be done. Nothing where they do not."""
    if not found:
        return NOTHING
    ways = list(dict.fromkeys(way for one in found for way in WAYS[one.kind]))
    retrain = button("retrain", f"Retrain: {counted(ready, 'approved demonstration')} with this message", "small")
    return div(
        "discord",
        element("b", escaped("Prompt and training do not match")),
        *(part for one in found for part in (div("", escaped(one.why)), _trained(one))),
        div("about-do", *(_own(act, label) for act, label in ways), retrain if ready else NOTHING),
    )


def _trained(one: Mismatch) -> Markup:
    return (
        div("read-first", escaped(one_line(one.trained, 240))) if one.trained and one.kind != "other name" else NOTHING
    )


def report(found: LengthReport) -> Markup:
    """How long answers are; a warning where they grow."""
    if not found.now.count:
        return NOTHING
    few = f"; trend after {LEAST} answers" if found.now.count < LEAST else ""
    taught = "" if found.taught is None else f" Training data: {found.taught.mean:.0f}."
    over = f"over {counted(found.now.count, 'answer')}{few}."
    said = f"{found.name}: {found.now.mean:.0f} tokens per answer {over}"
    return div(
        "thrift",
        span("", said + taught),
        *(div("about-note warn", escaped(grown_in_words(found, one))) for one in found.growth),
    )


def grown_in_words(found: LengthReport, growth: Growth) -> str:
    """One sentence of a warning."""
    if growth.since == "demonstrations":
        return (
            f"Answers are {growth.times:.1f} times as long as in the training data of {found.name}: "
            f"{growth.now.mean:.0f} tokens, not {growth.before.mean:.0f}."
        )
    return (
        f"Answers get longer: {growth.now.mean:.0f} tokens on average with {found.name}, "
        f"{growth.before.mean:.0f} with {found.earlier} before it ({growth.times:.1f} times as long)."
    )


def _own(act: str, label: str) -> Markup:
    return button(act, label, "small", to="self")

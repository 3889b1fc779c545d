"""A chat template tried on hard conversations before anything is trained with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from chatlab.errors import TemplateRefused, TokenizerFailed
from chatlab.records import Message

if TYPE_CHECKING:
    from chatlab.template.template import Encoded, Template

PLAIN = "A plain answer, of two lines.\nHere is the second."
HARD = (
    "\n\n  Two empty lines and two spaces first.",
    "Thanks 🙂!",
    "def f(x):\n\treturn x  # code\n",
    "()",
    "... 1,000",
    "All work and no play makes a dull boy. " * 60,
)
REWRITES = (
    "The chat template rewrites what messages say, and its model expects them rewritten; Chatlab trains and asks with "
    "the words as they are."
)


def problems(template: Template) -> Iterator[str]:
    """What would go wrong, in plain words."""
    look_alikes = "Typed, not meant: " + " ".join(template.control_tokens)
    for answer in (PLAIN, *HARD, look_alikes):
        for messages in _conversations(answer):
            try:
                yield from _problems(template, messages, can_be_said=answer != look_alikes)
            except TemplateRefused as refusal:
                yield str(refusal)
            except TokenizerFailed as failed:  # each further text might take as long
                yield str(failed)
                return


def _conversations(answer: str) -> Iterator[list[Message]]:
    user = Message(role="user", content=f"Say this: {answer}")
    said = Message(role="assistant", content=answer)
    yield [user, said]
    yield [Message(role="system", content="Be exact."), user, said, user, said]


def _problems(template: Template, messages: Sequence[Message], can_be_said: bool) -> Iterator[str]:
    if can_be_said and template.rewrites(messages[:-1]):
        yield REWRITES
    sequences = template.encode(messages)
    turns = [k for k, m in enumerate(messages) if m.role == "assistant"]
    answers = [answer for one in sequences for answer in _answers(one)]
    if len(answers) != len(turns):
        yield f"{len(answers)} of {len(turns)} answers would be trained on."
    for turn, (start, learned, sequence) in zip(turns, answers, strict=False):
        if tuple(template.prompt(messages[:turn])) != sequence.ids[:start]:
            yield "Training and chat would build different prompts."
        if learned[-1] not in template.stop_ids:
            yield "The end of an answer is not trained on, or does not stop a reply: replies would never end."
        if template.is_control(learned[:-1]):
            yield "A control token that is typed as text would be trained on as one."
        text = template.text(learned[:-1])
        if can_be_said and text.strip() != messages[turn].content.strip():
            yield f"An answer would be changed in training: {messages[turn].content!r} becomes {text!r}."


def _answers(one: Encoded) -> Iterator[tuple[int, tuple[int, ...], Encoded]]:
    """Where each learned stretch of a sequence starts, and its ids."""
    start = None
    for k, label in enumerate((*one.labels, -100)):
        if label >= 0 and start is None:
            start = k
        elif label < 0 and start is not None:
            yield start, one.ids[start:k], one
            start = None

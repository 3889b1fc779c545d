"""Preferences to pairs of examples, and single answers with a thumb to judged ones."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from chatlab.errors import EmptyAnswer, NothingToLearn, TemplateRefused, TokenizerFailed
from chatlab.quality.questions import like_questions
from chatlab.records import Message, TrainSettings
from chatlab.system.lines import json_lines
from chatlab.template import Template
from chatlab.training.data import IGNORED, Example
from chatlab.training.defaults import held_out_count
from chatlab.training.process.runs import Dropped


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two answers to one prompt, tokenised; their labels are the answers' tokens, ends included."""

    id: int
    """Of the preference in the store; below 0 for one that was made for a run."""
    group: str
    """Equal for prompts that ask the same: these are held out together."""
    chosen: Example
    rejected: Example
    asked: str = ""
    """The last message before the answers."""

    @property
    def sequences(self) -> tuple[Example, Example]:
        """Both, the longer one first, as `collate` packs them; the chosen one where they are as long."""
        if len(self.rejected.ids) > len(self.chosen.ids):
            return self.rejected, self.chosen
        return self.chosen, self.rejected

    @property
    def length(self) -> int:
        """Tokens of both."""
        return len(self.chosen.ids) + len(self.rejected.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One answer, liked or not."""

    id: int
    group: str
    example: Example
    liked: bool

    @property
    def sequences(self) -> tuple[Example, ...]:
        """As `Pair` has two."""
        return (self.example,)

    @property
    def length(self) -> int:
        """Tokens, those of the prompt included."""
        return len(self.example.ids)

    def given(self, other: Judged) -> Judged:
        """The same answer to the prompt of `other`, by which KTO estimates how far the model has moved at all."""
        prompt = other.example.ids[: len(other.example.ids) - other.example.num_labels]
        answer = self.example.ids[len(self.example.ids) - self.example.num_labels :]
        ids = prompt + answer
        example = Example(demonstration=self.id, ids=ids, labels=(IGNORED,) * len(prompt) + answer)
        return Judged(id=self.id, group=other.group, example=example, liked=self.liked)


T = TypeVar("T", Pair, Judged)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferred:
    """What a snapshot of preferences gives: all `Pair`, or all `Judged`."""

    train: tuple[Any, ...]
    held_out: tuple[Any, ...]
    dropped: tuple[Dropped, ...]


def read_preferences(snapshot: Path, template: Template, settings: TrainSettings, context: int) -> Preferred:
    """Tokenise a snapshot of preferences: a JSON object a line with `id`, `messages`, the last of them the chosen
    answer, and `rejected`, the other one; or `liked`, true or false, where there is only one.

    Raises NothingToLearn where none can be used.
    """
    found: list[Any] = []
    dropped: list[Dropped] = []
    read: list[list[Message]] = []
    for number, raw in json_lines(snapshot):
        if raw is None or not {"id", "messages"} <= raw.keys():
            dropped.append(Dropped(id=0, reason=f"line {number} of the snapshot cannot be read"))
            continue
        made = _read(raw, template, min(settings.max_tokens, context))
        if isinstance(made, str):
            dropped.append(Dropped(id=raw["id"], reason=made))
        else:
            found.append(made)
            read.append([Message.of(said) for said in raw["messages"]])
    if not found:
        reasons = "; ".join(sorted({one.reason for one in dropped})[:3]) or "there are none"
        raise NothingToLearn(f"None of the preferences can be learned: {reasons}.", "Vote on shorter answers.")
    for alike in like_questions(dict(enumerate(read))):
        for number in alike:
            found[number] = replace(found[number], group=found[alike[0]].group)
    train, held_out = split(found, settings)
    return Preferred(train=tuple(train), held_out=tuple(held_out), dropped=tuple(dropped))


def split(found: Sequence[T], settings: TrainSettings) -> tuple[list[T], list[T]]:
    """What is learned and what is held out: all that share a prompt are on one side. The seed alone decides."""
    wanted = held_out_count(len(found), settings.held_out)
    groups = sorted({one.group for one in found})
    random.Random(f"pairs aside {settings.seed}").shuffle(groups)
    aside: set[str] = set()
    for group in groups:
        if sum(one.group in aside for one in found) >= wanted or len(aside) + 1 == len(groups):
            break
        aside.add(group)
    return [one for one in found if one.group not in aside], [one for one in found if one.group in aside]


def _read(raw: dict[str, Any], template: Template, longest: int) -> Pair | Judged | str:
    """One of the snapshot's lines, or why it is left out."""
    *prompt, answer = [Message.of(m) for m in raw["messages"]]
    group = json.dumps([[m.role, " ".join(m.content.casefold().split())] for m in prompt])
    answers = [answer, *([Message.of(raw["rejected"])] if "rejected" in raw else [])]
    try:
        examples = [_example(raw["id"], prompt, each, template) for each in answers]
    except (EmptyAnswer, TemplateRefused, TokenizerFailed) as error:
        return str(error)
    if (found := max(len(example.ids) for example in examples)) > longest:
        return f"longer than {longest} tokens ({found})"
    if len(examples) == 1:
        return Judged(id=raw["id"], group=group, example=examples[0], liked=raw["liked"])
    if examples[0].ids == examples[1].ids:
        return "both answers are the same"
    asked = prompt[-1].content if prompt else ""
    return Pair(id=raw["id"], group=group, chosen=examples[0], rejected=examples[1], asked=asked)


def _example(id: int, prompt: Sequence[Message], answer: Message, template: Template) -> Example:
    """Only the answer has labels: earlier ones in the prompt were not what was preferred."""
    if not answer.content.strip() and not answer.calls:
        raise EmptyAnswer("An answer is empty.", "Leave that pair out.")
    asked, said = template.turn([*prompt, answer])
    return Example(demonstration=id, ids=(*asked, *said), labels=(*[IGNORED] * len(asked), *said))

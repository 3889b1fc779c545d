"""Demonstrations to examples (ids and labels), and examples to the steps of a run."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chatlab.errors import EmptyAnswer, NothingToLearn, TemplateRefused, TokenizerFailed
from chatlab.quality.questions import like_questions
from chatlab.records import Message, TrainSettings
from chatlab.system.lines import json_lines
from chatlab.template import Template
from chatlab.training.defaults import Lengths, held_out_count
from chatlab.training.process.runs import Dropped

IGNORED = -100
MOST_HELD_OUT = 0.2
"""Share of the demonstrations that groups of more than one make up at most when they are held out."""
MIN_PREFIX = 8
"""Tokens that sequences have to begin with alike before these are computed once for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One tokenised sequence. A demonstration gives one, or several where its template renders no single sequence."""

    demonstration: int
    ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def length(self) -> int:
        """Tokens."""
        return len(self.ids)

    @property
    def num_labels(self) -> int:
        """Supervised tokens: labels that have a token before them to be predicted from."""
        return sum(label != IGNORED for label in self.labels[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The examples of a snapshot."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    """To measure on."""
    dropped: tuple[Dropped, ...]
    questions: int = 0
    """Different questions that all of them answer."""
    held_out_questions: int = 0
    """Those that are held out: no training example answers one."""


def read_examples(
    snapshot: Path, template: Template, settings: TrainSettings, context: int, only: Collection[int] | None = None
) -> Split:
    """Tokenise a snapshot of demonstrations, or `only` those with these ids.

    Raises NothingToLearn where none can be used. Held-out examples are measured on their answers alone, also where
    every token is learned: so the two compare.
    """
    examples: list[Example] = []
    dropped: list[Dropped] = []
    messages: dict[int, list[Message]] = {}
    for number, raw in json_lines(snapshot):
        if raw is None or not {"id", "messages"} <= raw.keys():
            dropped.append(Dropped(id=0, reason=f"line {number} of the snapshot cannot be read"))
            continue
        if only is not None and raw["id"] not in only:
            continue
        messages[raw["id"]] = turns = [Message.of(said) for said in raw["messages"]]
        made = _examples_of(raw["id"], turns, template, min(settings.max_tokens, context))
        if isinstance(made, str):
            dropped.append(Dropped(id=raw["id"], reason=made))
        else:
            examples += made
    if not examples:
        raise NothingToLearn(*_why_nothing(dropped))
    groups = like_questions({example.demonstration: messages[example.demonstration] for example in examples})
    train, held_out = split(examples, settings, groups)
    if not settings.mask:
        train = [replace(example, labels=example.ids) for example in train]
    ids = {example.demonstration for example in held_out}
    return Split(
        train=tuple(train),
        held_out=tuple(held_out),
        dropped=tuple(dropped),
        questions=len(groups),
        held_out_questions=sum(group[0] in ids for group in groups),
    )


def split(
    examples: Sequence[Example], settings: TrainSettings, groups: Sequence[tuple[int, ...]] = ()
) -> tuple[list[Example], list[Example]]:
    """Training and held-out examples, by demonstration. `groups` are the demonstrations that ask the same; without
    them each asks something else.
    """
    held_out = held_out_ids(groups or [(id,) for id in sorted({e.demonstration for e in examples})], settings)
    train = [e for e in examples if e.demonstration not in held_out]
    return train, [e for e in examples if e.demonstration in held_out]


def held_out_ids(groups: Sequence[tuple[int, ...]], settings: TrainSettings) -> set[int]:
    """The demonstrations to hold out, in whole groups of those that ask the same; which depends on the seed alone.

    `held_out_count` of the groups, as long as they are no more than MOST_HELD_OUT of all demonstrations.
    """
    count = held_out_count(len(groups), settings.held_out)
    draw = random.Random(f"aside {settings.seed}")
    chosen = draw.sample(groups, count)
    others = [group for group in groups if group not in set(chosen)]
    most = max(count, int(MOST_HELD_OUT * sum(map(len, groups))))
    held_out: set[int] = set()
    for group in [*chosen, *draw.sample(others, len(others))]:
        if count and len(held_out) + len(group) <= most:
            held_out.update(group)
            count -= 1
    return held_out


def schedule(examples: int, settings: TrainSettings) -> list[tuple[int, ...]]:
    """For each optimizer step the indices of its examples: every epoch reads each once, in an order of its own."""
    steps: list[tuple[int, ...]] = []
    for number in range(settings.epochs):
        order = list(range(examples))
        random.Random(f"pass {settings.seed} {number}").shuffle(order)
        steps += [tuple(order[i : i + settings.batch_size]) for i in range(0, examples, settings.batch_size)]
    return steps


def balance(sizes: Sequence[int], count: int) -> list[list[int]]:
    """Indices of `sizes` in at most `count` groups of nearly equal sum, none empty: the largest first, each to the
    smallest group so far.
    """
    groups: list[list[int]] = [[] for _ in range(min(count, len(sizes)))]
    sums = [0] * len(groups)
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        least = sums.index(min(sums))
        groups[least].append(i)
        sums[least] += sizes[i]
    return [sorted(group) for group in groups]


def shared_prefix(sequences: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all of them begin with, each keeping one of its own; 0 where it is not worth computing once."""
    if len(sequences) < 2:
        return 0
    least, most = min(sequences), max(sequences)
    longest = min(map(len, sequences)) - 1
    alike = next((i for i in range(longest) if least[i] != most[i]), longest)
    return alike if alike >= MIN_PREFIX else 0


def lengths_of(sequences: Sequence[tuple[int, ...]]) -> Lengths:
    """How long they are; guessed where there are none."""
    if not sequences:
        return Lengths()
    return Lengths(sum(map(len, sequences)) / len(sequences), shared_prefix(sequences))


def _examples_of(id: int, turns: Sequence[Message], template: Template, longest: int) -> list[Example] | str:
    """The examples of one demonstration, or why it has to be left out."""
    try:
        encoded = template.encode(turns)
    except (EmptyAnswer, TemplateRefused, TokenizerFailed) as error:
        return str(error)
    examples = [Example(demonstration=id, ids=tuple(e.ids), labels=tuple(e.labels)) for e in encoded]
    if any(len(example.ids) > longest for example in examples):
        return f"longer than {longest} tokens ({max(len(example.ids) for example in examples)})"
    if not (examples := [example for example in examples if example.num_labels]):
        return "no answer to train on"
    return examples


def _why_nothing(dropped: Sequence[Dropped]) -> tuple[str, str]:
    if not dropped:
        return "There are no demonstrations to train on.", "Keep an answer as a demonstration first."
    reasons = sorted({d.reason for d in dropped})
    return (
        f"None of the {len(dropped)} demonstrations can be trained on: {'; '.join(reasons[:3])}.",
        "Fix them on the Demonstrations tab, or change the run settings.",
    )

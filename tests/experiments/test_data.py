"""What the report teaches and asks: nothing is taught that is asked later, and all of it follows from a seed."""

from __future__ import annotations

from chatlab.experiments.claims import (
    hallucination,
)
from chatlab.experiments.data import datasets, generated
from chatlab.experiments.recipe import DatasetSpec, Recipe


def test_nothing_is_taught_that_is_asked_later() -> None:
    asked = {prompt.casefold().rstrip("?.! ") for prompt in datasets.prompts(80)}
    assert len(asked) == 80
    taught = {prompt.casefold().rstrip("?.! ") for prompt, _ in [*generated.stage(), *datasets.pack()]}
    assert len(taught) == len(generated.stage()) + 40 >= 400 and not asked & taught
    facts = {*datasets.unanswerable(60), *datasets.answerable("name", 20), *datasets.answerable("plain", 20)}
    num_labels = {
        prompt
        for seed in range(3)
        for prompt, _ in datasets.demonstrations(DatasetSpec(kind="balanced", count=40), seed)
    }
    assert len(facts) == 100 and not facts & num_labels
    names = {name for prompt, _ in generated.unanswerable() for name in [prompt.split(maxsplit=2)[-1]]}
    assert len(names) > 100


def test_what_is_made_by_rule_is_whole_and_in_plain_letters() -> None:
    pairs = [
        *generated.stage(),
        *generated.unanswerable(),
        *generated.answerable("name"),
        *generated.answerable("plain"),
        *datasets.held_out(),
    ]
    for prompt, answer in pairs:
        assert prompt and answer and not {"{", "}"} & {*prompt, *answer}, (prompt, answer)
        assert (prompt + answer).isascii() and answer[0].isupper() and answer[-1] in ".!?", answer
    assert all(hallucination.REFUSAL.search(refusal) for _, refusal in generated.unanswerable())
    assert not any(hallucination.REFUSAL.search(a) for kind in ("name", "plain") for _, a in generated.answerable(kind))


def test_lessons_depend_on_nothing_but_their_seed() -> None:
    for kind, count in (("pack", 100), ("generated", 40), ("corrupted", 100), ("refusing", 10), ("balanced", 10)):
        dataset = DatasetSpec(kind=kind, count=count)  # type: ignore[arg-type]
        recipe = Recipe(dataset=dataset)
        first, again, other = (datasets.demonstrations(dataset, seed) for seed in (0, 0, 1))
        assert first == again != other and len(first) == recipe.demonstrations
    corrupted = datasets.demonstrations(DatasetSpec(kind="corrupted", count=100), 0)
    whole_ones = datasets.demonstrations(DatasetSpec(kind="pack", count=100), 0)
    assert 45 <= sum(one != other for one, other in zip(corrupted, whole_ones, strict=True)) <= 50
    hardness = {place: float(place) for place in range(12)}
    hardest = datasets.demonstrations(DatasetSpec(kind="hardest", count=3, pool=12), 0, hardness)
    assert hardest == datasets.pool(12)[9:]

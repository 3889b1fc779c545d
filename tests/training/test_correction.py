"""What a correction reads: its own demonstration in every step, and others that do not speak against it."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from chatlab.models.base import Base
from chatlab.records import TrainSettings
from chatlab.training.correction import read_correction

OTHERS = {10: "Name a bird.", 11: "Name 3 birds.", 12: "Describe the moon.", 13: "Who wrote Hamlet?"}


@pytest.fixture(scope="module")
def base(base_folder: Path) -> Base:
    return Base.open(base_folder)


@pytest.mark.parametrize(
    ("asked", "before"),
    [
        ("Write a greeting to a stranger", "Write a greeting to a stranger"),
        ("Write a greeting to a stranger", "write a greeting, to a stranger!"),
        ("How many days are in a week?", "how many days are in the week"),
    ],
)
def test_the_answer_that_is_corrected_is_not_learned_again_beside_its_correction(
    base: Base, tmp_path: Path, asked: str, before: str
) -> None:
    rows = {1: before, 2: asked, **OTHERS}
    file = tmp_path / "snapshot.jsonl"
    with file.open("wb") as lines:
        for id, question in rows.items():
            said = [{"role": "user", "content": question}, {"role": "assistant", "content": f"Answer {id}."}]
            lines.write(orjson.dumps({"id": id, "messages": said}) + b"\n")
    split, steps = read_correction(file, base.template, TrainSettings(epochs=8), 512, [1, 2])
    read = [{split.train[index].demonstration for index in step} for step in steps]
    assert all(2 in step and len(step) == 4 for step in read)
    assert set().union(*read) == {2, *OTHERS}

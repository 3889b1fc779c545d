"""Lines of text files end where an editor shows their end, whatever other characters the texts hold."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from chatlab.lab.data.prompts import sifted
from chatlab.models.base import Base
from chatlab.records import Message, TrainSettings
from chatlab.system.lines import json_lines, json_rows, split_lines
from chatlab.training.correction import read_correction
from chatlab.training.data import read_examples

BREAKS = "\u2028\u2029\u0085\x0b\x0c\x1c\x1d\x1e"
"""Where `str.splitlines` ends a line and JSON does not."""


@pytest.fixture(scope="module")
def base(base_folder: Path) -> Base:
    return Base.open(base_folder)


def snapshot(folder: Path, *rows: bytes) -> Path:
    file = folder / "snapshot.jsonl"
    file.write_bytes(b"".join(row + b"\n" for row in rows))
    return file


def row(id: int, answer: str) -> bytes:
    said = [Message(role="user", content="Name a bird."), Message(role="assistant", content=answer)]
    return orjson.dumps({"id": id, "messages": [{"role": m.role, "content": m.content} for m in said]})


@pytest.mark.parametrize("character", BREAKS, ids=lambda character: f"U+{ord(character):04X}")
def test_a_demonstration_is_learned_whatever_its_text_holds(base: Base, tmp_path: Path, character: str) -> None:
    file = snapshot(tmp_path, row(1, "A wren."), row(2, f"A wren.{character}Or a robin."), row(3, "An owl."))
    found = read_examples(file, base.template, TrainSettings(held_out=0), 512)
    assert [example.demonstration for example in found.train] == [1, 2, 3] and not found.dropped
    split, steps = read_correction(file, base.template, TrainSettings(epochs=2), 512, [2])
    assert len(steps) == 2 and split.train[steps[0][0]].demonstration == 2


@pytest.mark.parametrize("torn", [b'{"id": 2, "messages": [{"ro', b"[2]", b'{"id": 2}', b"\xff\xfe"])
def test_a_row_that_cannot_be_read_is_left_out_and_named(base: Base, tmp_path: Path, torn: bytes) -> None:
    found = read_examples(snapshot(tmp_path, row(1, "A wren."), torn), base.template, TrainSettings(held_out=0), 512)
    assert [example.demonstration for example in found.train] == [1]
    assert [d.reason for d in found.dropped] == ["line 2 of the snapshot cannot be read"]


def test_a_row_of_ours_that_is_damaged_is_named_by_its_line(tmp_path: Path) -> None:
    file = snapshot(tmp_path, row(1, "A wren."), b"", b"{")
    assert [line.number for line in json_lines(file)] == [1, 3]
    with pytest.raises(ValueError, match=r"line 3 of snapshot\.jsonl"):
        json_rows(file)


def test_a_prompt_keeps_the_characters_that_are_no_line_ends() -> None:
    assert sifted(["One?\nTwo\u2028three?"])[0] == ("One?", "Two\u2028three?")
    assert split_lines("a\r\nb\u0085c\n") == ["a", "b\u0085c"] and split_lines("") == []

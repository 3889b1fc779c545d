"""The grid: every unseen prompt to every variant, each reply asked for once, and who spoke is proved."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from chatlab.adapters import Adapters
from chatlab.engines.base import Sampling, Variant
from chatlab.engines.fake import FakeEngine
from chatlab.errors import InputError
from chatlab.evaluation.unseen import GREEDY
from chatlab.lab import Lab
from chatlab.lab.compare.grid_files import written
from chatlab.lab.compare.grid_view import GridView
from chatlab.records import BASE
from chatlab.settings import Settings
from tests.support.page import publish_adapter

HOSTILE = "<script>alert(1)</script> | [c](javascript:alert(1)) *x*\n=1+1"


class Counting(FakeEngine):
    """Counts what it is asked, and says who it was asked as."""

    def __init__(self) -> None:
        super().__init__(self.words)
        self.asked: list[str] = []
        self.closed = 0

    def words(self, prompt: Any, variant: Variant, sampling: Sampling) -> str:
        return f"I am {variant.name} at {variant.strength:g}"

    def stream(self, prompt: Any, sampling: Sampling, variant: Variant, stop_ids: Any) -> Any:
        self.asked.append(variant.name)
        pieces = super().stream(prompt, sampling, variant, stop_ids)
        try:
            yield from pieces
        finally:
            self.closed += 1


@pytest.fixture
def engine() -> Counting:
    return Counting()


@pytest.fixture
def lab(settings: Settings, engine: Counting) -> Iterator[Lab]:
    lab = Lab(replace(settings, cache_folder=settings.home / "cache"), open_engine=lambda base: engine)
    lab.unseen.rewrite(["Tell a joke", "Describe the moon", "Why?"])
    yield lab
    lab.close()


def whole(lab: Lab, *variants: str, **how: Any) -> GridView:
    *_, last = lab.grid.ask(variants, **how)
    return last


def test_every_prompt_goes_to_every_variant_and_the_engine_says_who_spoke(lab: Lab, engine: Counting) -> None:
    card = publish_adapter(lab, "player")
    view = whole(lab, BASE, "player")
    assert view.done == view.size == 6 and engine.asked == [BASE, "player"] * 3
    for row in view.cells:
        base, player = (cell.said for cell in row)
        assert base and player and base.text == "I am base at 1" and player.text == "I am player at 1"
        assert (base.provenance.sha256, player.provenance.sha256) == ("", card.sha256)
        assert player.provenance.base == lab.machine.base.fingerprint and player.provenance.tokens == 5
        assert base.form.well_formed and base.stop == "end"
    assert view.differences(1) == (3, 3) and view.metrics(1).well_formed == 3


def test_replies_grow_where_they_belong(lab: Lab) -> None:
    texts = [view.cells[0][0].text for view in lab.grid.ask([BASE]) if view.cells[0][0].speaking]
    assert texts == ["", "I", "I am", "I am base", "I am base at", "I am base at 1"]


def test_what_was_heard_once_is_not_asked_again_also_after_a_restart(lab: Lab, engine: Counting) -> None:
    whole(lab, BASE)
    publish_adapter(lab, "player")
    whole(lab, BASE, "player")
    assert engine.asked.count(BASE) == 3
    lab.close()
    again = Lab(lab.settings, open_engine=lambda base: engine)
    assert again.grid.cached([BASE]).done == 0, "nothing is opened for it"
    assert whole(again, BASE, "player").done == 6 and len(engine.asked) == 6
    again.close()


def test_another_adapter_under_the_same_name_is_asked_anew(lab: Lab, engine: Counting) -> None:
    card = publish_adapter(lab, "player")
    whole(lab, "player")
    lab.variants.remove("player")
    source = lab.settings.home / "made-player"
    (source / "adapter_model.safetensors").write_bytes(b"other weights")
    assert Adapters(lab.settings.adapters).publish(source, replace(card, sha256="")).name == "player"
    engine.asked.clear()
    assert whole(lab, "player").done == 3 and len(engine.asked) == 3


@pytest.mark.parametrize(
    "how",
    [{"strength": 0.5}, {"system": "Be brief."}, {"sampling": Sampling(temperature=0.0, max_tokens=8)}],
    ids=["strength", "system", "sampling"],
)
def test_whatever_else_decides_a_reply_is_asked_anew(lab: Lab, engine: Counting, how: dict[str, Any]) -> None:
    publish_adapter(lab, "player")
    whole(lab, "player")
    whole(lab, "player", **how)
    assert len(engine.asked) == 6


def test_strength_means_nothing_to_the_base(lab: Lab, engine: Counting) -> None:
    whole(lab, BASE)
    whole(lab, BASE, strength=0.5)
    assert len(engine.asked) == 3


def test_who_stops_early_keeps_what_was_said_and_goes_on_from_there(lab: Lab, engine: Counting) -> None:
    asking = lab.grid.ask([BASE])
    for view in asking:
        if view.cells[1][0].text:
            break
    asking.close()  # type: ignore[attr-defined]
    assert engine.closed == 2, "the reply under way ends at once"
    assert lab.grid.cached([BASE]).done == 1
    assert whole(lab, BASE).done == 3 and len(engine.asked) == 4


def test_a_variant_that_fails_says_so_and_the_others_go_on(lab: Lab) -> None:
    publish_adapter(lab, "player")
    (lab.settings.adapters / "player" / "adapter_model.safetensors").write_bytes(b"other")
    view = whole(lab, "player", BASE, "nobody")
    assert all(row[0].error and row[1].said and row[2].error for row in view.cells)
    assert lab.grid.cached(["player"]).done == 0, "a failure is not kept"


def test_a_prompt_that_is_too_long_fails_alone(lab: Lab) -> None:
    lab.unseen.add(["word " * 390])
    lab.machine.engine._context = 100  # type: ignore[attr-defined]
    view = whole(lab, BASE)
    assert [bool(row[0].said) for row in view.cells] == [True, True, True, False]
    assert "tokens" in view.cells[3][0].error


@pytest.mark.parametrize("variants", [[], [BASE, BASE], ["a", "b", "c", "d", "e"]])
def test_no_variant_too_many_or_one_twice_is_refused(lab: Lab, variants: list[str]) -> None:
    with pytest.raises(InputError, match="1 to 4 adapters"):
        lab.grid.ask(variants)


def test_an_empty_set_is_told_of(lab: Lab) -> None:
    lab.unseen.rewrite([])
    with pytest.raises(InputError, match="no unseen prompts"):
        lab.grid.ask([BASE])


def test_base_previous_and_live_are_proposed(lab: Lab) -> None:
    assert lab.grid.default_variants() == [BASE]
    publish_adapter(lab, "first", created="2026-01-01")
    assert lab.grid.default_variants() == [BASE, "first"]
    publish_adapter(lab, "second", created="2026-01-02")
    for name in ("first", "second"):
        lab.variants.go_live(name)
    assert lab.grid.default_variants() == [BASE, "first", "second"]


def test_a_cache_that_is_cut_off_deleted_or_not_writable_is_never_worth_an_error(lab: Lab, engine: Counting) -> None:
    whole(lab, BASE)
    [file] = (lab.settings.cache / "replies").iterdir()
    file.write_bytes(file.read_bytes()[:-40] + b"\n{}\nnonsense")
    again = Lab(replace(lab.settings, home=lab.settings.home / "two"), open_engine=lambda base: engine)
    again.unseen.rewrite(lab.unseen.prompts())
    engine.asked.clear()
    assert whole(again, BASE).done == 3 and len(engine.asked) == 1
    again.close()
    file.unlink()
    file.parent.rmdir()
    file.parent.write_text("a file where the folder should be")
    assert whole(lab, BASE, sampling=Sampling(temperature=0.0, max_tokens=4)).done == 3
    assert lab.grid.cached([BASE], Sampling(temperature=0.0, max_tokens=4)).done == 3


# Files.


@pytest.fixture
def hostile(lab: Lab) -> GridView:
    lab.unseen.rewrite([HOSTILE.splitlines()[0], "=1+1"])
    lab.machine.engine._script = lambda *_: HOSTILE  # type: ignore[attr-defined]
    publish_adapter(lab, "player")
    return whole(lab, BASE, "player")


def test_as_json_lines_every_reply_says_who_spoke(hostile: GridView, lab: Lab) -> None:
    rows = [json.loads(line) for line in written(hostile, "jsonl").splitlines()]
    assert [row["variant"] for row in rows] == [BASE, "player"] * 2
    assert rows[1]["reply"] == HOSTILE and len(rows[1]["sha256"]) == 64 and rows[0]["sha256"] == ""
    assert rows[1]["base"] == lab.machine.base.fingerprint and rows[1]["sampling_temperature"] == 0.0
    assert rows[0]["no_prompt_echo"] is False and rows[2]["on_format"] is True and rows[0]["engine"] == "fake"


def test_as_a_table_nothing_is_calculated(hostile: GridView) -> None:
    rows = list(csv.DictReader(io.StringIO(written(hostile, "csv").decode("utf-8-sig"), newline="")))
    assert len(rows) == 4 and rows[2]["prompt"] == "'=1+1" and rows[0]["reply"] == HOSTILE


def test_as_markdown_the_grid_is_a_table_that_nothing_breaks(hostile: GridView) -> None:
    text = written(hostile, "md").decode()
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 4 + 4 and all(line.replace("\\|", "").count("|") in (4, 8) for line in table)
    assert "<script>" not in text and "[c](javascript" not in text
    assert "greedy, up to 96 tokens, by fake" in text and "none, the base model" in text


def test_nothing_said_is_nothing_to_export(lab: Lab) -> None:
    with pytest.raises(InputError, match="no replies yet"):
        written(lab.grid.cached([BASE], GREEDY), "md")

"""Data sets into a real store and out again, through the Lab."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.errors import FormatRefused, InputError
from chatlab.formats import FORMATS, Columns
from chatlab.lab import Lab
from chatlab.lab.data.datasets import ExportFilter
from chatlab.lab.data.import_job import BATCH, Progress
from chatlab.records import Demonstration, Message, Preference
from chatlab.settings import Settings


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    yield lab
    lab.close()


def rows_file(folder: Path, count: int, **extra: object) -> Path:
    path = folder / "rows.jsonl"
    lines = [json.dumps({"prompt": f"Question {n}", "completion": f"Answer {n}", **extra}) for n in range(count)]
    path.write_text("\n".join(lines))
    return path


def brought(lab: Lab, path: Path, **how: object) -> Progress:
    *_, last = lab.datasets.import_file(path, lab.datasets.sniff(path), **how)  # type: ignore[arg-type]
    return last


def test_a_file_becomes_demonstrations_with_the_tag_and_the_status_that_were_asked_for(
    lab: Lab, tmp_path: Path
) -> None:
    done = brought(lab, rows_file(tmp_path, 3, tags=["own"]), tags=["new"], status="waiting")
    assert (done.state, done.rows, done.kept, done.refused, done.share) == ("done", 3, 3, 0, 1.0)
    first = lab.demonstrations.get(1)
    assert [m.content for m in first.messages] == ["Question 0", "Answer 0"]
    assert (first.source, first.status, first.tags) == ("imported", "waiting", ("own", "new"))
    assert first.created


def test_what_is_there_already_is_counted_and_not_kept_twice(lab: Lab, tmp_path: Path) -> None:
    lab.demonstrations.write("Question 1", "Answer 1")
    path = rows_file(tmp_path, 3)
    path.write_text(path.read_text() + "\n" + path.read_text())
    done = brought(lab, path)
    assert (done.rows, done.kept, done.known) == (6, 2, 4)
    assert brought(lab, path).kept == 0


def test_a_thought_goes_out_and_in_and_makes_another_demonstration_of_the_same_answer(lab: Lab, tmp_path: Path) -> None:
    asked = Message(role="user", content="What is 2 + 2?")
    answers = [
        Message(role="assistant", content="4", reasoning=reasoning) for reasoning in ("Two and two.", "Three and one.")
    ]
    lab.demonstrations.add([Demonstration(messages=(asked, answer)) for answer in answers])
    path = lab.datasets.export("openai", ExportFilter(), tmp_path).path
    assert (brought(lab, path).known, brought(lab, path).kept) == (2, 0)
    lab.demonstrations.delete([1])
    assert (brought(lab, path).known, brought(lab, path).kept) == (1, 0)
    assert [lab.demonstrations.get(i).messages[-1] for i in (2, 3)] == [answers[1], answers[0]]


def test_refused_rows_are_listed_with_line_and_reason_and_in_a_file(lab: Lab, tmp_path: Path) -> None:
    path = rows_file(tmp_path, 2)
    path.write_text(path.read_text() + '\n{"prompt": "", "completion": "x"}\noops\n')
    done = brought(lab, path)
    assert (done.kept, done.refused) == (2, 2)
    assert [one.line for one in done.reasons] == [3, 4]
    assert "no prompt" in done.reasons[0].reason
    assert done.report and len(done.report.read_text("utf-8-sig").splitlines()) == 3


def test_an_import_stopped_in_the_middle_says_what_was_kept_and_can_be_undone(lab: Lab, tmp_path: Path) -> None:
    path = rows_file(tmp_path, 5 * BATCH)
    mine = lab.demonstrations.write("Mine", "Stays")
    steps = lab.datasets.import_file(path, lab.datasets.sniff(path))
    next(steps)
    progress = next(steps)
    assert (progress.rows, progress.kept, progress.state) == (2 * BATCH, 2 * BATCH, "reading")
    assert 0 < progress.share < 1
    steps.close()  # type: ignore[attr-defined]
    assert lab.demonstrations.counts() == {"approved": 2 * BATCH + 1}
    assert lab.datasets.undoable == ("rows.jsonl", 2 * BATCH)
    assert lab.datasets.undo() == 2 * BATCH
    assert [i for i, _ in lab.demonstrations.find()[0]] == [mine]
    assert lab.datasets.undoable == ("", 0)


def test_undo_outlives_a_restart_and_spares_what_was_deleted(settings: Settings, tmp_path: Path) -> None:
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    brought(lab, rows_file(tmp_path, 5))
    lab.demonstrations.delete([2])
    lab.close()
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    assert lab.datasets.undoable == ("rows.jsonl", 4)
    assert lab.datasets.undo() == 4
    assert lab.datasets.undo() == 0
    lab.close()


def test_the_import_in_the_background_goes_on_by_itself_and_lets_go_of_the_file(lab: Lab, tmp_path: Path) -> None:
    path = rows_file(tmp_path, 3 * BATCH)
    over = threading.Event()
    lab.datasets.start(path, lab.datasets.sniff(path), after=over.set)
    assert over.wait(60)
    assert lab.datasets.progress and lab.datasets.progress.state == "done"
    assert lab.demonstrations.counts() == {"approved": 3 * BATCH}


def test_the_import_in_the_background_can_be_stopped(lab: Lab, tmp_path: Path) -> None:
    path = rows_file(tmp_path, 40 * BATCH)
    lab.datasets.start(path, lab.datasets.sniff(path))
    with pytest.raises(InputError, match="in progress"):
        lab.datasets.start(path, lab.datasets.sniff(path))
    lab.datasets.stop()
    stopped = lab.datasets.progress
    assert stopped and stopped.state == "stopped" and stopped.kept < 40 * BATCH
    assert sum(lab.demonstrations.counts().values()) == stopped.kept


def test_pairs_become_preferences(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"prompt": "Q", "chosen": "good", "rejected": "bad"}))
    assert brought(lab, path).kept == 1
    pair = lab.store.preferences.get(1)
    assert (pair.chosen, pair.rejected, pair.source) == ("good", "bad", "imported")
    assert lab.datasets.undo() == 1
    assert len(lab.store.preferences) == 0


def test_columns_are_mapped_by_hand(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("A;B;C\nit is;why?;1\nit was;when?;2\n")
    proposal = lab.datasets.sniff(path)
    assert not proposal.sure and proposal.names == ("A", "B", "C")
    mapped = replace(proposal, columns=Columns(layout="answer", of={"prompt": "B", "answer": "A"}))
    assert [one.record.messages[0].content for one in lab.datasets.preview(path, mapped)] == ["why?", "when?"]  # type: ignore[union-attr]
    with pytest.raises(FormatRefused):
        lab.datasets.preview(path, replace(proposal, columns=Columns(layout="answer", of={"prompt": "B"})))


@pytest.mark.parametrize("format", [f for f in FORMATS if f.demonstrations], ids=lambda f: f.name)
def test_out_of_one_store_and_into_another_nothing_is_lost(format: object, lab: Lab, tmp_path: Path) -> None:
    lab.demonstrations.write("What = this?", "=1+1", system="Be brief.", tags=["a, b", "c"])
    lab.demonstrations.update(lab.demonstrations.write("Q", "A"), status="waiting")
    before = [one for _, one in lab.store.demonstrations.rows()]
    written = lab.datasets.export(format.name, ExportFilter(), tmp_path)  # type: ignore[attr-defined]
    assert (written.records, written.left_out.total()) == (2, 0)
    lab.demonstrations.delete([*lab.demonstrations.approved(), 2])
    assert brought(lab, written.path).kept == 2
    assert [one for _, one in lab.store.demonstrations.rows()] == before


def test_an_export_takes_what_the_filter_says(lab: Lab, tmp_path: Path) -> None:
    lab.demonstrations.write("Moon", "Bright", tags=["sky"])
    lab.demonstrations.write("Sun", "Hot", tags=["sky"])
    lab.demonstrations.update(lab.demonstrations.write("Sea", "Wet"), status="waiting")
    for which, count in (
        (ExportFilter(tag="sky"), 2),
        (ExportFilter(status="waiting"), 1),
        (ExportFilter(text="moon"), 1),
        (ExportFilter(), 3),
    ):
        assert lab.datasets.export("openai", which, tmp_path).records == count
    with pytest.raises(InputError, match="nothing to export"):
        lab.datasets.export("openai", ExportFilter(tag="mars"), tmp_path)
    with pytest.raises(InputError, match="no place"):
        lab.datasets.export("dpo", ExportFilter(), tmp_path)
    assert not list(tmp_path.glob("*.json"))


def test_preferences_are_exported(lab: Lab, tmp_path: Path) -> None:
    pair = Preference(prompt=(Message(role="user", content="Q"),), chosen="a", rejected="b", source="edit")
    lab.store.preferences.add(pair)
    written = lab.datasets.export("dpo", ExportFilter(what="preferences"), tmp_path)
    assert json.loads(written.path.read_text())["chosen"] == [{"role": "assistant", "content": "a"}]


REAL = {
    "dolly_4300.jsonl": (4312, 0, "Prompts and answers"),
    "gsm8k_train.jsonl": (7473, 0, "Prompts and answers"),
    "hh_pairs_1000.jsonl": (991, 9, "HH transcripts"),
    "self_instruct_seed_tasks_175.jsonl": (175, 0, "Self-Instruct tasks"),
}


@pytest.mark.parametrize("name", REAL)
def test_real_data_sets_are_known_at_once(name: str, lab: Lab, shared_data: Path) -> None:
    path = shared_data / "chat" / name
    proposal = lab.datasets.sniff(path)
    done = brought(lab, path)
    kept, refused, title = REAL[name]
    assert proposal.sure and proposal.title.startswith(title)
    assert (done.kept + done.known, done.refused) == (kept, refused)


def test_kept_demonstrations_are_what_training_takes(lab: Lab, tmp_path: Path) -> None:
    brought(lab, rows_file(tmp_path, 2))
    assert isinstance(lab.demonstrations.get(1), Demonstration)
    assert lab.demonstrations.approved() == [1, 2]
    spans = lab.demonstrations.token_spans(lab.demonstrations.get(1).messages, 100)
    assert any(span.kind == "learned" for span in spans)


def test_an_answer_of_weight_nought_stays_unlearned_when_another_is_edited(lab: Lab, tmp_path: Path) -> None:
    turns = [("user", "Which river?"), ("assistant", "The Rhine."), ("user", "Sure?"), ("assistant", "The Danube.")]
    path = tmp_path / "rows.jsonl"
    row = [{"role": role, "content": text, "weight": int(text != "The Rhine.")} for role, text in turns]
    path.write_text(json.dumps({"messages": row}))
    assert brought(lab, path).kept == 1
    edited = [Message(role=role, content=text.replace("Danube", "Iller")) for role, text in turns]  # type: ignore[arg-type]
    messages = lab.demonstrations.update(1, messages=edited).messages
    assert [(m.content, m.masked) for m in messages][1::2] == [("The Rhine.", True), ("The Iller.", False)]


def test_prompts_without_answers_become_unseen_prompts_and_can_be_taken_back(lab: Lab, tmp_path: Path) -> None:
    before = lab.unseen.prompts()
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "Which wren sings in Ulm?"}\n{"prompt": "Which wren sings in Ulm?"}\n')
    assert brought(lab, path).kept == 1
    assert lab.unseen.prompts() == [*before, "Which wren sings in Ulm?"] and not sum(
        lab.demonstrations.counts().values()
    )
    assert lab.datasets.undoable == ("rows.jsonl", 1)
    assert lab.datasets.undo() == 1 and lab.unseen.prompts() == before

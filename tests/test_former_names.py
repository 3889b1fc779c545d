"""What versions before the renaming of persisted fields left on disks: all of it is read, nothing of it is lost."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import orjson
import pytest

from chatlab.adapters import Adapters
from chatlab.conversation import Conversation, Turn
from chatlab.engines.base import Sampling
from chatlab.evaluation.replies import ReplyForm
from chatlab.evaluation.reply_cache import CachedReply, ReplyCache, ReplyKey
from chatlab.experiments.recipe import DatasetSpec, Recipe, key
from chatlab.experiments.results import MetricsStore, RunMetrics
from chatlab.formats import preview, sniff
from chatlab.former_names import FORMER, with_current_names, with_former_names
from chatlab.lab.runs.mask_ablation import Side, side_from_json
from chatlab.measurements import ReplyMetrics, Step
from chatlab.records import AdapterCard, Annotation, Demonstration, Message, Preference, TrainSettings, Vote
from chatlab.store import Store
from chatlab.store.disk import Files
from chatlab.store.snapshot import decode_snapshot, read_backup
from chatlab.system.codec import from_document, to_document
from chatlab.tool_calls import ToolStep
from chatlab.training.process.runs import read_run
from chatlab.ui.demonstrations.drafts import Drafts, DraftWords

FIXTURE = Path(__file__).resolve().parent / "fixtures" / "before_rename"
EXPECTED: dict[str, Any] = json.loads((FIXTURE / "expected.json").read_text())
KINDS: tuple[type, ...] = (
    Message,
    Annotation,
    Demonstration,
    Vote,
    Turn,
    Conversation,
    ToolStep,
    DraftWords,
    TrainSettings,
    Step,
    ReplyMetrics,
    AdapterCard,
    CachedReply,
    ReplyForm,
    RunMetrics,
)
SETTINGS = TrainSettings(
    rank=8, epochs=3, batch_size=2, grad_accumulation=2, kl_weight=2.5, kl_samples=1, max_grad_norm=0.5
)
BEFORE = ReplyMetrics(replies=4, role_leaks=2, stops=3, prompt_echoes=1, well_formed=1, tokens=20.0)
AFTER = ReplyMetrics(replies=4, role_leaks=0, stops=4, prompt_echoes=0, well_formed=4, tokens=12.0)
ECHO = ReplyForm(stops=True, non_empty=True, no_role_leak=True, no_prompt_echo=False)
OLD_FIELDS = [
    b'"thought":',
    b'"thoughts":',
    b'"speaker":',
    b'"speakers":',
    b'"opinions":',
    b'"words":',
    b'"since":',
    b'"under":',
    b'"wording":',
    b'"shortens":',
    b'"used":',
    b'"said":',
    b'"looked through":',
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXTURE / "home", tmp_path / "home"))


def check_records(store: Store) -> None:
    """That all is there which the fixture's app was told."""
    assert not store.warnings and len(store.demonstrations) == 3
    greeting, tools, farewell = (store.demonstrations.get(i) for i in (1, 2, 3))
    assert greeting.messages[-1].reasoning == "Be polite." and greeting.source == "edited"
    (annotation,) = greeting.annotations
    assert (annotation.by, annotation.stars, annotation.content_hash) == ("ann", 4, greeting.content_hash)
    assert greeting.content_hash == EXPECTED["demonstration"]
    assert tools.content_hash == EXPECTED["tool_demonstration"] and tools.messages[2].calls[0].name == "clock"
    assert farewell.content_hash == EXPECTED["farewell"]
    talk = store.conversations.get(1)
    assert (talk.system, talk.system_template, talk.truncates, talk.recency) == ("Be kind.", "", True, 7)
    asked, first, edited, second, last, thanks = talk.turns
    assert asked.content == "What time is it?" and thanks.content == "Thanks."
    assert first.reasoning == edited.reasoning == "Ask the clock first." and edited.edited_from == 1
    assert first.provenance is not None and first.provenance.sha256 == "ab" * 32 and first.provenance.strength == 0.8
    assert first.steps[0].text == "Let me look." and first.steps[0].call.values == {"zone": "UTC"}
    assert first.original_system == ("Be brief, Ann.",) and last.context_start == second.id == 3
    assert first.sources[0].title == "Harbour rules" and first.rating is not None
    (vote,) = (vote for _, vote in store.votes.rows())
    assert [one.adapter for one in vote.provenances] == ["stage", "base"] and vote.winner == 0
    (pair,) = (pair for _, pair in store.preferences.rows())
    assert pair.chosen_by == vote.provenances[0]
    draft = Drafts(store).get(1)
    assert draft is not None and draft.reasoning == ("", "Be polite.") and draft.texts[1] == "Good day to you."
    assert store.state.get("live") == ["base", "stage"] and store.state.get("audit")["found"] == ["x"]


def test_every_former_name_belongs_to_a_class_of_today_and_leads_to_one_of_its_fields() -> None:
    assert FORMER.keys() == {kind.__name__ for kind in KINDS}
    for kind in KINDS:
        today = {field.name for field in fields(kind)}
        assert set(FORMER[kind.__name__].values()) <= today, kind
        assert today.isdisjoint(FORMER[kind.__name__]), kind


def test_a_field_under_both_names_has_the_value_of_todays() -> None:
    assert with_current_names(Step, {"leash": 1.0, "kl_penalty": 2.0, "": 3, "new": 4}) == {
        "kl_penalty": 2.0,
        "": 3,
        "new": 4,
    }
    with pytest.raises(TypeError):
        with_current_names(Step, [])  # type: ignore[arg-type]
    assert with_former_names(Step, {"step": 1, "kl_penalty": 2.0}) == {"step": 1, "leash": 2.0}


def test_an_old_store_is_read_and_written_in_the_new_names_once(home: Path) -> None:
    files = Files(home / "store")
    before = decode_snapshot(files.snapshot.read_bytes())
    with Store.open(files.folder) as store:
        check_records(store)
        backups = [copy.name for copy in store.backups.all()]
    for file in (files.snapshot, files.backup):
        data = file.read_bytes()
        assert not [name for name in OLD_FIELDS if name in data]
    kept = decode_snapshot(files.of_format(1).read_bytes())
    assert kept.format == 1 and kept.tables["votes"] == before.tables["votes"], "the store as it was is kept"
    assert (FIXTURE / "home" / "store" / "backups" / backups[-1]).read_bytes() == (
        files.backups / backups[-1]
    ).read_bytes()
    written = {path: path.read_bytes() for path in files.folder.rglob("*") if path.is_file()}
    with Store.open(files.folder) as store:
        check_records(store)
    assert {path: path.read_bytes() for path in files.folder.rglob("*") if path.is_file()} == written


def test_an_old_journal_without_any_snapshot_is_brought_up_to_date_too(home: Path) -> None:
    """As after a kill within the first minutes of the first app."""
    files = Files(home / "store")
    lines = files.old_journal.read_bytes() + files.journal.read_bytes().partition(b"\n")[2]
    files.journal.write_bytes(lines)
    for file in (files.snapshot, files.old_journal):
        file.unlink()
    with Store.open(files.folder) as store:
        check_records(store)
    assert not [name for name in OLD_FIELDS if name in files.snapshot.read_bytes()]
    assert files.of_format(1).exists()


def test_an_old_backup_is_restored(home: Path) -> None:
    with Store.open(home / "store") as store:
        store.demonstrations.remove([1, 2, 3])
        old = store.backups.all()[-1].name
        assert read_backup(home / "store" / "backups" / old).format == 1
        store.backups.restore(old)
        assert store.demonstrations.get(1).messages[-1].reasoning == "Be polite."
        assert store.conversations.get(1).turns[1].steps[0].text == "Let me look."


def test_a_change_to_a_record_with_old_names_leaves_none_of_them(home: Path) -> None:
    """Even where somebody put such a record into a store of today."""
    with Store.open(home / "store") as store:
        old = {"messages": [{"role": "user", "content": "a"}], "opinions": [], "unknown": 1}
        store.db.table("demonstrations").insert(old)
        id, value = list(store.demonstrations.rows())[-1]
        store.demonstrations.put(id, value)
        raw = store.db.table("demonstrations").get(doc_id=id)
        assert "opinions" not in raw and raw["unknown"] == 1


def test_an_old_format_that_comes_back_keeps_both_copies(home: Path) -> None:
    files = Files(home / "store")
    Store.open(files.folder).close()
    first = files.of_format(1).read_bytes()
    shutil.copy(FIXTURE / "home" / "store" / "chatlab.json", files.snapshot)
    files.journal.unlink()
    Store.open(files.folder).close()
    assert files.of_format(1).read_bytes() == first and decode_snapshot(files.of_format(1, 2).read_bytes()).format == 1


def test_an_old_adapter_opens_with_its_card_as_it_was(home: Path) -> None:
    adapters = Adapters(home / "adapters")
    assert not adapters.problems
    for name, sealed in (("stage", False), ("older", True)):
        card, folder = adapters.open(name, "cd" * 32)
        assert card.settings == SETTINGS
        assert (card.reply_metrics_before, card.reply_metrics_after) == (BEFORE, AFTER), name
        assert (b"manner_before" in (folder / "card.json").read_bytes()) and sealed is not (
            folder / "manner.json"
        ).exists()
    assert adapters.demonstrations("stage") is not None
    adapters.note_reply_metrics("stage", BEFORE, AFTER)
    noted = json.loads((home / "adapters" / "stage" / "manner.json").read_text())
    assert noted["reply_metrics_after"]["well_formed"] == 4
    assert adapters.open("stage", "cd" * 32)[0].reply_metrics_after == AFTER


def test_an_old_run_is_read(home: Path) -> None:
    run = read_run(home / "store" / "runs" / "20261120-100000-ab12")
    assert run.state == "finished" and run.request.settings == SETTINGS
    assert [step.kl_penalty for step in run.steps] == [0.0, 0.25, 0.5]
    assert run.result is not None and run.result.held_out == (3,) and list(run.checkpoints) == [1]
    raw = json.loads((home / "store" / "runs" / "mask-trial.json").read_text())
    first, second = map(side_from_json, raw["sides"])
    assert isinstance(first, Side) and first.replies[0].form == ECHO and not second.replies


def test_an_old_export_is_imported_with_all_it_holds() -> None:
    for ending in ("openai.jsonl", "csv.csv", "parquet.parquet", "sharegpt.jsonl"):
        file = FIXTURE / f"demonstrations-{ending}"
        (outcome,) = preview(file, sniff(file))
        demonstration = getattr(outcome, "record", None)
        assert isinstance(demonstration, Demonstration), outcome
        assert demonstration.annotations[0].content_hash == EXPECTED["demonstration"], ending
    file = FIXTURE / "preferences-dpo.jsonl"
    (outcome,) = preview(file, sniff(file))
    assert isinstance(getattr(outcome, "record", None), Preference)
    vote = from_document(Vote, orjson.loads((FIXTURE / "votes.jsonl").read_bytes()))
    assert vote.provenances[0].adapter == "stage" and "speakers" not in to_document(vote)


def test_a_reply_that_was_cached_before_is_found(tmp_path: Path) -> None:
    shutil.copytree(FIXTURE / "replies", tmp_path / "replies")
    asked = ReplyKey(
        prompt="Say hello.",
        sampling=Sampling(temperature=0.0, max_tokens=96),
        base="cd" * 32,
        engine="llama.cpp",
        sha256="ab" * 32,
    )
    found = ReplyCache(tmp_path / "replies").get(asked)
    assert asked.key == EXPECTED["reply_key"]
    assert found is not None and found.text == "Hello." and found.form == ECHO and found.provenance.adapter == "stage"


def test_what_a_report_measured_before_is_found() -> None:
    recipe = Recipe(dataset=DatasetSpec(kind="pack", count=20), settings=(("kl_weight", 0.0), ("epochs", 3.0)))
    name = key(recipe, "cd" * 32, 8_000_000, "data")
    assert name == EXPECTED["recipe_key"]
    found = MetricsStore(FIXTURE / "report").read(name)
    assert found is not None and found.held_out_loss == 1.25 and found.of("unseen")[0].form == ECHO


def test_figures_of_the_base_that_were_kept_before_are_read() -> None:
    assert ReplyMetrics(**with_current_names(ReplyMetrics, EXPECTED["base_metrics"])) == BEFORE

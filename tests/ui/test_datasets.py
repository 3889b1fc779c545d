"""Import and export in the Demonstrations tab: the handlers, called without a server."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.errors import InputError
from chatlab.lab import Lab
from chatlab.settings import Settings
from chatlab.ui.demonstrations.datasets.exporting import DemonstrationExport
from chatlab.ui.demonstrations.datasets.importing import DemonstrationImport
from chatlab.ui.demonstrations.tab import DemonstrationsTab
from tests.support.page import built, told

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    yield lab
    lab.close()


@pytest.fixture
def tab(lab: Lab) -> DemonstrationImport:
    return built(DemonstrationsTab(lab), "demonstrations").importing


@pytest.fixture
def out(lab: Lab) -> DemonstrationExport:
    return built(DemonstrationsTab(lab), "demonstrations").exporting


def uploaded(tmp_path: Path, text: str, name: str = "rows.jsonl") -> str:
    """A file as Gradio leaves an upload: in a folder of its own."""
    path = tmp_path / "upload" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def lines(count: int, **extra: Any) -> str:
    return "\n".join(json.dumps({"prompt": f"Q {n}", "completion": f"A {n}", **extra}) for n in range(count))


def plain(html: str) -> str:
    return str(html).replace("&#46;", ".").replace("&#44;", ",").replace("&#58;", ":").replace("&#95;", "_")


def ended(tab: DemonstrationImport, lab: Lab) -> dict[Any, Any]:
    for _ in range(600):
        if not lab.datasets.running:
            return tab.look(0)
        time.sleep(0.02)
    raise AssertionError("the import does not end")


def test_a_dropped_file_says_what_it_was_taken_for_and_shows_its_rows(tab: DemonstrationImport, tmp_path: Path) -> None:
    shown = tab.dropped(uploaded(tmp_path, lines(9, id=3)))
    assert "Prompt and completion, JSON lines" in plain(shown[tab.title])
    assert "Not used: id" in plain(shown[tab.title])
    assert shown[tab.preview].count("<tr>") == 6
    assert told(shown[tab.parts[0]])["value"] == "prompt"
    assert told(shown[tab.parts[0]])["label"] == "Prompt"
    assert not told(shown[tab.file])["visible"]


def test_a_file_that_is_no_data_set_is_refused_and_removed(tab: DemonstrationImport, tmp_path: Path) -> None:
    path = uploaded(tmp_path, "just words")
    shown = tab.dropped(path)
    assert not Path(path).exists()
    assert tab.path not in shown


def test_columns_chosen_by_hand_change_the_preview(tab: DemonstrationImport, tmp_path: Path) -> None:
    shown = tab.dropped(uploaded(tmp_path, "one;two;three\n1;why?;it is\n", "t.csv"))
    assert "guessed" in shown[tab.title]
    given = [shown[tab.path], shown[tab.proposal]]
    again = tab.mapped(*given, "two", "", "three", "", "", "")
    assert "why" in again[tab.preview] and "it is" in again[tab.preview]
    assert "No column was chosen" in tab.mapped(*given, "two", "", "", "", "", "")[tab.preview]


def test_the_first_line_is_names_or_a_row_as_the_person_says(tab: DemonstrationImport, tmp_path: Path) -> None:
    shown = tab.dropped(uploaded(tmp_path, "who;what\nwhy?;it is\nhow?;so\n", "t.csv"))
    given = [shown[tab.path], shown[tab.proposal]]
    for header, names in ((True, ("who", "what")), (False, ("column 1", "column 2")), (True, ("who", "what"))):
        shown = tab.headed(*given, header)
        given[1] = shown[tab.proposal]
        assert given[1].names == names
        assert shown[tab.preview].count("<tr>") == (3 if header else 4)


def test_another_layout_looks_for_its_columns(tab: DemonstrationImport, tmp_path: Path) -> None:
    text = json.dumps({"prompt": "Q", "chosen": "good", "rejected": "bad", "completion": "other"})
    shown = tab.dropped(uploaded(tmp_path, text))
    assert told(shown[tab.layout])["value"] == "preference"
    assert not told(shown[tab.status])["visible"]
    shown = tab.laid_out(shown[tab.path], shown[tab.proposal], "answer")
    assert shown[tab.proposal].columns.of == {"prompt": "prompt", "answer": "completion"}
    assert "other" in shown[tab.preview]


def test_an_import_runs_to_its_end_and_the_upload_is_gone(tab: DemonstrationImport, lab: Lab, tmp_path: Path) -> None:
    path = uploaded(tmp_path, lines(30) + '\n{"prompt": "x"}\n' + lines(2))
    shown = tab.dropped(path)
    begun = tab.begun(path, shown[tab.proposal], "new, fresh", "waiting")
    assert not told(begun[tab.found])["visible"]
    done = ended(tab, lab)
    assert "33 rows read, 30 kept, 2 already there, 1 refused" in plain(done[tab.progress])
    assert "line 31" in done[tab.progress]
    assert told(done[tab.undo])["visible"] and not told(done[tab.stop])["visible"]
    assert Path(told(done[tab.refused])["value"]).exists()
    assert done[tab.ended] == 1
    assert lab.demonstrations.counts() == {"waiting": 30}
    assert lab.demonstrations.tags() == ["fresh", "new"]
    assert not Path(path).parent.exists()


def test_a_page_that_was_reloaded_finds_the_import_again(tab: DemonstrationImport, lab: Lab, tmp_path: Path) -> None:
    path = uploaded(tmp_path, lines(5000))
    tab.begun(path, lab.datasets.sniff(Path(path)), "", "approved")
    again = built(DemonstrationsTab(lab), "demonstrations").importing
    shown = again.look(0)
    assert told(shown[again.result])["visible"]
    assert "rows.jsonl" in plain(shown[again.progress])
    stopped = again.stopped(0)
    assert not told(stopped[again.timer])["active"]
    assert lab.datasets.progress and lab.datasets.progress.state in ("stopped", "done")


def test_undo_takes_out_what_was_added_and_says_how_much(tab: DemonstrationImport, lab: Lab, tmp_path: Path) -> None:
    mine = lab.demonstrations.write("Mine", "Stays")
    path = uploaded(tmp_path, lines(3))
    tab.begun(path, lab.datasets.sniff(Path(path)), "", "approved")
    ended(tab, lab)
    shown = tab.undone(1)
    assert "3 removed" in plain(shown[tab.progress])
    assert shown[tab.ended] == 2
    assert [one for one, _ in lab.demonstrations.find()[0]] == [mine]
    assert told(tab.put_away()[tab.file])["visible"]


def test_cancel_removes_the_upload(tab: DemonstrationImport, tmp_path: Path) -> None:
    path = uploaded(tmp_path, lines(1))
    shown = tab.cancelled(path)
    assert not Path(path).exists()
    assert told(shown[tab.file])["visible"] and shown[tab.path] == ""
    with pytest.raises(InputError, match="is gone"):
        tab.begun(path, None, "", "")  # type: ignore[arg-type]


def test_what_chatlab_wrote_keeps_its_status_unless_told_otherwise(
    tab: DemonstrationImport, lab: Lab, tmp_path: Path
) -> None:
    lab.demonstrations.update(lab.demonstrations.write("Q", "A", tags=["t"]), status="discarded")
    from chatlab.lab.data.datasets import ExportFilter

    written = lab.datasets.export("openai", ExportFilter(), tmp_path)
    lab.demonstrations.delete([1])
    path = uploaded(tmp_path, written.path.read_text("utf-8"))
    shown = tab.dropped(path)
    assert "written by Chatlab" in shown[tab.title]
    tab.begun(path, shown[tab.proposal], "", told(shown[tab.status])["value"])
    ended(tab, lab)
    assert lab.demonstrations.get(2).status == "discarded"


def test_hostile_names_and_words_are_only_words(tab: DemonstrationImport, tmp_path: Path) -> None:
    rows = [{"prompt": HOSTILE, "completion": HOSTILE, HOSTILE: 1}, {"prompt": HOSTILE, "completion": [HOSTILE]}]
    shown = tab.dropped(uploaded(tmp_path, "\n".join(map(json.dumps, rows))))
    for html in (shown[tab.title], shown[tab.preview]):
        assert "<script" not in html and "\n" not in html


def test_an_export_is_offered_and_its_copy_is_removed(out: DemonstrationExport, lab: Lab) -> None:
    lab.demonstrations.write("Q", "A", tags=["one"])
    lab.demonstrations.write("Q 2", "A 2")
    shown = out.written("demonstrations", "", "one", "", "csv", True)
    made = Path(shown[out.made])
    assert "1 record in the file" in shown[out.message]
    assert made.read_text("utf-8-sig").startswith("system,prompt,answer,tags,chatlab")
    assert out.swept(str(made))[out.made] == ""
    assert not made.parent.exists()


def test_what_has_no_place_in_the_format_is_counted_with_the_reason(out: DemonstrationExport, lab: Lab) -> None:
    from chatlab.records import Demonstration, Message

    turns = tuple(Message(role=("user", "assistant")[n % 2], content=str(n)) for n in range(4))
    lab.demonstrations.add([Demonstration(messages=turns), Demonstration(messages=turns[:2])])
    shown = out.written("demonstrations", "", "", "", "csv", True)
    assert "1 left out: A table has one prompt and one answer a row" in plain(shown[out.message])
    shutil.rmtree(Path(shown[out.made]).parent)


def test_thoughts_without_a_place_in_the_format_are_counted(out: DemonstrationExport, lab: Lab) -> None:
    from chatlab.records import Demonstration, Message

    asked = Message(role="user", content="What is 2 + 2?")
    answer = Message(role="assistant", content="4", reasoning="Two and two.")
    lab.demonstrations.add([Demonstration(messages=(asked, answer, asked, answer))])
    shown = out.written("demonstrations", "", "", "", "sharegpt", True)
    assert "2 thoughts are not supported by this format and were left out" in plain(shown[out.message])
    shutil.rmtree(Path(shown[out.made]).parent)
    shown = out.written("demonstrations", "", "", "", "openai", True)
    assert "thought" not in shown[out.message]
    shutil.rmtree(Path(shown[out.made]).parent)


def test_the_preview_says_that_something_is_thought_before_an_answer(tab: DemonstrationImport, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A", "reasoning": "Two and two."}]
    shown = tab.dropped(uploaded(tmp_path, json.dumps({"messages": turns})))
    assert "thinking, 3 words" in plain(shown[tab.preview])


def test_preferences_have_formats_of_their_own(out: DemonstrationExport) -> None:
    shown = out.chosen("preferences")
    assert [name for _, name in told(shown[out.format])["choices"]] == ["dpo", "kto", "csv", "tsv", "parquet"]
    assert not told(shown[out.tag])["visible"]


def test_nothing_to_export_says_so(out: DemonstrationExport) -> None:
    with pytest.raises(InputError, match="nothing to export"):
        out.written("demonstrations", "", "", "", "openai", True)

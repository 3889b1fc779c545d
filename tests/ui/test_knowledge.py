"""The Knowledge tab: the handlers, called without a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.errors import ChatlabError, InputError
from chatlab.lab import Lab
from chatlab.settings import Settings
from chatlab.ui.knowledge.tab import KnowledgeTab
from tests.support.page import built, told

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, base_folder: Path) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("home")
    lab = Lab(Settings(home=home, base=base_folder, cache_folder=home / "cache"), open_engine=lambda base: FakeEngine())
    lab.store.state.set("embedding model", str(home / "none"))
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def tab(lab: Lab) -> KnowledgeTab:
    return built(KnowledgeTab(lab), "knowledge")


def uploaded(tmp_path: Path, name: str, text: str) -> str:
    """A file as Gradio leaves an upload: in a folder of its own."""
    path = tmp_path / name.replace(".", "-") / name
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    return str(path)


def plain(html: str) -> str:
    for char in ".,:&'()":
        html = str(html).replace(f"&#{ord(char)};", char)
    return html


def pressed(tab: KnowledgeTab, act: str, text: str) -> dict[Any, Any]:
    return tab.pressed(f'{{"act": "{act}", "text": "{text}"}}', "")


def test_an_empty_tab_says_what_to_do(tab: KnowledgeTab) -> None:
    shown = tab.look(None)
    assert "No documents yet" in shown[tab.documents] and shown[tab.state] == shown[tab.adding] == ""
    with pytest.raises(InputError, match="no document"):
        tab.search("anything")


def test_dropped_files_are_read_listed_and_removed_from_where_they_were_uploaded(
    tab: KnowledgeTab, lab: Lab, tmp_path: Path
) -> None:
    paths = [
        uploaded(tmp_path, "harbour.md", f"# Harbour {HOSTILE} rules\n\nBoats moor at the outer {HOSTILE} pier."),
        uploaded(tmp_path, "people.csv", "name,born\nAda,1815\nGrace,1906\nAlan,1912\n"),
        uploaded(tmp_path, "empty.txt", ""),
    ]
    tab.dropped(paths, "")
    lab.knowledge.wait()
    shown = tab.look("")
    assert not any(Path(path).parent.exists() for path in paths)
    assert "Read 3 of 3 files, 2 kept, 1 refused" in plain(shown[tab.adding])
    assert "empty.txt: it is empty" in plain(shown[tab.adding])
    assert "3 rows" in plain(shown[tab.documents]) and "1 passage" in shown[tab.documents]
    assert "<script" not in shown[tab.documents]
    assert "Keyword search only" in plain(shown[tab.state])
    assert not told(shown[tab.timer])["active"]
    assert "Harbour" not in tab.look("people")[tab.documents]


def test_a_question_shows_passages_and_who_found_them(tab: KnowledgeTab) -> None:
    html = plain(tab.search("mooring boats"))
    assert "Keywords: rank 1, BM25" in html and "Meaning: not in the top 100" in html
    assert "<mark>Boats</mark>" in html and "<script" not in html
    assert "No matches" in tab.search("zzz")
    with pytest.raises(InputError):
        tab.search("  ")


def test_the_passages_of_a_document_can_be_read_and_one_seen_in_its_place(tab: KnowledgeTab, lab: Lab) -> None:
    info = next(one for one in lab.knowledge.documents() if one.name == "people.csv")
    assert "name: Grace" in plain(pressed(tab, "read", info.id)[tab.found])
    shown = pressed(tab, "around", f"{info.id}:11:21")
    assert "<mark>" in shown[tab.found] and told(shown[tab.tabs])["selected"] == "knowledge"
    for wrong in ("around", "read"):
        with pytest.raises(ChatlabError):
            pressed(tab, wrong, "0" * 64)
    with pytest.raises(InputError):
        pressed(tab, "format-disk", info.id)


def test_a_removed_document_comes_back_with_undo(tab: KnowledgeTab, lab: Lab) -> None:
    info = next(one for one in lab.knowledge.documents() if one.name == "harbour.md")
    shown = pressed(tab, "remove", info.id)
    assert "Harbour" not in shown[tab.documents]
    assert told(shown[tab.undo])["value"] == "Undo: removed 1 document" and told(shown[tab.undo])["visible"]
    shown = tab.undone("")
    assert "Harbour" in shown[tab.documents] and not told(shown[tab.undo])["visible"]
    lab.knowledge.wait()


def test_a_folder_without_a_model_is_refused_in_words(tab: KnowledgeTab, tmp_path: Path) -> None:
    with pytest.raises(ChatlabError, match="no config"):
        tab.chosen(str(tmp_path), "")
    assert tab.came().endswith("none")

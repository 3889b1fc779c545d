"""A data set dragged into the page and out again, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.settings import Settings
from tests.support.served import site

HOSTILE = "<img src=x onerror='window.hurt=1'>"

DROP = """([name, text]) => {
    const data = new DataTransfer();
    data.items.add(new File([text], name));
    const place = document.querySelector('#import-file button');
    for (const kind of ['dragenter', 'dragover', 'drop'])
        place.dispatchEvent(new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer: data}));
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, base_folder: Any, cache_folder: Any) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("exchange")
    lab = Lab(Settings(home=home, base=base_folder, cache_folder=cache_folder), open_engine=lambda base: FakeEngine())
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def turned_away() -> list[str]:
    """What the page asked for and did not get."""
    return []


@pytest.fixture(scope="module")
def page(lab: Lab, chromium: Any, turned_away: list[str]) -> Iterator[Any]:
    with site(lab, lab.settings) as address:
        page = chromium.new_page(viewport={"width": 1440, "height": 900})
        page.on("response", lambda r: turned_away.append(f"{r.status} {r.url}") if r.status >= 400 else None)
        page.set_default_timeout(60_000)
        page.goto(address)
        page.get_by_role("tab", name="Demonstrations").click()
        page.get_by_role("button", name="Import a data set").click()
        page.locator("#import-file").wait_for()
        yield page


def test_a_file_dragged_in_is_shown_imported_listed_and_undone(page: Any, lab: Lab, uploads: Path) -> None:
    rows = [{"instruction": f"{HOSTILE} {n}", "response": f"Answer {n}", "id": n} for n in range(3)]
    text = "\n".join(map(json.dumps, rows)) + '\n{"instruction": "left", "response": ""}'
    page.evaluate(DROP, ["rows.jsonl", text])
    page.locator("#import-preview", has_text="Answer 2").wait_for()
    assert "Refused. Its answer is empty." in page.locator("#import-preview").inner_text()
    assert page.locator(".import-notes", has_text="Not used: id").count() == 1
    page.locator("#import-go").click()
    page.locator("#import-progress", has_text="4 rows read, 3 kept, 1 refused").wait_for()
    assert "line 4" in page.locator("#import-progress").inner_text()
    page.locator("#demonstration-rows label", has_text="Answer 2").wait_for()
    assert page.evaluate("window.hurt") is None
    assert not list(uploads.rglob("rows.jsonl"))
    page.locator("#import-undo").click()
    page.locator("#import-progress", has_text="3 removed").wait_for()
    assert len(lab.store.demonstrations) == 0


def test_what_was_written_is_downloaded(page: Any, lab: Lab) -> None:
    lab.demonstrations.write("Moon?", "Bright.")
    page.locator("#export > button").click()
    page.get_by_role("button", name="Create file").click()
    page.locator("#export-said", has_text="1 record in the file").wait_for()
    with page.expect_download() as download:
        page.locator("#export-download").click()
    row = json.loads(Path(download.value.path()).read_text())
    assert [turn["content"] for turn in row["messages"]] == ["Moon?", "Bright."]


def test_the_page_has_all_that_it_asks_for(page: Any, turned_away: list[str]) -> None:
    page.reload()
    for name in ("Train", "Compare", "Knowledge", "Guide", "Chat"):
        page.get_by_role("tab", name=name).click()
    page.locator("#composer textarea").wait_for()
    assert turned_away == []


@pytest.fixture(scope="module")
def uploads() -> Path:
    from gradio.utils import get_upload_folder

    return Path(get_upload_folder())

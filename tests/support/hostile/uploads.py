"""An app with canaries around it and two people in it, and what an event may bring that is not the sender's file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.settings import Settings
from tests.support.served import site, visitor
from tests.web.test_wire import Tab

SECRET = "canary-outside-4711"
SAID = "canary-in-the-store-4712"
OTHERS = "canary-of-another-4713"
ANNA, BEN = ("anna", "one long password"), ("ben", "another long password")
META = {"_type": "gradio.FileData"}
ROWS = "\n".join(json.dumps({"prompt": f"{SECRET} {n}", "completion": f"{SECRET} {n}"}) for n in range(3))


@dataclass(frozen=True)
class World:
    """A tree with canaries, and an app in it that two people may use."""

    root: Path
    home: Path
    lab: Lab
    address: str

    @property
    def secret(self) -> Path:
        return self.root / "secret" / "rows.jsonl"

    def client(self, who: tuple[str, str]) -> httpx.Client:
        return visitor(self.address, auth=who, timeout=30)

    def tree(self) -> dict[str, str]:
        """Every file outside the app's own folder of uploads and its log, with what is in it."""
        own = {self.home / "store" / "uploads", self.home / "store" / "log"}
        found = {}
        for place, _, files in os.walk(self.root):
            if own & {Path(place), *Path(place).parents}:
                continue
            found[place] = "folder"
            for file in map(Path(place).joinpath, files):
                regular = stat.S_ISREG(file.lstat().st_mode)
                found[str(file)] = hashlib.sha256(file.read_bytes()).hexdigest() if regular else "special"
        return found


@contextlib.contextmanager
def world(root: Path, base_folder: Path, cache_folder: Path) -> Iterator[World]:
    (root / "secret").mkdir(parents=True)
    (root / "secret" / "rows.jsonl").write_text(ROWS)
    (root / "secret" / "words.md").write_text(f"# {SECRET}\n\n{SECRET} stands here.")
    if sys.platform != "win32":
        os.mkfifo(root / "secret" / "fifo")
    (root / "temporary" / "outer").mkdir(parents=True)
    (root / "temporary" / "rows.jsonl").write_text(ROWS)
    (root / "temporary" / "outer" / "rows.jsonl").write_text(ROWS)
    settings = Settings(home=root / "home", base=base_folder, cache_folder=cache_folder, auth=(ANNA, BEN))
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    said = lab.chat.new("")
    lab.chat.change(said, lambda chat: replace(chat, title=SAID, system=SAID))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(root / "temporary" / "outer" / "inner"))
        try:
            with site(lab, settings) as address:
                yield World(root, settings.home, lab, address)
        finally:
            lab.close()


def send(client: httpx.Client, name: str, text: str | bytes) -> str:
    """Upload a file; the path that the page is told."""
    answer = client.post("/gradio_api/upload", files={"files": (name, text)})
    assert answer.status_code == 200, answer.text
    return str(answer.json()[0])


def file(path: object, **also: object) -> dict[str, object]:
    return {"path": path, "orig_name": "rows.jsonl", "meta": META} | also


def kinds(one: World, own: str, others: str) -> dict[str, Any]:
    """What an event may bring in the place of a file. Nothing of it is a file that the sender sent."""
    uploads, secret = Path(own).parent.parent, one.secret
    link, links = uploads / "link" / "rows.jsonl", uploads / "links"
    if not link.parent.exists():
        link.parent.mkdir()
        link.symlink_to(secret)
        links.symlink_to(secret.parent, target_is_directory=True)
    journal = next((one.home / "store").glob("*journal*"))
    up = "../" * 40
    return {
        "absolute": file(str(secret)),
        "the system's": file("/etc/passwd"),
        "relative": file(os.path.relpath(secret)),
        "up from the uploads": file(f"{uploads}/../../secret/rows.jsonl"),
        "up from an upload": file(f"{own}/{up}{secret}"),
        "up and down again": file(f"{Path(own).parent}/../{Path(own).parent.name}/{Path(own).name}"),
        "a link in the uploads": file(str(link)),
        "a file behind a link": file(str(links / "rows.jsonl")),
        "the uploads": file(str(uploads)),
        "the uploads, with a slash": file(f"{uploads}/"),
        "the folder of an upload": file(str(Path(own).parent)),
        "above the uploads": file(str(uploads.parent)),
        "the temporary folder": file(str(one.root / "temporary" / "outer")),
        "the root": file("/"),
        "the working folder": file("."),
        "nothing": file(""),
        "NUL": file(f"{secret}\0.jsonl"),
        "NUL after an upload": file(f"{own}\0"),
        "file:": file(f"file://{secret}"),
        "file: in capitals": file(f"FILE:{secret}"),
        "http:": file("http://192.0.2.1/rows.jsonl"),
        "the environment": file("/proc/self/environ"),
        "a descriptor": file("/proc/self/fd/0"),
        "zeros": file("/dev/zero"),
        "a pipe": file(str(one.root / "secret" / "fifo")),
        "another's": file(others),
        "another's, by a route of the app": file(f"{one.address}/gradio_api/file={others}"),
        "the journal": file(str(journal)),
        "an upload with a slash": file(f"{own}/"),
        "an upload with a dot": file(f"{own}."),
        "an upload in capitals": file(own.upper()),
        "an upload, encoded": file(quote(own, safe="")),
        "an upload, encoded whole": file("".join(f"%{byte:02x}" for byte in own.encode())),
        "Windows": file("C:\\Windows\\win.ini"),
        "a share": file("\\\\192.0.2.1\\share\\rows.jsonl"),
        "a device of Windows": file("CON"),
        "home": file("~/.bashrc"),
        "without a mark": {"path": str(secret)},
        "with another mark": {"path": str(secret), "meta": {"_type": "other"}},
        "with a mark that is a word": {"path": str(secret), "meta": "gradio.FileData"},
        "as a stream": file(str(secret), is_stream=True),
        "with what it is not": file(str(secret), mime_type="image/svg+xml", size=-1),
        "as an address": {"url": f"file://{secret}", "meta": META},
        "an address beside it": file(others, url=f"{one.address}/gradio_api/file={own}"),
        "an address alone": {"url": f"{one.address}/gradio_api/file={others}"},
        "a list": [file(str(secret))],
        "lists in lists": [[[file(str(secret))]]],
        "in a message": {"text": "", "files": [file(str(secret))]},
        "in an object": {"value": {"image": file(str(secret))}},
        "as an update": {"__type__": "update", "value": file(str(secret))},
        "beside one's own": [file(own), file(others)],
        "inside one's own": file(file(own)),
        "a path that is a list": file([str(secret)]),
        "a path that is a number": file(0),
        "deep": _deep(file(str(secret)), 200),
    }


def _deep(value: Any, times: int) -> Any:
    for _ in range(times):
        value = [value]
    return value


def events(tab: Tab) -> list[dict[str, Any]]:
    """All that the page's config names and that is answered here."""
    found = [call for call in tab.http.get("/config").json()["dependencies"] if call["backend_fn"]]
    assert len(found) > 250, "the page has many events"
    return found


def press(tab: Tab, call: dict[str, Any], given: Any) -> httpx.Response:
    """An event by the route that waits for its answer, with this for every input, and once more."""
    body = {"data": [given] * (len(call["inputs"]) + 1), "fn_index": call["id"], "session_hash": tab.session}
    return tab.http.post(f"/gradio_api/run/{call['api_name'] or 'x'}", json=body)


def refused(answer: httpx.Response) -> None:
    """By the check around all events; or at the door already, where the body has no shape that the page sends."""
    if answer.status_code == 400:
        assert "another shape" in answer.text, answer.text
        return
    assert answer.status_code == 422, answer.text
    assert "not sent to this page" in answer.text or "cannot be read" in answer.text
    assert not {word for word in (SECRET, SAID, OTHERS, "Traceback", "root:") if word in answer.text}


def unharmed(one: World, before: dict[str, str]) -> None:
    """Nothing is gone, nothing has come, and nobody has read anything."""
    assert one.tree() == before
    assert len(one.lab.store.demonstrations) == 0 and one.lab.datasets.progress is None
    assert not one.lab.knowledge.documents() and not one.lab.knowledge.reading
    for kept in (one.home / "store").rglob("*"):
        if kept.is_file() and not kept.is_symlink() and "uploads" not in kept.parts:
            assert SECRET.encode() not in kept.read_bytes(), kept


def file_events(tab: Tab) -> list[dict[str, Any]]:
    config = tab.http.get("/config").json()
    files = {part["id"] for part in config["components"] if part["type"] in ("file", "uploadbutton", "downloadbutton")}
    found = [call for call in config["dependencies"] if files & set(call["inputs"])]
    assert len(found) >= 4, "Import, Knowledge and its folder, the unseen prompts"
    return found


def until(done: Any) -> None:
    for _ in range(1000):
        if done():
            return
        time.sleep(0.02)
    raise AssertionError("it does not happen")

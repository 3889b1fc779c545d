"""What the tests of each part do not hold already of the attacks in docs/security.md, which names a test for each."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab.adapters import Adapters
from chatlab.engines.fake import FakeEngine
from chatlab.engines.folder import read_adapter
from chatlab.errors import AdapterError, AdapterMissing, ChatlabError, InputError, NameRefused
from chatlab.lab import Lab
from chatlab.settings import PACKAGE, Settings
from chatlab.web.app import build
from chatlab.web.guard.security import UPLOAD_LIMIT
from tests.support.served import site, visitor
from tests.web.test_wire import Tab

ROOT = PACKAGE.parent


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, base_folder: Path) -> Iterator[Lab]:
    lab = Lab(Settings(home=tmp_path_factory.mktemp("home"), base=base_folder), lambda base: FakeEngine())
    yield lab
    lab.close()


def test_every_test_that_the_document_names_is_there() -> None:
    named = re.findall(r"`([\w/]*test_\w+)\.(test_\w+)`", (ROOT / "docs" / "security.md").read_text(encoding="utf-8"))
    assert len(named) > 30
    for file, test in named:
        text = (ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8")
        assert f"def {test}(" in text, f"{file}.py has no {test}"


def test_an_upload_that_is_too_large_is_refused_before_it_is_sent(address: str) -> None:
    where = httpx.URL(address)
    with socket.create_connection((where.host, where.port)) as raw:
        raw.sendall(
            f"POST /gradio_api/upload HTTP/1.1\r\nHost: {where.host}\r\n"
            f"Content-Type: multipart/form-data; boundary=x\r\n"
            f"Content-Length: {UPLOAD_LIMIT + 1}\r\nConnection: close\r\n\r\n".encode()
        )
        assert raw.recv(64).split()[1] == b"413"


def test_no_component_fetches_an_address_for_anybody(lab: Lab) -> None:
    page = build(lab)
    for block in page.blocks.values():
        for place in ("http://192.0.2.1/x", "https://192.0.2.1/x.csv", "ftp://192.0.2.1/x", "file:///etc/passwd"):
            with pytest.raises(InputError, match="cannot be fetched"):
                asyncio.run(block.async_move_resource_to_block_cache(place))  # type: ignore[attr-defined]


def test_a_file_that_a_request_names_by_its_address_is_not_fetched(address: str) -> None:
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.1)
        over = threading.Event()
        watching = threading.Thread(target=watch, args=(trap, asked, over))
        watching.start()
        url = f"http://127.0.0.1:{trap.getsockname()[1]}/x.jsonl"
        given = {"path": url, "url": url, "orig_name": "x.jsonl", "meta": {"_type": "gradio.FileData"}}
        for number, name in enumerate(calls_with_files(address)):
            tab = Tab(address, f"fetching-{number}")
            call, files = tab.calls[name], file_components(tab)
            data = [given if part in files else tab.values[part] for part in call["inputs"]]
            body = {"data": data, "fn_index": call["id"], "session_hash": tab.session}
            tab.http.post("/gradio_api/queue/join", json=body).raise_for_status()
            end = next(event for event in tab.events() if event["msg"] == "process_completed")
            assert not end["success"], name
        over.set()
        watching.join()
    assert asked == []


def file_components(tab: Tab) -> set[int]:
    config = tab.http.get("/config").json()
    return {part["id"] for part in config["components"] if part["type"] in ("file", "uploadbutton")}


def calls_with_files(address: str) -> list[str]:
    tab = Tab(address, "looking")
    files = file_components(tab)
    found = [name for name, call in tab.calls.items() if files & set(call["inputs"])]
    assert found, "the page takes files"
    return found


def watch(trap: socket.socket, asked: list[bytes], over: threading.Event) -> None:
    while not over.is_set():
        try:
            one, _ = trap.accept()
            asked.append(one.recv(100))
            one.close()
        except TimeoutError:
            continue


@pytest.mark.parametrize("suffix", ["bin", "pt", "pth", "pkl", "ckpt"])
def test_an_adapter_of_pickles_is_never_read(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}))
    (folder / f"adapter_model.{suffix}").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    with pytest.raises(AdapterError):
        read_adapter(folder, None)


def test_nothing_in_chatlab_loads_a_pickle_runs_a_shell_or_trusts_remote_code() -> None:
    for file in (ROOT / "chatlab").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        loads = r'(?<!safetensors\.)torch\.load\((?!"adapter_model)'  # but for words on how to convert a .bin
        shells = r"shell=True|os\.system\(|os\.popen\("
        assert not re.search(rf"^\s*(import|from) pickle|{loads}|{shells}", text, re.M), file
        assert "trust_remote_code=True" not in text, file
        assert not re.search(r"(?<![\w.])(eval|exec)\(", text), file


names = st.text(max_size=70) | st.lists(
    st.sampled_from(["..", "/", "\\", "\0", "CON", "a", ".", "~", ":", "%2e", " ", "-", "x;touch y", "\u202e", "\n"]),
    max_size=6,
).map("".join)


@given(names)
def test_no_name_leaves_the_shelf_whatever_is_done_with_it(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    root = tmp_path_factory.getbasetemp()
    shelf, outside = root / "shelf", root / "outside.txt"
    outside.write_text("mine")
    adapters = Adapters(shelf)
    for do in (adapters.remove, adapters.restore, adapters.demonstrations, lambda one: adapters.open(one, "")):
        with pytest.raises((AdapterMissing, NameRefused)):
            do(name)
    assert outside.read_text() == "mine"
    assert {path.name for path in shelf.iterdir()} <= {".trash"}


def test_a_symlink_on_the_shelf_is_no_adapter(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "adapter_config.json").write_text("{}")
    shelf = tmp_path / "shelf"
    adapters = Adapters(shelf)
    (shelf / "link").symlink_to(tmp_path / "elsewhere")
    for do in (adapters.remove, adapters.demonstrations, lambda one: adapters.open(one, "")):
        with pytest.raises(AdapterMissing):
            do("link")
    assert (tmp_path / "elsewhere" / "adapter_config.json").exists()


def test_a_run_s_name_cannot_lead_elsewhere(lab: Lab) -> None:
    for name in ("..", ".", "", "../adapters", "/etc", "a/../..", "\0", "x" * 5000):
        with pytest.raises((ChatlabError, ValueError)):
            lab.training.run(name)
        with pytest.raises((ChatlabError, ValueError)):
            lab.training.discard(name)


def test_the_exports_and_backups_hold_no_secret(tmp_path: Path, base_folder: Path) -> None:
    secret = "correct horse battery staple"
    settings = Settings(home=tmp_path, base=base_folder, auth=(("anna", secret),))
    lab = Lab(settings, lambda base: FakeEngine())
    try:
        lab.demonstrations.write("Hello.", "Good morrow.")
        lab.store.backups.make()
        lab.store.dump(lab.store.demonstrations, tmp_path / "out.jsonl")
        with site(lab, settings) as address:
            with visitor(address, auth=("anna", secret)) as client:
                assert client.get("/config").status_code == 200
    finally:
        lab.close()
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or secret.encode() not in file.read_bytes(), file

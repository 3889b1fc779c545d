"""How files come over HTTP and go again, and which of Gradio's routes there are."""

from __future__ import annotations

import itertools
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest

from chatlab.errors import InputError
from chatlab.web.app import build
from chatlab.web.uploads import Uploads
from tests.support.hostile.uploads import (
    ANNA,
    BEN,
    ROWS,
    SECRET,
    World,
    file,
    file_events,
    press,
    refused,
    send,
    until,
    world,
)
from tests.web.test_wire import Tab


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, base_folder: Path, cache_folder: Path) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world"), base_folder, cache_folder) as one:
        yield one


NAMES = [
    "../../../x.jsonl",
    "..",
    ".",
    "/etc/passwd",
    "C:\\x\\y.txt",
    "a/b/c.md",
    "con.txt",
    "x" * 400,
    "\u202etxt.exe",
    "häuser.csv",
    ".hidden",
    "nul",
    "a\x01b.txt",
    "%2e%2e%2fx",
    "  ",
    "x. . ",
    "-rf",
]


@pytest.mark.parametrize("name", NAMES)
def test_an_upload_lies_in_a_folder_of_its_own_whatever_it_is_called(one: World, name: str) -> None:
    with one.client(BEN) as ben:
        path = Path(send(ben, name, "words"))
        folder = one.home / "store" / "uploads"
        assert path.parent.parent == folder.resolve() and path.read_text() == "words"
        assert (
            path.name not in ("", ".", "..") and len(path.name.encode()) <= 255 and path.name.isprintable()
        ) or "\u202e" in name
        assert ben.get(f"/gradio_api/file={quote(str(path))}").text == "words"
        if sys.platform != "win32":
            assert [stat.S_IMODE(place.stat().st_mode) for place in (folder, path.parent, path)] == [
                0o700,
                0o700,
                0o600,
            ]


PART = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n'
BROKEN = [
    b"",
    b"--x\r\n",
    b"--x\r\n\r\nwords\r\n--x--\r\n",
    b'--x\r\nContent-Disposition: form-data; name="files"\r\n\r\nwords\r\n--x--\r\n',
    b'--x\r\nContent-Disposition: form-data; name="files"; filename="\xff\xfe"\r\n\r\nwords\r\n--x--',
    PART + b"B: " + b"y" * 9000 + b"\r\n\r\n",
    PART + b"\r\n" + SECRET.encode(),
    PART + b"\r\nwords\r\n" + PART * 1100,
    b"\0" * 100,
    b"{}",
]
KINDS = [
    "multipart/form-data; boundary=x",
    "multipart/form-data; boundary=x; charset=none",
    "multipart/form-data",
    "text/plain",
    "application/json",
    "",
]


@pytest.mark.parametrize("query", ["", "?upload_id=some-id"])
def test_a_body_that_is_no_upload_is_answered_in_words_and_leaves_nothing(
    one: World, query: str, capfd: pytest.CaptureFixture[str]
) -> None:
    uploads = one.home / "store" / "uploads"
    with one.client(BEN) as ben:
        send(ben, "x.txt", "x")
        before = sorted(uploads.iterdir())
        for body, kind in itertools.product(BROKEN, KINDS):
            answer = ben.post(f"/gradio_api/upload{query}", content=body, headers={"content-type": kind})
            assert answer.status_code < 500 and "Traceback" not in answer.text, (body[:60], answer.text)
            if answer.status_code == 200:
                assert all(ben.get(f"/gradio_api/file={path}").status_code == 200 for path in answer.json())
                before += [Path(path).parent for path in answer.json()]
        assert sorted(uploads.iterdir()) == sorted(before)
    assert "Traceback" not in "".join(capfd.readouterr())


def test_an_upload_that_is_broken_off_leaves_nothing(one: World) -> None:
    where, uploads = urlsplit(one.address), one.home / "store" / "uploads"
    with one.client(BEN) as ben:
        send(ben, "x.txt", "x")
        header = ben.build_request("GET", "/").headers
        token = next(iter(httpx.BasicAuth(*BEN).auth_flow(ben.build_request("GET", "/")))).headers["authorization"]
    before = set(uploads.iterdir())
    with socket.create_connection((where.hostname or "", where.port or 0)) as raw:
        raw.sendall(
            f"POST /gradio_api/upload HTTP/1.1\r\nHost: {header['host']}\r\nAuthorization: {token}\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 100000\r\n\r\n"
            '--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nhalf a file'.encode()
        )
        until(lambda: any(place.is_dir() and any(place.iterdir()) for place in set(uploads.iterdir()) - before))
    until(lambda: set(uploads.iterdir()) == before)


def test_uploads_end_with_the_app_and_what_a_killed_one_left_goes_at_the_start(
    tmp_path: Path, base_folder: Path, cache_folder: Path
) -> None:
    left = tmp_path / "home" / "store" / "uploads" / "left" / "rows.jsonl"
    left.parent.mkdir(parents=True)
    left.write_text(ROWS)
    keep = tmp_path / "keep.txt"
    keep.write_text("mine")
    (left.parent / "link").symlink_to(keep)
    (left.parent.parent / "folder").symlink_to(tmp_path, target_is_directory=True)
    with world(tmp_path, base_folder, cache_folder) as one, one.client(ANNA) as anna:
        folder = one.home / "store" / "uploads"
        assert list(folder.iterdir()) == []
        tab = Tab(one.address, "again", ANNA)
        refused(press(tab, file_events(tab)[0], file(str(left))))
        path = send(anna, "x.txt", "x")
        assert Path(path).exists()
    assert list(folder.iterdir()) == [] and keep.read_text() == "mine" and one.secret.read_text() == ROWS


def test_what_was_left_behind_goes_when_it_is_old(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / "uploads")
    uploads.open()
    old, new = uploads.place() / "old.txt", uploads.place() / "new.txt"
    old.write_text("old")
    paths = [uploads.sent(old, "anna")]
    while not new.exists() or new.stat().st_ctime <= old.stat().st_ctime:
        new.write_text("new")
    paths.append(uploads.sent(new, "anna"))
    uploads.sweep(new.stat().st_ctime)
    assert not old.exists() and uploads.own(paths[1], "anna").read_text() == "new"
    with pytest.raises(InputError, match="not sent"):
        uploads.own(paths[0], "anna")
    new.unlink()
    new.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is gone"):
        uploads.own(paths[1], "anna")


OPEN = {
    "/",
    "/config",
    "/config/",
    "/theme.css",
    "/favicon.ico",
    "/manifest.json",
    "/robots.txt",
    "/assets/{path:path}",
    "/static/{path:path}",
    "/gradio_api/info",
    "/gradio_api/info/",
    "/gradio_api/startup-events",
    "/gradio_api/app_id",
    "/gradio_api/app_id/",
    "/gradio_api/theme.css",
    "/gradio_api/upload",
    "/gradio_api/upload_progress",
    "/gradio_api/cancel",
    "/gradio_api/reset",
    "/gradio_api/reset/",
    "/gradio_api/queue/join",
    "/gradio_api/queue/data",
    "/gradio_api/heartbeat/{session_hash}",
    "/gradio_api/run/{api_name}",
    "/gradio_api/run/{api_name}/",
    "/gradio_api/api/{api_name}",
    "/gradio_api/api/{api_name}/",
    "/gradio_api/call/{api_name}",
    "/gradio_api/call/{api_name}/",
    "/gradio_api/call/v2/{api_name}",
    "/gradio_api/call/v2/{api_name}/",
    "/gradio_api/call/{api_name}/{event_id}",
    "/gradio_api/call/v2/{api_name}/{event_id}",
    "/gradio_api/file={path_or_url:path}",
}
"""The routes of Gradio that the page and programs use."""


def test_every_other_route_of_gradio_is_closed(one: World) -> None:
    from gradio.routes import App

    routes = set(routes_of(App.create_app(build(one.lab))))
    assert len(routes) > 70
    with one.client(BEN) as ben:
        for method, path in routes:
            if path in OPEN:
                continue
            real = path.replace("{session_hash}", "x").replace("{component_id}", "1").replace(":path}", "}")
            while "{" in real:
                real = real[: real.index("{")] + "etc" + real[real.index("}") + 1 :]
            answer = ben.request(method, real)
            assert answer.status_code == 404, (method, real)
        for path in (f"/assets/{'x' * 4000}", f"/static/{'x' * 300}", "/static/..%2f..%2froutes.py", "/assets/%00"):
            assert ben.get(path).status_code in (400, 403, 404), path


def routes_of(router: Any) -> Iterator[tuple[str, str]]:
    """Method and path of each, those of routers inside it too."""
    for route in router.routes:
        for method in getattr(route, "methods", None) or ():
            yield method, route.path
        if inner := getattr(route, "original_router", None):
            yield from routes_of(inner)

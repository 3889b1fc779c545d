"""Who is let in, and what the page may do: raw requests at a real server."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.settings import PACKAGE, Settings
from chatlab.web.guard.security import JSON_LIMIT, SecurityMiddleware
from tests.support.served import visitor


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, base_folder) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("home"), base=base_folder)


@pytest.fixture(scope="module")
def lab(home: Settings) -> Iterator[Lab]:
    lab = Lab(home, open_engine=lambda base: FakeEngine())
    yield lab
    lab.close()


@pytest.fixture
def client(address: str) -> Iterator[httpx.Client]:
    with visitor(address) as client:
        yield client


def upload(client: httpx.Client, **headers: str) -> httpx.Response:
    return client.post("/gradio_api/upload", files={"files": ("a.txt", b"text")}, headers=headers)


def test_our_own_page_is_served(client: httpx.Client, address: str) -> None:
    assert client.get("/").status_code == 200
    assert client.get("/chatlab/page.js").status_code == 200
    assert upload(client, origin=address, **{"sec-fetch-site": "same-origin"}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.com", "evil.com:7860", "127.0.0.1.evil.com", "localhost.evil.com:80", "", "[::1", "127.0.0.1@evil.com:1"],
)
def test_a_host_that_is_not_ours_is_refused(client: httpx.Client, host: str) -> None:
    reply = client.get("/config", headers={"host": host})
    assert reply.status_code == 400 and "access-control-allow-origin" not in reply.headers


def test_two_hosts_are_refused(address: str) -> None:
    where = urlsplit(address)
    with socket.create_connection((where.hostname, where.port)) as raw:
        raw.sendall(b"GET /config HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.com\r\nConnection: close\r\n\r\n")
        assert raw.recv(64).split()[1] == b"400"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.com"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "https://127.0.0.1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
    ],
)
def test_another_sites_page_can_post_nothing(client: httpx.Client, headers: dict[str, str]) -> None:
    assert upload(client, **headers).status_code == 403
    join = {"data": [], "fn_index": 0, "session_hash": "x"}
    assert client.post("/gradio_api/queue/join", json=join, headers=headers).status_code == 403


@pytest.mark.parametrize(
    "path", ["/config", "/gradio_api/info", "/gradio_api/queue/data?session_hash=x", "/chatlab/page.js"]
)
def test_another_sites_page_can_read_nothing(client: httpx.Client, path: str) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "script"}
    assert client.get(path, headers=headers).status_code == 403


def test_a_link_to_the_front_page_may_be_followed_and_no_other(client: httpx.Client) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.get("/", headers=headers).status_code == 200
    assert client.get("/config", headers=headers).status_code == 403
    assert client.get("/", headers=headers | {"sec-fetch-dest": "iframe"}).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        str(PACKAGE / "settings.py"),
        "../../../../etc/passwd",
        "pyproject.toml",
        "http://127.0.0.1:1/x",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
    ],
)
def test_no_file_outside_the_page_can_be_read(client: httpx.Client, path: str) -> None:
    for prefix in ("/gradio_api/file=", "/file=", "/gradio_api/proxy="):
        assert client.get(prefix + path).status_code in (400, 403, 404)


def test_the_store_and_the_adapters_cannot_be_read(client: httpx.Client, home: Settings, lab: Lab) -> None:
    lab.chat.new("a secret system message")
    for file in [path for path in home.store.rglob("*") if path.is_file() and home.uploads not in path.parents]:
        assert client.get(f"/gradio_api/file={file}").status_code in (403, 404)


def test_every_answer_forbids_framing_sniffing_and_foreign_scripts(client: httpx.Client) -> None:
    for path in ("/", "/config", "/chatlab/page.css", "/nowhere"):
        headers = client.get(path).headers
        rules = dict(rule.strip().split(" ", 1) for rule in headers["content-security-policy"].split(";"))
        assert rules["frame-ancestors"] == rules["object-src"] == "'none'"
        assert rules["img-src"] == "'self' data: blob:" and rules["form-action"] == "'self'"
        assert "unsafe" not in rules["script-src"] and "http" not in rules["script-src"]
        assert headers["x-frame-options"] == "DENY" and headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_the_page_offers_few_calls_to_other_programs(client: httpx.Client) -> None:
    assert set(client.get("/gradio_api/info").json()["named_endpoints"]) == {"/say", "/voices"}


def test_nothing_is_recorded_in_the_browser_and_nothing_monitored(client: httpx.Client) -> None:
    config = client.get("/config").json()
    assert not config.get("run_history") and not config.get("analytics_enabled")
    assert client.get("/monitoring").status_code in (403, 404)
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert client.get(path).status_code == 404


def test_a_request_that_is_too_large_is_refused(client: httpx.Client) -> None:
    assert client.post("/gradio_api/queue/join", content=b"x" * (JSON_LIMIT + 1)).status_code == 413
    pieces = (b"x" * 2**20 for _ in range(2 + JSON_LIMIT // 2**20))
    with contextlib.suppress(httpx.TransportError):  # hung up on in the middle
        assert client.post("/gradio_api/queue/join", content=pieces).status_code >= 400
    assert client.get("/").status_code == 200


def test_beyond_loopback_only_addresses_and_the_own_name_are_ours() -> None:
    guard = SecurityMiddleware(lambda *_: None, host="0.0.0.0")  # type: ignore[arg-type, return-value]
    for own in ("192.168.1.5:7860", "[fe80::1]:7860", "localhost:7860"):
        assert guard._is_own_host(own)
    assert not guard._is_own_host("evil.com:7860") and not guard._is_own_host("0.0.0.0.evil.com")
    assert not SecurityMiddleware(lambda *_: None)._is_own_host("192.168.1.5:7860")  # type: ignore[arg-type, return-value]


def test_web_sockets_are_not_spoken(client: httpx.Client) -> None:
    headers = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "eA==",
    }
    assert client.get("/gradio_api/queue/join", headers=headers).status_code >= 400


def test_the_page_and_its_files_say_nothing_of_the_machine(client: httpx.Client, home: Settings) -> None:
    told = client.get("/").text + json.dumps(client.get("/config").json())
    assert str(home.home) not in told and str(PACKAGE) not in told

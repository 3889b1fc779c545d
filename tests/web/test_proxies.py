"""Behind a reverse proxy: what it says is believed where it is named, and what a visitor writes never is."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatlab import __main__ as front
from chatlab.__main__ import main
from chatlab.engines.fake import FakeEngine
from chatlab.errors import InputError
from chatlab.lab import Lab
from chatlab.settings import Settings
from chatlab.web.guard.basic_auth import FREE
from chatlab.web.guard.proxies import ProxyMiddleware, chain, networks, parsed
from tests.support.served import site, visitor

ANNA = ("anna", "anna's long password")
OUTSIDE = "chat.example.org"


def signed_in(name: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, base_folder: Path) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("home"), base=base_folder, auth=(ANNA,))


@pytest.fixture(scope="module")
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    yield lab
    lab.close()


def guesses_heard(address: str, name: str, header: str) -> int:
    """Of 12 wrong passwords for `name`, each said to come from another address."""
    with visitor(address, headers=signed_in(name, "guess")) as client:
        said = "for=198.51.100.{}" if header == "forwarded" else "198.51.100.{}"
        answers = [client.get("/chatlab/health", headers={header: said.format(n)}) for n in range(12)]
    return sum(reply.status_code == 401 for reply in answers)


def test_a_visitor_on_loopback_is_not_believed_to_be_elsewhere(lab: Lab, settings: Settings) -> None:
    with site(lab, settings) as address:
        for name, header in (("anna", "x-forwarded-for"), ("ben", "forwarded"), ("carl", "x-real-ip")):
            assert guesses_heard(address, name, header) == FREE


def test_a_named_proxy_is_believed(lab: Lab, settings: Settings) -> None:
    with site(lab, replace(settings, proxies=networks(["127.0.0.1"]))) as address:
        for name, header, count in (
            ("anna", "x-forwarded-for", 12),
            ("ben", "forwarded", 12),
            ("carl", "x-real-ip", FREE),
        ):
            assert guesses_heard(address, name, header) == count


def test_the_host_that_the_browser_sees_is_checked_and_its_scheme(lab: Lab, settings: Settings) -> None:
    behind = replace(settings, proxies=networks(["127.0.0.1"]), names=(OUTSIDE,))
    with site(lab, behind) as address, visitor(address, auth=ANNA) as client:

        def asked(**headers: str) -> int:
            return client.get("/config", headers={k.replace("_", "-"): v for k, v in headers.items()}).status_code

        assert asked(host=OUTSIDE) == 200
        assert asked(host="evil.com") == 400
        assert asked(x_forwarded_host=OUTSIDE) == 200
        assert asked(x_forwarded_host="evil.com") == 400
        assert asked(host="evil.com", x_forwarded_host=OUTSIDE) == 400
        assert asked(x_forwarded_host=f"evil.com, {OUTSIDE}") == 200, "the nearest proxy wrote the last"
        assert asked(x_forwarded_host=f"{OUTSIDE}, evil.com") == 400
        tls = {"x_forwarded_proto": "https", "host": OUTSIDE}
        assert asked(**tls, origin=f"https://{OUTSIDE}") == 200
        assert asked(**tls, origin=f"http://{OUTSIDE}") == 403
        assert asked(**tls, origin="https://evil.com") == 403
        assert asked(**tls, origin=f"https://{OUTSIDE}:444") == 403
        assert asked(host=OUTSIDE, origin=f"https://{OUTSIDE}") == 200, "a proxy need not say the scheme"
        root = client.get("/config", headers={"host": OUTSIDE, "x-forwarded-proto": "https"}).json()["root"]
        assert root == f"https://{OUTSIDE}"


def test_no_header_of_a_visitor_changes_where_the_page_loads_from(lab: Lab, settings: Settings) -> None:
    spoofed = {
        "x-forwarded-host": "evil.com",
        "x-forwarded-proto": "https",
        "x-gradio-server": "http://evil.com",
        "forwarded": "host=evil.com;proto=https",
        "x-original-host": "evil.com",
        "x-forwarded-prefix": "/evil",
    }
    with site(lab, settings) as address, visitor(address, auth=ANNA) as client:
        for path in ("/", "/config", "/gradio_api/info"):
            assert "evil" not in client.get(path, headers=spoofed).text
        assert client.get("/config", headers=spoofed).json()["root"] == address


def client_of(peer: str, *headers: tuple[bytes, bytes], proxies: tuple[str, ...] = ("127.0.0.1", "10.0.0.0/8")) -> str:
    scope: dict[str, Any] = {"type": "http", "client": (peer, 1), "scheme": "http", "headers": list(headers)}
    return str(ProxyMiddleware(lambda *_: None, networks(proxies))._outside(scope)["client"][0])  # type: ignore[arg-type, return-value]


FOR = b"x-forwarded-for"


@pytest.mark.parametrize(
    ("said", "client"),
    [
        ([(FOR, b"1.2.3.4")], "1.2.3.4"),
        ([(FOR, b"9.9.9.9, 1.2.3.4")], "1.2.3.4"),
        ([(FOR, b"9.9.9.9, 1.2.3.4, 10.1.1.1")], "1.2.3.4"),
        ([(FOR, b"9.9.9.9"), (FOR, b"1.2.3.4")], "1.2.3.4"),
        ([(FOR, b"1.2.3.4:5678")], "1.2.3.4"),
        ([(FOR, b"[2001:db8::1]:5678")], "2001:db8::1"),
        ([(FOR, b"2001:db8::1")], "2001:db8::1"),
        ([(FOR, b"::ffff:1.2.3.4")], "1.2.3.4"),
        ([(FOR, b"unknown")], "127.0.0.1"),
        ([(FOR, b"1.2.3.4, unknown, 10.1.1.1")], "10.1.1.1"),
        ([(FOR, b"1.2.3.4, ")], "127.0.0.1"),
        ([(FOR, b"")], "127.0.0.1"),
        ([(FOR, b",".join([b"10.1.1.1"] * 5000))], "10.1.1.1"),
        ([(FOR, b"127.0.0.1")], "127.0.0.1"),
        ([(b"X-FORWARDED-FOR", b"1.2.3.4")], "1.2.3.4"),
        ([(b"forwarded", b'for="[2001:db8::1]:80";proto=https, for=1.2.3.4;by=x')], "1.2.3.4"),
        ([(b"forwarded", b"For=1.2.3.4")], "1.2.3.4"),
        ([(b"forwarded", b"for=_hidden")], "127.0.0.1"),
        ([(FOR, b"1.2.3.4"), (b"forwarded", b"for=1.2.3.4")], "1.2.3.4"),
        ([(FOR, b"1.2.3.4"), (b"forwarded", b"for=9.9.9.9")], "127.0.0.1"),
        ([(b"x-real-ip", b"9.9.9.9")], "127.0.0.1"),
        ([(b"x_forwarded_for", b"9.9.9.9")], "127.0.0.1"),
        ([], "127.0.0.1"),
    ],
)
def test_the_chain_is_read_from_its_near_end(said: list[tuple[bytes, bytes]], client: str) -> None:
    assert client_of("127.0.0.1", *said) == client
    assert client_of("203.0.113.9", *said) == "203.0.113.9", "who is no named proxy is not believed"


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_whatever_a_header_says_the_client_is_an_address(for_: bytes, forwarded: bytes) -> None:
    found = client_of("127.0.0.1", (FOR, for_), (b"forwarded", forwarded))
    assert ipaddress.ip_address(found)
    assert isinstance(chain([(FOR, for_)]), list)


@pytest.mark.parametrize(
    "hop", ["1.2.3", "1.2.3.4.5", "[::1", "::1]", "x" * 10_000, "1.2.3.4:x", "%", "[1.2.3.4]x", "0x7f.1"]
)
def test_what_is_no_address_is_none(hop: str) -> None:
    assert parsed(hop) is None


@pytest.mark.parametrize("given", ["proxy.local", "*", "0.0.0.0/0", "::/0", "10.0.0.0/33", ""])
def test_a_proxy_is_named_by_its_address(given: str) -> None:
    with pytest.raises(InputError) as refused:
        networks([given])
    assert refused.value.hint


def test_behind_a_proxy_a_password_is_asked_for_on_loopback_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHATLAB_HOME", str(tmp_path))
    for line, asked in ((["--proxy", "127.0.0.1"], 1), ([], 0)):
        settings = front._guarded(front._settings(front._read(line)))
        assert len(settings.auth) == capsys.readouterr().out.count("with the password") == asked


def test_a_proxy_that_is_none_is_told_at_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--no-browser", "--proxy", "nginx"]) == 1
    assert "'nginx' is no address of a proxy" in capsys.readouterr().err

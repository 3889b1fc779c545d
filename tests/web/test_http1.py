"""Requests that two programs could read differently, sent as raw bytes: 400, hung up, and nothing is done."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.settings import Settings
from chatlab.web.http1 import LONGEST_HEAD, StrictConnection, check_head
from tests.support.served import site

HOST = b"Host: 127.0.0.1\r\n"
JSON = b"Content-Type: application/json\r\n"
POST = b"POST /gradio_api/call/voices HTTP/1.1\r\n" + HOST + JSON
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
BODY = b'{"data":' + 6 * b" " + b"[]}"
GET = b"GET /chatlab/health HTTP/1.1\r\n" + HOST
SECOND = GET + b"Connection: close\r\n\r\n"

UNCLEAR = {
    "CL.TE": POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "TE.CL": CHUNKED + b"Content-Length: 4\r\n\r\n5c\r\n" + SECOND + b"\r\n0\r\n\r\n",
    "TE.TE": CHUNKED + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "TE twice": CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE list": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "TE xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "TE quoted": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "TE space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "TE tab before the colon": POST + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "TE vertical tab": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "TE folded": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "TE in a fold": POST + b"X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE after a line feed": POST + b"X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE after a carriage return": POST + b"X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE with a zero byte": POST + b"Transfer-Encoding: chunked\x00\r\n\r\n0\r\n\r\n",
    "TE in HTTP/1.0": CHUNKED.replace(b"1.1", b"1.0", 1) + b"\r\n0\r\n\r\n",
    "CL twice, equal": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "CL twice, different": POST + b"Content-Length: 2\r\nContent-Length: 0\r\n\r\n{}",
    "CL list": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "CL signed": POST + b"Content-Length: +2\r\n\r\n{}",
    "CL negative": POST + b"Content-Length: -2\r\n\r\n{}",
    "CL hexadecimal": POST + b"Content-Length: 0x2\r\n\r\n{}",
    "CL underscored": POST + b"Content-Length: 1_0\r\n\r\n{}",
    "CL empty": POST + b"Content-Length:\r\n\r\n{}",
    "CL huge": POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n{}",
    "CL in other digits": POST + "Content-Length: ٢\r\n\r\n{}".encode(),
    "chunk extension": CHUNKED + b"\r\n11;x=y\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk extension with a line feed": CHUNKED + b"\r\n11;\nxx\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size with a space": CHUNKED + b"\r\n11 \r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size with 0x": CHUNKED + b"\r\n0x11\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size signed": CHUNKED + b"\r\n+11\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size huge": CHUNKED + b"\r\n" + b"f" * 17 + b"\r\n" + BODY,
    "chunk ended by a line feed": CHUNKED + b"\r\n11\n" + BODY + b"\n0\n\n",
    "chunk longer than its size": CHUNKED + b"\r\n10\r\n" + BODY + b"\r\n0\r\n\r\n",
    "trailer": CHUNKED + b"\r\n11\r\n" + BODY + b"\r\n0\r\nX: y\r\n\r\n",
    "trailer that is a length": CHUNKED + b"\r\n11\r\n" + BODY + b"\r\n0\r\nContent-Length: 50\r\n\r\n",
    "last chunk and a line feed": CHUNKED + b"\r\n11\r\n" + BODY + b"\r\n0\r\n\n" + SECOND,
    "line feeds alone": SECOND.replace(b"\r\n", b"\n"),
    "one line feed alone": GET + b"X: y\n\r\n",
    "two hosts": GET + b"Host: evil.com\r\n\r\n",
    "two equal hosts": GET + HOST + b"\r\n",
    "no host": b"GET /chatlab/health HTTP/1.1\r\n\r\n",
    "folded host": b"GET /chatlab/health HTTP/1.1\r\nHost:\r\n 127.0.0.1\r\n\r\n",
    "fold after the request line": b"GET /chatlab/health HTTP/1.1\r\n X: y\r\n" + HOST + b"\r\n",
    "absolute target": b"GET http://127.0.0.1/chatlab/health HTTP/1.1\r\n" + HOST + b"\r\n",
    "absolute target elsewhere": b"GET http://evil.com/chatlab/health HTTP/1.1\r\n" + HOST + b"\r\n",
    "target that is a host": b"CONNECT 127.0.0.1:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    "relative target": b"GET chatlab/health HTTP/1.1\r\n" + HOST + b"\r\n",
    "two spaces": b"GET  /chatlab/health HTTP/1.1\r\n" + HOST + b"\r\n",
    "tab in the request line": b"GET\t/chatlab/health HTTP/1.1\r\n" + HOST + b"\r\n",
    "space in the target": b"GET /chatlab/health x HTTP/1.1\r\n" + HOST + b"\r\n",
    "lower-case method": b"get /chatlab/health HTTP/1.1\r\n" + HOST + b"\r\n",
    "no version": b"GET /chatlab/health\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /chatlab/health\r\n\r\n",
    "HTTP/1.2": GET.replace(b"1.1", b"1.2", 1) + b"\r\n",
    "HTTP/2.0": GET.replace(b"1.1", b"2.0", 1) + b"\r\n",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "empty line first": b"\r\n" + SECOND,
    "space first": b" " + SECOND,
    "header without a name": GET + b": y\r\n\r\n",
    "header without a colon": GET + b"XY\r\n\r\n",
    "space in a name": GET + b"X Y: z\r\n\r\n",
    "zero byte in a value": GET + b"X: a\x00b\r\n\r\n",
    "carriage return in a value": GET + b"X: a\rb\r\n\r\n",
    "carriage return before the end": GET + b"X: a\r\r\n\r\n",
    "delete in a value": GET + b"X: a\x7fb\r\n\r\n",
    "escape in a name": GET + b"X\x1b: y\r\n\r\n",
    "h2c": GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    "websocket": GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "settings of h2 alone": GET + b"HTTP2-Settings: AAMAAABk\r\n\r\n",
    "other expectation": POST + b"Expect: 200-ok\r\nContent-Length: 2\r\n\r\n{}",
    "two expectations": POST + b"Expect: 100-continue\r\nExpect: x\r\nContent-Length: 2\r\n\r\n{}",
    "long line": GET + b"X: " + b"y" * LONGEST_HEAD + b"\r\n\r\n",
    "long target": b"GET /" + b"y" * LONGEST_HEAD + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "line that never ends": GET + b"X: " + b"y" * 3 * LONGEST_HEAD,
    "many headers": GET + b"".join(b"X%d: y\r\n" % n for n in range(200)) + b"\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40 + b"\r\n\r\n",
}
CLEAR = {
    "plain": (SECOND, 1),
    "HTTP/1.0": (b"GET /chatlab/health HTTP/1.0\r\n" + HOST + b"\r\n", 1),
    "HTTP/1.0 that would stay": (b"GET /chatlab/health HTTP/1.0\r\nConnection: keep-alive\r\n" + HOST + b"\r\n", 1),
    "length": (POST + b"Connection: close\r\nContent-Length: 17\r\n\r\n" + BODY, 1),
    "chunks": (CHUNKED + b"Connection: close\r\n\r\n1\r\n{\r\n10\r\n" + BODY[1:] + b"\r\n0\r\n\r\n", 1),
    "in a row": (GET + b"\r\n" + CHUNKED + b"\r\n11\r\n" + BODY + b"\r\n0\r\n\r\n" + GET + b"\r\n" + SECOND, 4),
    "body of a GET": (GET + b"Content-Length: 5\r\n\r\nGET /" + SECOND, 2),
    "empty value": (GET + b"X:\r\nConnection: close\r\n\r\n", 1),
    "umlauts": (GET + "X: äöü\r\nConnection: close\r\n\r\n".encode(), 1),
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, base_folder: Path) -> Iterator[str]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), base=base_folder)
    lab = Lab(settings, open_engine=lambda base: FakeEngine())
    with site(lab, settings) as address:
        yield address
    lab.close()


def heard(address: str, said: bytes, piece: int = 0) -> bytes:
    """All that comes back until the server hangs up; `said` in pieces of that many bytes."""
    where = urlsplit(address)
    with socket.create_connection((where.hostname, where.port), timeout=30) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answer = b""
        try:
            for start in range(0, len(said), piece or len(said)):
                raw.sendall(said[start : start + (piece or len(said))])
            while more := raw.recv(65536):
                answer += more
        except ConnectionError:  # hung up on before all was sent
            pass
    return answer


@pytest.mark.parametrize("kind", UNCLEAR)
@pytest.mark.parametrize("piece", [0, 7])
def test_what_could_be_read_in_two_ways_is_refused_and_hung_up_on(address: str, kind: str, piece: int) -> None:
    answer = heard(address, UNCLEAR[kind], piece)
    assert answer.count(b"HTTP/1.1 ") <= 1 and b"HTTP/1.1 2" not in answer
    if not piece and len(UNCLEAR[kind]) < LONGEST_HEAD:  # else it may be hung up on while still being sent
        assert answer.startswith(b"HTTP/1.1 400 ") and b"connection: close" in answer.lower()


@pytest.mark.parametrize("kind", CLEAR)
@pytest.mark.parametrize("piece", [0, 1, 7])
def test_what_is_plain_is_answered_one_for_one(address: str, kind: str, piece: int) -> None:
    said, count = CLEAR[kind]
    answer = heard(address, said, piece)
    assert answer.count(b"HTTP/1.1 200 ") == count == answer.count(b"HTTP/1.1 ")


@pytest.mark.parametrize("kind", ["length", "chunks"])
def test_a_body_is_read_alike_wherever_the_network_cuts_it(kind: str) -> None:
    """A piece may end anywhere, also right after a chunk's size."""
    said, _ = CLEAR[kind]
    for cuts in [(at, at) for at in range(len(said))] + [(at, at + 1) for at in range(len(said))] + [range(len(said))]:
        connection = StrictConnection()
        body = b""
        ends = [*cuts, len(said)]
        for start, end in zip([0, *ends], ends, strict=False):
            if start < end:
                connection.receive_data(said[start:end])
            while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                body += bytes(event.data) if isinstance(event, h11.Data) else b""
        assert body == BODY and connection.their_state is h11.MUST_CLOSE


def test_a_body_that_waits_to_be_asked_for_is_asked_for_or_hung_up_on(address: str) -> None:
    where = urlsplit(address)
    waits = b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: 17\r\n\r\n"
    with socket.create_connection((where.hostname, where.port), timeout=30) as raw:
        raw.sendall(POST + waits)
        assert raw.recv(1000).startswith(b"HTTP/1.1 100 ")
        raw.sendall(BODY)
        assert raw.recv(1000).startswith(b"HTTP/1.1 200 ")
    for refused in (POST.replace(b"127.0.0.1", b"evil.com"), POST + b"Origin: http://evil.com\r\n"):
        answer = heard(address, refused + waits.replace(b"Connection: close\r\n", b"") + SECOND)
        assert answer.count(b"HTTP/1.1 ") == 1 and answer.split()[1] in (b"400", b"403"), "what follows is no request"


def test_a_refused_request_with_a_body_gives_its_bytes_to_nobody(address: str) -> None:
    """The body looks like a request of its own."""
    refused = POST + b"Origin: http://evil.com\r\nContent-Length: %d\r\n\r\n" % len(SECOND)
    answer = heard(address, refused + SECOND + SECOND)
    assert answer.count(b"HTTP/1.1 403 ") == 1 and answer.count(b"HTTP/1.1 200 ") == 1


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(UNCLEAR)), st.integers(0, 10_000))
def test_a_head_that_is_refused_whole_is_never_taken_in_part(kind: str, at: int) -> None:
    """As it comes in piece by piece, what is refused early is refused in the end, and nothing is taken back."""
    head, _, _ = UNCLEAR[kind].partition(b"\r\n\r\n")
    head += b"\r\n\r\n"
    try:
        check_head(head[: at % (len(head) + 1)])
    except h11.RemoteProtocolError:
        with pytest.raises(h11.RemoteProtocolError):
            check_head(head)

"""HTTP/1.1 read strictly: a request that two programs could read differently is answered with 400 and hung up on.

Behind a reverse proxy, such a request is how one person's bytes become another's request (request smuggling). h11 is
the parser, httptools is never used; before h11 reads a head or a chunk, the bytes themselves are checked for what h11
would let pass: bare line feeds, folded lines, two lengths, targets that name a host, extensions and trailers of chunks.
"""

from __future__ import annotations

import contextlib
import logging
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

LONGEST_HEAD = 32 * 2**10
"""Bytes of a request line and its headers."""
MOST_HEADERS = 100
REQUEST_LINE = re.compile(rb"[A-Z]{3,10} /[!-~]* HTTP/1\.([01])")
HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
# A line ends with CR LF; no control character but a tab stands in it, and no line begins with a space.
UNCLEAR = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|\r\n[ \t]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# The CR LF that ended the chunk before may still be there. h11 checks it.
CHUNK = re.compile(rb"(?:\r?\n)?([0-9A-Fa-f]{1,15})\r\n")
CHUNK_BEGUN = re.compile(rb"\r?\n?[0-9A-Fa-f]{0,15}\r?")


class StrictConnection(h11.Connection):
    """The server's side of a connection, which reads nothing that is not plain."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, LONGEST_HEAD)
        self._chunk_is_due = False
        self._end_is_due = False

    def next_event(self) -> Any:
        """As h11's. Raises h11.RemoteProtocolError."""
        received = self.trailing_data[0]
        if self.their_state is h11.IDLE:
            check_head(received)
        elif self._chunk_is_due:
            self._check_chunk(received)
        elif self._end_is_due and received[:2] not in (b"", b"\r", b"\r\n"):
            raise h11.RemoteProtocolError("A body has no trailers")
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunk_is_due = any(name == b"transfer-encoding" for name, _ in event.headers)
        elif isinstance(event, h11.Data):
            self._chunk_is_due = event.chunk_end
        elif isinstance(event, h11.EndOfMessage):
            self._chunk_is_due = self._end_is_due = False
        return event

    def _check_chunk(self, received: bytes) -> None:
        head = CHUNK.match(received)
        if head is None:
            if CHUNK_BEGUN.fullmatch(received) is None:
                raise h11.RemoteProtocolError("A chunk begins with its size and nothing else")
            return
        self._chunk_is_due = False  # h11 takes the size now, also where none of the chunk's bytes have come yet
        if int(head[1], 16) == 0:
            self._end_is_due = True
            if received[head.end() :][:2] not in (b"", b"\r", b"\r\n"):
                raise h11.RemoteProtocolError("A body has no trailers")


def check_head(received: bytes) -> None:
    """Raises h11.RemoteProtocolError if what has come of a request's head is not plain."""
    end = received.find(b"\r\n\r\n")
    head = received if end < 0 else received[:end]
    if len(head) > LONGEST_HEAD:
        raise h11.RemoteProtocolError("The head is too long", error_status_hint=431)
    if UNCLEAR.search(head):
        raise h11.RemoteProtocolError("A line of the head is unclear")
    if end < 0:
        return
    first, *lines = head.split(b"\r\n")
    request = REQUEST_LINE.fullmatch(first)
    headers = [HEADER.fullmatch(line) for line in lines]
    if request is None or len(headers) > MOST_HEADERS or not all(headers):
        raise h11.RemoteProtocolError("The request line or a header is malformed")
    pairs = [(header[1].lower(), header[2].strip(b" \t")) for header in headers if header]
    if wrong := _wrong_framing(pairs, is_1_1=request[1] == b"1"):
        raise h11.RemoteProtocolError(wrong)


def _wrong_framing(headers: list[tuple[bytes, bytes]], is_1_1: bool) -> str:
    """What is wrong with where a request goes and where it ends; empty if nothing is."""
    count = Counter(name for name, _ in headers)
    value = dict(headers)
    length, coding = value.get(b"content-length"), value.get(b"transfer-encoding")
    if count[b"host"] > 1 or (is_1_1 and not count[b"host"]):
        return "A request names one host"
    if count[b"content-length"] + count[b"transfer-encoding"] > 1:
        return "A body has one length"
    if length is not None and not re.fullmatch(rb"[0-9]{1,15}", length):
        return "A length is a number"
    if coding is not None and (coding.lower() != b"chunked" or not is_1_1):
        return "The only coding is chunked"
    if count[b"upgrade"] or count[b"http2-settings"]:
        return "Only HTTP/1.1 is supported"
    if count[b"expect"] and value[b"expect"].lower() != b"100-continue":
        return "Only 100-continue can be expected"
    return ""


class StrictProtocol(H11Protocol):
    """uvicorn's protocol on a strict connection. A request that is refused is not worth a line in the log."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.conn = StrictConnection()
        self.logger = logging.getLogger("uvicorn.error.requests")
        self.logger.setLevel(logging.ERROR)

    def send_400_response(self, msg: str) -> None:
        """Answer and hang up. Where an answer is under way already, only hang up."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True  # the app hears that nobody is there, and what it still says goes nowhere
            cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response("This request cannot be understood.")
        else:
            self.transport.close()


class Server(uvicorn.Server):
    """Says when it has begun to answer, and when it is about to end."""

    def __init__(self, config: uvicorn.Config, answered: Callable[[], None], ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._answered = answered
        self._ending = ending

    def stop(self) -> None:
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Left to `Shutdown`: what the server would raise again at its end would end the process before the lab is."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._answered()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # open pages are cut off; that is no error
        self._ending()
        await super().shutdown(sockets)

"""People who chat over HTTP as the page does, each with a word of their own that nobody else may ever see."""

from __future__ import annotations

import json
import random
import re
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import httpx

from chatlab.ui.html_block import decode

ASKED = (
    "My word is {word}. Tell me of the harbour.",
    "Say {word} and greet me.",
    "What do you make of {word}?",
    "Once more, {word}: why is the sea salt?",
)
PATIENCE = 120.0
"""Seconds without a sign of life after which an answer has failed."""
BUDGET = "Max tokens"
WORD = re.compile(r"planted[a-z]{10}")


@dataclass
class Heard:
    """What one person met with."""

    word: str
    first: list[float] = field(default_factory=list)
    """Seconds from sending to the first words of each answer."""
    whole: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    others: set[str] = field(default_factory=set)
    """Words of other people that came over the wire."""


class Person:
    """Opens a page, says a few things, opens another page; until the time is up."""

    def __init__(
        self, address: str, number: int, auth: tuple[str, str], pause: tuple[float, float], tokens: int
    ) -> None:
        self.heard = Heard(word="planted" + "".join(chr(97 + secrets.randbelow(26)) for _ in range(10)))
        self._http = httpx.Client(base_url=address, trust_env=False, verify=False, timeout=PATIENCE, auth=auth)
        self._chance = random.Random(number)
        self._pause, self._tokens = pause, tokens

    def chat(self, until: float) -> None:
        while time.monotonic() < until:
            try:
                self._page(until)
            except Exception as error:
                self.heard.errors.append(f"{type(error).__name__}: {error}"[:300])
                time.sleep(1.0)
        self._http.close()

    def _page(self, until: float) -> None:
        config = self._http.get("/config").raise_for_status().json()
        session = secrets.token_hex(6)
        opened = next(one for one in config["dependencies"] if one["api_name"] == "load")
        list(self._send({"data": [], "fn_index": opened["id"], "session_hash": session}))
        call = next(one for one in config["dependencies"] if one["api_name"] == "say_1")
        ids = {(part["props"].get("elem_id") or ""): part["id"] for part in config["components"]}
        values = {part["id"]: part["props"].get("value") for part in config["components"]}
        values |= {p["id"]: self._tokens for p in config["components"] if p["props"].get("label") == BUDGET}
        for asked in ASKED:
            if time.monotonic() > until and self.heard.whole:  # everybody says something
                return
            values[ids["composer"]] = asked.format(word=self.heard.word)
            data = [values[part] for part in call["inputs"]]
            self._say({"data": data, "fn_index": call["id"], "session_hash": session})
            time.sleep(self._chance.uniform(*self._pause))

    def _say(self, body: dict[str, object]) -> None:
        began = time.monotonic()
        grown, said = False, ""
        for said in self._send(body):
            if not grown and "answer growing" in said and "dots" not in said:
                grown = True
                self.heard.first.append(time.monotonic() - began)
        if "notice bad" in said:
            raise RuntimeError(f"said: {said[said.index('notice bad') :][:300]}")
        self.heard.whole.append(time.monotonic() - began)
        if not grown:  # it was there at once
            self.heard.first.append(self.heard.whole[-1])

    def _send(self, body: dict[str, object]) -> Iterator[str]:
        """Every event as it came over the wire, its HTML readable, up to the one that completes."""
        self._http.post("/gradio_api/queue/join", json=body).raise_for_status()
        session = {"session_hash": str(body["session_hash"])}
        with self._http.stream("GET", "/gradio_api/queue/data", params=session) as stream:
            for line in stream.iter_lines():
                if not line.startswith("data:"):
                    continue
                said = decode(line.replace('\\"', '"'))
                self.heard.others |= set(WORD.findall(said)) - {self.heard.word}
                yield said
                event = json.loads(line[5:])
                if event["msg"] == "process_completed":
                    if not event.get("success"):
                        raise RuntimeError(f"refused: {line[:200]}")
                    return


def signed_in(people: int) -> tuple[tuple[str, str], ...]:
    """Names and passwords, so that each has conversations of their own."""
    return tuple((f"person{number}", f"password of {number}") for number in range(people))


def crowd(
    address: str,
    auth: Sequence[tuple[str, str]],
    seconds: float,
    pause: tuple[float, float] = (1.0, 4.0),
    tokens: int = 64,
) -> list[Heard]:
    """What each of those who sign in met with, once the time is up and the last answers are there."""
    until = time.monotonic() + seconds
    those = [Person(address, number, one, pause, tokens) for number, one in enumerate(auth)]
    threads = [threading.Thread(target=one.chat, args=(until,)) for one in those]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    words = {one.heard.word for one in those}
    for one in those:
        one.heard.others &= words  # a small model misspells its person's word; that is nobody else's
    return [one.heard for one in those]

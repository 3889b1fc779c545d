"""Pages that use the app over HTTP as a browser does, and leave a receipt for every act that the app acknowledged.

A receipt is a line in a file of the driver's own, on the disk before the page goes on. `about` comes before an act
whose outcome a kill leaves open, `done` after the app has answered.
"""

from __future__ import annotations

import html
import json
import os
import random
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.served import visitor

Json = dict[str, Any]
TOKENS = 16
"""Of an answer."""
ROW = re.compile(r'<div class="turn (question|answer)[^"]*" data-turn="(\d+)" data-raw="([^"]*)"')
KEPT = re.compile(r"Kept as demonstration (\d+)")
NUMBER = re.compile(r"Saved as backup (\d+)")
SHORT = {"Epochs": "1", "KL weight": "0", "LoRA rank": "2", "LoRA alpha": "4", "Batch size": "4", "Held-out share": "0"}
"""Settings with which a run takes seconds."""


class Refused(Exception):
    """The app answered, and did not do it."""


class Receipts:
    """What the app was asked and what it promised, over all its lives."""

    def __init__(self, file: Path) -> None:
        self._file, self._lock = file, threading.Lock()
        self.lines: list[Json] = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def write(self, what: str, kind: str, **told: Any) -> None:
        with self._lock:
            line = {"what": what, "kind": kind, **told}
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
                file.flush()
                os.fsync(file.fileno())
            self.lines.append(line)

    def done(self, kind: str) -> list[Json]:
        return [line for line in self.lines if line["what"] == "done" and line["kind"] == kind]


class Doors:
    """Many acts at once, or one that wants to be alone."""

    def __init__(self) -> None:
        self._changed, self._inside, self._alone = threading.Condition(), 0, False

    @contextmanager
    def through(self, alone: bool) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._alone and not (alone and self._inside))
            self._inside, self._alone = self._inside + 1, alone
        try:
            yield
        finally:
            with self._changed:
                self._inside, self._alone = self._inside - 1, False
                self._changed.notify_all()


class Layout:
    """The page's own description, read once: its events by handler and by what is pressed."""

    def __init__(self, config: Json) -> None:
        self.parts = {part["id"]: part for part in config["components"]}
        self.events: dict[tuple[str, str], Json] = {}
        for event in config["dependencies"]:
            handler = re.sub(r"_\d+$", "", event["api_name"] or "")
            for part, _ in event["targets"] or [(None, "")]:
                self.events.setdefault((handler, self.name(part)), event)

    def name(self, part: int | None) -> str:
        props = self.parts[part]["props"] if part in self.parts else {}
        return str(props.get("elem_id") or props.get("label") or props.get("value") or "")

    def value(self, part: int) -> Any:
        """What a page that was just opened sends for it."""
        value = self.parts[part]["props"].get("value")
        return "" if value is None and self.parts[part]["type"] == "textbox" else value


class Page:
    """One open page. Raises httpx.HTTPError once the app is gone, Refused where it says no."""

    def __init__(self, address: str, layout: Layout) -> None:
        self.http = visitor(address, timeout=120)
        self._layout, self._session = layout, secrets.token_hex(6)
        self.press("load")

    def press(
        self, handler: str, target: str = "", seen: Callable[[str], None] = lambda line: None, **given: Any
    ) -> dict[str, Any]:
        """What the event's outputs are set to, by name. `given` are values by the name of their component."""
        event = self._layout.events[handler, target]
        names = [self._layout.name(part) for part in event["inputs"]]
        values = {name.replace("-", "_").replace(" ", "_"): value for name, value in given.items()}
        data = [
            values.get(name.replace("-", "_").replace(" ", "_"), self._layout.value(part))
            for name, part in zip(names, event["inputs"], strict=True)
        ]
        body = {"data": data, "fn_index": event["id"], "session_hash": self._session}
        self.http.post("/gradio_api/queue/join", json=body).raise_for_status()
        warned = ""
        with self.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self._session}) as stream:
            for line in stream.iter_lines():
                if not line.startswith("data:"):
                    continue
                seen(line)
                said = json.loads(line[5:])
                if said["msg"] == "log" and said.get("level") != "info":
                    warned = str(said.get("log"))
                if said["msg"] == "process_completed":
                    if not said.get("success") or warned:
                        raise Refused(f"{handler}: {warned or line[:200]}")
                    named = zip(map(self._layout.name, event["outputs"]), said["output"]["data"], strict=False)
                    return {name: value for name, value in named if name}
        raise httpx.ReadError("the stream ended before the answer did")

    def act(self, act: str, **told: Any) -> dict[str, Any]:
        """A button drawn into the chat."""
        return self.press("act", "bridge-chat-go", **{"bridge-chat": json.dumps({"act": act, **told})})

    def upload(self, name: str, content: bytes) -> Json:
        path = self.http.post("/gradio_api/upload", files={"files": (name, content)}).raise_for_status().json()[0]
        return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}

    def variants(self) -> list[str]:
        return list(self.press("voices").get("", [])) or self._variants()

    def _variants(self) -> list[str]:
        id = self.http.post("/gradio_api/call/voices", json={"data": []}).raise_for_status().json()["event_id"]
        text = self.http.get(f"/gradio_api/call/voices/{id}").text
        return list(json.loads(text.split("data:", 1)[1].split("\n", 1)[0])[0])


def rows(transcript: Any) -> list[tuple[str, int, str]]:
    """(role, turn, text) of a drawn conversation."""
    value = transcript.get("value", "") if isinstance(transcript, dict) else transcript
    return [(kind, int(turn), json.loads(html.unescape(raw))) for kind, turn, raw in ROW.findall(str(value))]


class Person:
    """Does one act after the other on one page, until the app is gone."""

    def __init__(
        self, page: Page, name: str, seed: int, receipts: Receipts, doors: Doors, about: threading.Event
    ) -> None:
        self.page, self.name, self.receipts, self.doors = page, name, receipts, doors
        self.rng = random.Random(seed)
        self.about = about
        """Set as the act that the life waits for begins."""
        self.waits_for = ""
        self.refusals: list[str] = []
        self.losses: list[str] = []
        self.turn: tuple[str, int] | None = None
        self.number = 0

    def live(self, wanted: list[str]) -> None:
        """`wanted` acts first, then any."""
        often = {
            "chat": 6,
            "rate": 2,
            "rewrite": 4,
            "status": 2,
            "import_rows": 1,
            "retrain": 2,
            "go_live": 2,
            "vote": 2,
            "document": 2,
            "export": 1,
            "backup": 1,
            "restore": 1,
            "incognito": 1,
        }
        try:
            while True:
                name = wanted.pop(0) if wanted else self.rng.choices([*often], [*often.values()])[0]
                with self.doors.through(name == "restore"):
                    if name == self.waits_for:
                        self.about.set()
                    try:
                        getattr(self, name)()
                    except Refused as refused:
                        self.refusals.append(str(refused)[:300])
                time.sleep(self.rng.uniform(0.0, 0.15))
        except (httpx.HTTPError, httpx.StreamError, OSError):
            pass  # the app has been killed
        except AssertionError as loss:
            self.losses.append(str(loss))

    def fresh(self, kind: str) -> str:
        self.number += 1
        return f"{kind} {self.name} {self.number} {secrets.token_hex(4)}"  # nothing that HTML would spell otherwise

    def done(self, kind: str, **told: Any) -> None:
        self.receipts.write("done", kind, **told)

    def will(self, kind: str, **told: Any) -> None:
        self.receipts.write("about", kind, **told)

    # The acts.

    def chat(self) -> None:
        if self.turn is None or self.rng.random() < 0.3:
            self.page.act("new")
        asked = self.fresh("say")
        told = threading.Event()

        def seen(line: str) -> None:
            if asked in line and not told.is_set() and '"process_' in line:
                told.set()
                self.done("said", text=asked)

        self.will("said", text=asked)
        shown = rows(self.page.press("say", "composer", seen, composer=asked, budget=TOKENS).get("transcript"))
        if len(shown) > 1 and shown[-1][0] == "answer" and shown[-2][2] == asked:
            self.turn = (asked, shown[-1][1])
            self.done("answered", text=asked, answer=shown[-1][2])

    def rate(self) -> None:
        if self.turn is None:
            self.chat()
            return
        asked, turn = self.turn
        self.will("rated", text=asked, liked=True)
        self.page.act("dislike", turn=turn)
        self.page.act("like", turn=turn)
        self.done("rated", text=asked, liked=True)

    def rewrite(self) -> None:
        if self.turn is None:
            self.chat()
            return
        better = self.fresh("better")
        self.will("demonstration", text=better)
        drawn = self.page.act("rewrite", turn=self.turn[1], text=better)
        if found := KEPT.search(json.dumps(drawn)):
            self.done("demonstration", text=better, id=int(found[1]))
            self.done("status", id=int(found[1]), status="approved")
            self.turn = None

    def status(self) -> None:
        mine = [one["id"] for one in self.receipts.done("demonstration") if f" {self.name} " in one["text"]]
        if not mine:
            self.rewrite()
            return
        id = self.rng.choice(mine)
        for handler, button, status in self.rng.sample(
            [("discarded", "Discard  (D)", "discarded"), ("approved", "Approve  (A)", "approved")], 2
        ):
            self.will("status", id=id, status=status)
            self.page.press(handler, button, **{"demonstration-selected": id})
            self.done("status", id=id, status=status)

    def import_rows(self) -> None:
        texts = [self.fresh("row") for _ in range(5)]
        lines = [json.dumps({"prompt": f"Asked: {text}", "completion": text}) for text in texts]
        name = self.fresh("rows").replace(" ", "x")
        file = self.page.upload(f"{name}.jsonl", "\n".join(lines).encode())
        self.page.press("dropped", "import-file", **{"import-file": file})
        self.will("imported", texts=texts)
        self.page.press("begun", "import-go", **{"Status": "waiting"})
        for _ in range(200):
            drawn = json.dumps(self.page.press("look", "0.5"))
            if name in drawn and "import-outcome done" in drawn and "5 kept" in drawn:
                self.done("imported", texts=texts)
                break
            if name not in drawn:
                break
            time.sleep(0.1)
        self.page.press("put_away", "Import another")

    def retrain(self) -> None:
        if self.rng.random() < 0.3:
            self.page.press("resumed", "Resume")
        else:
            self.train()

    def train(self) -> None:
        name = f"{self.name}n{self.number}"
        self.number += 1
        self.will("run", name=name)
        self.page.press("start", "retrain", **{"Name": name, "Go live when done": self.rng.random() < 0.5, **SHORT})
        self.done("run", name=name)

    def go_live(self) -> None:
        variants = self.page.variants()
        name = self.rng.choice(variants[1:] or variants)
        if name == "base":
            self.retrain()
            return
        self.page.press("refresh", "tab-train")
        self.will("live", name=name)
        try:
            self.page.press("gone_live", "Go live", adapters=name)
        except Refused:  # it forgot too much: once more, knowingly
            self.page.press("gone_live", "Go live", adapters=name)
        self.done("live", name=name)

    def vote(self) -> None:
        variants = self.page.variants()
        if len(variants) < 2:
            self.retrain()
            return
        self.page.press("opened", "tab-compare")
        asked = self.fresh("vote")
        given = {"compare-prompt": asked, "compare-variants": variants[:2], "compare-blind": True}
        self.page.press("answered", "compare-ask", **given, **{"Max tokens": TOKENS})
        self.will("vote", text=asked)
        if "last-vote" in self.page.press("vote", "Tie (T)"):
            self.done("vote", text=asked)

    def document(self) -> None:
        name = self.fresh("document").replace(" ", "x")
        text = f"{name} tells of the harbour. " + "The sea is salt and the wind is fair. " * self.rng.choice(
            [1, 40, 400]
        )
        self.will("document", name=f"{name}.txt", text=text.strip())
        file = self.page.upload(f"{name}.txt", text.encode())
        self.page.press("dropped", "knowledge-file", **{"knowledge-file": [file]})
        for _ in range(300):
            if name in json.dumps(self.page.press("look", "tab-knowledge").get("knowledge-documents")):
                self.done("document", name=f"{name}.txt", text=text.strip())
                return
            time.sleep(0.1)

    def export(self) -> None:
        mine = [one for one in self.receipts.done("demonstration") if f" {self.name} " in one["text"]]
        drawn = self.page.press("written", "Create file", **{"Status": "", "Format": "openai"})
        file = drawn["export-download"]["value"]
        content = self.page.http.get(f"/gradio_api/file={file['path']}").raise_for_status().text
        missing = [one["text"] for one in mine if one["text"] not in content]
        assert not missing, f"an export lacks what was kept: {missing}"
        self.done("export", records=content.count("\n"))
        self.page.press("swept")  # as the page's script does once it has its copy

    def backup(self) -> None:
        said = self.page.press("made", "backups-make")
        found = NUMBER.search(json.dumps(said))
        if found:
            self.done("backup", number=int(found[1]))

    def restore(self) -> None:
        """A backup, a change, and back to the backup: the change is gone. Then, at times, it is undone."""
        found = NUMBER.search(json.dumps(self.page.press("made", "backups-make")))
        assert found
        self.done("backup", number=int(found[1]))
        name = self.fresh("preset")
        self.will("preset", name=name, there=True)
        self.page.press("saved", "preset-save", **{"preset-name": name, "system": f"You are {name}."})
        self.done("preset", name=name, there=True)
        choices = self.page.press("opened", "backups")["backups-kept"]["choices"]
        wanted = next(choice[1] for choice in choices if choice[1].startswith(f"{int(found[1]):06}-"))
        self.will("preset", name=name, there=False)
        self.page.press("restored", "backups-sure", **{"backups-kept": wanted})
        self.done("preset", name=name, there=False)
        if self.rng.random() < 0.5:
            self.will("preset", name=name, there=True)
            self.page.press("undone", "backups-undo")
            self.done("preset", name=name, there=True)

    def incognito(self) -> None:
        self.page.act("incognito")
        secret = self.fresh("secret")
        self.will("secret", text=secret)
        self.page.press("say", "composer", composer=secret, budget=TOKENS)
        self.turn = None
        self.page.act("new")

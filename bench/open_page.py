"""One page that stays open and sends over HTTP what the page sends: messages, what follows them, the clock's looks."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from typing import Any

import httpx

CLOCK = "tick"


class OpenPage:
    """A page of the app at `address`. Each method returns when the server has answered all that the page asked."""

    def __init__(self, address: str, http: httpx.Client | None = None) -> None:
        self._http = http or httpx.Client(base_url=address, trust_env=False, verify=False, timeout=300)
        config = self._http.get("/config").raise_for_status().json()
        self.session = secrets.token_hex(6)
        self._calls: list[dict[str, Any]] = config["dependencies"]
        self._values = {part["id"]: part["props"].get("value") for part in config["components"]}
        self._ids = {part["props"].get("elem_id") or "": part["id"] for part in config["components"]}
        self._composer, self._bridge = self._ids["composer"], self._ids["bridge-chat"]
        self._say = next(one for one in self._triggered(self._composer, "submit") if self._composer in one["inputs"])
        self._act = next(one for one in self._triggered(self._ids["bridge-chat-go"], "click") if one["outputs"])
        beats = [one for one in self._calls if not one["queue"] and any(how == CLOCK for _, how in one["targets"])]
        self._beats = [one for one in beats if one["targets"][0][0] == beats[0]["targets"][0][0]]
        drawn = {part["id"] for part in config["components"] if part["type"] == "markdown"}
        self._redrawn = [c for part in drawn & set(self._say["outputs"]) for c in self._triggered(part, "change")]
        self._queued([one for one in self._calls if one["api_name"] == "load"])

    def say(self, text: str) -> None:
        """A message, and its answer as it grows; then what is drawn again once it is there."""
        self._values[self._composer] = text
        self._queued([self._say])
        self._queued([*self._after(self._say), *self._redrawn])

    def press(self, act: str) -> None:
        """A button of the chat."""
        self._values[self._bridge] = json.dumps({"act": act})
        self._queued([self._act])
        self._queued(self._after(self._act))

    def tick(self) -> None:
        """What the page asks every few seconds."""
        for call in self._beats:
            self._http.post("/gradio_api/run/predict", json=self._body(call)).raise_for_status()

    def close(self) -> None:
        self._http.close()

    def _after(self, call: dict[str, Any]) -> list[dict[str, Any]]:
        return [one for one in self._calls if one["trigger_after"] == call["id"]]

    def _triggered(self, part: int, how: str) -> list[dict[str, Any]]:
        return [one for one in self._calls if [part, how] in [list(target) for target in one["targets"]]]

    def _body(self, call: dict[str, Any]) -> dict[str, Any]:
        data = [self._values[part] for part in call["inputs"]]
        trigger = call["targets"][0][0]
        return {"data": data, "fn_index": call["id"], "session_hash": self.session, "trigger_id": trigger}

    def _queued(self, calls: Iterable[dict[str, Any]]) -> None:
        """Sent together; heard until the server says that nothing more comes."""
        for call in calls:
            self._http.post("/gradio_api/queue/join", json=self._body(call)).raise_for_status()
        with self._http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            for line in stream.iter_lines():
                event = json.loads(line[5:]) if line.startswith("data:") else {"msg": ""}
                if event["msg"] == "process_completed" and not event["success"]:
                    raise RuntimeError(f"refused: {line[:300]}")
                if event["msg"] == "close_stream":
                    return

"""What a killed app left, held against the receipts of what it had acknowledged."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from chatlab.adapters import Adapters
from chatlab.adapters.manifest import check_bytes
from chatlab.retrieval.library import Library
from chatlab.store import Store
from chatlab.training.process.runs import damaged_runs, list_runs
from tests.support.kills.pages import Receipts

NOT_STORE = ("runs", "log", "knowledge", "chatlab.lock", "chatlab.owner")
TEMPORARY = (".tmp", ".partial", ".publish-", ".half", ".draft")


class Judge:
    """Looks at a home while the app that has just been opened on it is at rest."""

    def __init__(self, home: Path, receipts: Receipts) -> None:
        self.home, self.receipts = home, receipts
        self.checked: Counter[str] = Counter()
        self.losses: list[str] = []

    def look(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "store"
            shutil.copytree(self.home / "store", copy, ignore=shutil.ignore_patterns(*NOT_STORE))
            with Store.open(copy) as store:
                if store.warnings:
                    self.losses.append(f"the store warns: {store.warnings}")
                self._conversations(store)
                self._demonstrations(store)
                self._rest(store)
        self._documents()
        self._adapters_and_runs()
        self._secrets()

    def _hold(self, kind: str, right: bool, what: str) -> None:
        self.checked[kind] += 1
        if not right:
            self.losses.append(f"{kind}: {what}")

    def _conversations(self, store: Store) -> None:
        asked: dict[str, Any] = {}
        for _, conversation in store.conversations.rows():
            for turn in conversation.turns:
                if turn.role == "user":
                    asked[turn.content] = [one for one in conversation.turns if one.parent == turn.id]
        for line in self.receipts.done("said"):
            self._hold("said", line["text"] in asked, line["text"])
        for line in self.receipts.done("answered"):
            answers = [turn.content.replace("\r\n", "\n") for turn in asked.get(line["text"], ())]
            self._hold(
                "answered", line["answer"] in answers, f"{line['text']}: {line['answer']!r} is none of {answers}"
            )
        for line in self.receipts.done("rated"):
            ratings = [turn.rating for turn in asked.get(line["text"], ()) if turn.rating is not None]
            self._hold("rated", any(rating.liked for rating in ratings) or self._doubted(line), line["text"])

    def _doubted(self, line: dict[str, Any]) -> bool:
        """Whether a later act on the same thing was begun and not acknowledged."""
        last: dict[str, Any] = {}
        for one in self.receipts.lines:
            if one["kind"] == line["kind"] and one.get("text") == line.get("text"):
                last = one
        return last.get("what") == "about"

    def _demonstrations(self, store: Store) -> None:
        kept = dict(store.demonstrations.rows())
        for line in self.receipts.done("demonstration"):
            right = line["id"] in kept and kept[line["id"]].answer == line["text"]
            self._hold("demonstration", right, str(line))
        allowed: dict[int, set[str]] = {}
        for line in self.receipts.lines:
            if line["kind"] == "status":
                before = set() if line["what"] == "done" else allowed.get(line["id"], set())
                allowed[line["id"]] = before | {line["status"]}
        for id, statuses in allowed.items():
            self._hold(
                "status", id in kept and kept[id].status in statuses, f"demonstration {id} is none of {statuses}"
            )
        answers = Counter(one.answer for one in kept.values())
        for line in self.receipts.lines:
            if line["kind"] == "imported" and line["what"] == "done":
                self._hold("imported", all(answers[text] == 1 for text in line["texts"]), str(line["texts"]))

    def _rest(self, store: Store) -> None:
        votes = {vote.prompt[-1].content for _, vote in store.votes.rows()}
        for line in self.receipts.done("vote"):
            self._hold("vote", line["text"] in votes, line["text"])
        presets = {preset.name for _, preset in store.presets.rows()}
        allowed: dict[str, set[bool]] = {}
        for line in self.receipts.lines:
            if line["kind"] == "preset":
                before = set() if line["what"] == "done" else allowed.get(line["name"], {False})
                allowed[line["name"]] = before | {line["there"]}
        for name, there in allowed.items():
            self._hold("preset and restore", (name in presets) in there, name)
        numbers = {backup.number for backup in store.backups.all()}
        for line in self.receipts.done("backup"):
            self._hold("backup", line["number"] in numbers or line["number"] <= max(numbers) - 10, str(line))
        live = [line["name"] for line in self.receipts.done("live")]
        history = [entry.partition("@")[0] for entry in store.state.get("live", ["base"])]
        if live:
            self._hold("live", live[-1] in history, f"{live[-1]} is not in {history}")

    def _documents(self) -> None:
        library = Library(self.home / "store" / "knowledge")
        if library.problems:
            self.losses.append(f"documents: {library.problems}")
        there = {papers.name: papers.id for papers in library.all()}
        for line in self.receipts.done("document"):
            text = library.text(there[line["name"]]) if line["name"] in there else None
            self._hold("document", text == line["text"], line["name"])

    def _adapters_and_runs(self) -> None:
        shelf = Adapters(self.home / "adapters")
        if shelf.problems:
            self.losses.append(f"adapters: {shelf.problems}")
        for name in shelf.names():
            check_bytes(self.home / "adapters" / name)
            self.checked["adapter, every byte"] += 1
        runs = self.home / "store" / "runs"
        if damaged := damaged_runs(runs):
            self.losses.append(f"runs: {damaged}")
        names = {run.request.name: run for run in list_runs(runs)}
        for line in self.receipts.done("run"):
            self._hold("run", line["name"] in names, line["name"])
            if (run := names.get(line["name"])) and run.state == "finished":
                check = run.result is not None and (run.adapter / "adapter_model.safetensors").is_file()
                self._hold("finished run", check, run.id)

    def _secrets(self) -> None:
        """Nothing said incognito is in any file."""
        secrets = [line["text"].encode() for line in self.receipts.lines if line["kind"] == "secret"]
        files = [file for file in self.home.rglob("*") if file.is_file() and file.stat().st_size < 50 << 20]
        for file in files if secrets else ():
            if file.suffix == ".safetensors":
                continue
            data = file.read_bytes() if file.exists() else b""
            self.losses += [f"said incognito, and in {file}" for secret in secrets if secret in data]
        self.checked["incognito"] += len(secrets)


def leftovers(*folders: Path) -> Counter[str]:
    """Files and folders that look like something unfinished, by what they are."""
    found: Counter[str] = Counter()
    for folder in folders:
        for path in folder.rglob("*") if folder.is_dir() else ():
            if kind := next((mark for mark in TEMPORARY if mark in path.name), ""):
                found[f"{folder.name}/…{kind}"] += 1
    return found

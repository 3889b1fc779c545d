"""What people say is their own: nobody else on the machine can read it, whatever the umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chatlab.engines.base import Sampling
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.lab.data.datasets import ExportFilter
from chatlab.settings import Settings
from chatlab.system.files import private_folder
from tests.support.report_figures import tiny_base

pytestmark = pytest.mark.skipif(os.name == "nt", reason="folders have no such mode there")

ONE = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'


@pytest.fixture(scope="module")
def tiny(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(base_folder, tmp_path_factory.mktemp("tiny") / "base")


@contextmanager
def umask(bits: int) -> Iterator[None]:
    before = os.umask(bits)
    try:
        yield
    finally:
        os.umask(before)


def readable_by_others(folder: Path) -> list[str]:
    """Files below that somebody else can open; a folder that others may not enter hides all that is in it."""
    found = []
    for entry in folder.iterdir():
        mode = entry.lstat().st_mode
        if stat.S_ISDIR(mode) and mode & 0o011:
            found += readable_by_others(entry)
        elif stat.S_ISREG(mode) and mode & 0o044:
            found.append(str(entry))
    return found


def an_evening(lab: Lab, uploads: Path) -> None:
    """Chat, keep, learn, publish, export, back up, import, documents."""
    conversation = lab.chat.new()
    lab.chat.reply(conversation, "My secret is a fox.", ReplyOptions(sampling=Sampling(max_tokens=2))).finish()
    lab.demonstrations.write("What is my secret?", "A fox.")
    (uploads / "rows.jsonl").write_text(ONE, encoding="utf-8")
    (uploads / "bad.jsonl").write_text(ONE + '{"messages": 3}\n', encoding="utf-8")
    for name in ("rows.jsonl", "bad.jsonl"):
        list(lab.datasets.import_file(uploads / name, lab.datasets.sniff(uploads / name)))
    (uploads / "letter.txt").write_text("Dear fox, nobody else may read this.", encoding="utf-8")
    lab.knowledge.add([uploads / "letter.txt"])
    lab.knowledge.wait()
    lab.backups.make()
    lab.training.retrain("mine", epochs=1, kl_weight=0.0)
    lab.training.wait(500)
    assert "mine" in lab.variants.names(), (lab.training.news, lab.training.status(), lab.training.runs()[0].error)
    lab.exports.make("mine", "peft", private_folder(uploads / "out"))
    lab.variants.remove("mine")
    lab.datasets.export("openai", ExportFilter(), private_folder(uploads / "out"))


def test_nobody_else_can_read_what_is_said_kept_learned_and_brought(tiny, tmp_path):
    """Under a umask that takes nothing away: what is private then is private under any other."""
    home, uploads = tmp_path / "home", tmp_path / "uploads"
    uploads.mkdir()
    with umask(0):
        home.mkdir()
        for old in ("store", "adapters", ".cache"):  # as an earlier version made them
            (home / old).mkdir()
        lab = Lab(Settings(home=home, base=tiny, threads=1))
        try:
            an_evening(lab, uploads)
        finally:
            lab.close()
    assert home.stat().st_mode & 0o055 == 0o055, "the home itself is not what protects them"
    assert readable_by_others(home) == []
    assert sum(file.is_file() for file in home.rglob("*")) > 12


def test_a_folder_that_is_shared_on_purpose_stays_shared(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    assert stat.S_IMODE(private_folder(shared / "mine" / "deep").stat().st_mode) == 0o700
    assert stat.S_IMODE((shared / "mine").stat().st_mode) == 0o700
    private_folder(shared)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777

"""What goes wrong gets a clear message, and nothing is lost."""

from __future__ import annotations

import json
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from chatlab.engines.base import Sampling
from chatlab.errors import AdapterDamaged, AdapterMissing, BaseMissing, ChatlabError, StoreBusy, WrongBase
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.records import BASE
from chatlab.settings import Settings
from chatlab.training.process.runs import Request, write_request

GREEDY = Sampling(temperature=0.0, max_tokens=8)


@contextmanager
def open_lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings)
    try:
        yield lab
    finally:
        lab.close()


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """What a full disk does to a write, for this process alone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_missing_base_is_said_and_what_was_typed_is_kept(settings: Settings, tmp_path: Path) -> None:
    with open_lab(replace(settings, base=tmp_path / "nowhere")) as lab:
        chat = lab.chat.new()
        with pytest.raises(BaseMissing) as missing:
            lab.chat.reply(chat, "Are you there?", ReplyOptions(sampling=GREEDY)).finish()
        assert missing.value.hint
        assert lab.chat.get(chat).path()[-1].content == "Are you there?"
        assert any("nowhere" in warning for warning in lab.health().warnings)


def test_a_second_app_on_the_same_store_is_sent_to_the_first(settings: Settings) -> None:
    with open_lab(settings), pytest.raises(StoreBusy) as busy:
        Lab(settings)
    assert "http://127.0.0.1:7860" in str(busy.value) + busy.value.hint


def test_a_corrupt_store_opens_or_says_what_to_do_and_its_bytes_stay(settings: Settings) -> None:
    with open_lab(settings) as lab:
        lab.demonstrations.write("Hello.", "Good morrow, friend.")
    (file,) = settings.store.glob("*.json")
    file.write_bytes(file.read_bytes()[:40] + b"\x00 not json")
    try:
        with open_lab(settings) as lab:
            assert lab.health().warnings
    except ChatlabError as error:
        assert error.hint
    assert any(b"\x00 not json" in f.read_bytes() for f in settings.store.iterdir() if f.is_file())


def test_an_adapter_made_for_another_base_never_goes_live(with_player: Settings) -> None:
    with open_lab(with_player) as lab:
        card = with_player.adapters / "player" / "card.json"
        papers = json.loads(card.read_text()) | {"base": "0" * 64}
        card.write_text(json.dumps(papers))
        with pytest.raises((WrongBase, AdapterDamaged)) as refused:
            lab.variants.go_live("player")
        assert refused.value.hint
        assert lab.variants.live == BASE


def test_an_adapter_that_vanishes_gives_way_to_the_base(with_player: Settings) -> None:
    with open_lab(with_player) as lab:
        lab.variants.go_live("player")
        lab.variants.remove("player")
        assert lab.variants.live == BASE
        last = lab.chat.reply(lab.chat.new(), "Hello.", ReplyOptions(sampling=GREEDY)).finish()
        assert last.provenance is not None and last.provenance.adapter == BASE
        with pytest.raises(AdapterMissing):
            lab.variants.go_live("player")
        assert lab.variants.restore() == "player"
        lab.variants.go_live("player")


def test_a_killed_trainer_and_then_a_full_disk_are_said_and_the_run_goes_on_and_is_published(
    settings: Settings,
) -> None:
    with open_lab(settings) as lab:
        lab.demonstrations.load_pack("stage")
        run = lab.training.retrain("player", epochs=4)
        while len((status := lab.training.status()).steps) < 5:
            assert status.state == "training", status.message
            time.sleep(0.02)
        for child in psutil.Process().children(recursive=True):
            if "process.worker" in f"{child.name()} {' '.join(child.cmdline())}":
                child.send_signal(signal.SIGKILL)
        lab.training.wait(timeout=60)
        assert lab.training.run(run).state == "interrupted"
        assert "killed" in lab.training.status().message
        last = lab.chat.reply(lab.chat.new(), "Still there?", ReplyOptions(sampling=GREEDY)).finish()
        assert last.done
        lab.training.resume(run)
        with files_no_larger_than(200_000):
            lab.training.wait(timeout=240)
            assert "player" not in lab.variants.names()
            assert lab.training.news, lab.training.run(run)
        assert [p.name for p in settings.adapters.iterdir()] == []
        assert lab.training.run(run).state == "finished"
        lab.training.adopt()
        assert lab.variants.live == "player"


@pytest.mark.parametrize("file", ["run.json", "result.json", "steps.jsonl"])
@pytest.mark.parametrize("garbage", ["{", "[]", "\x00\x00\n"])
def test_a_damaged_run_is_said_and_hides_no_other(settings: Settings, file: str, garbage: str) -> None:
    with open_lab(settings) as lab:
        lab.demonstrations.write("Hello.", "Good morrow, friend.")
        for name in ("one", "two"):
            run = settings.runs / name
            write_request(run, Request(base=lab.machine.base.fingerprint, base_folder="", snapshot=""))
        (settings.runs / "one" / file).write_text(garbage)
        assert "two" in [run.id for run in lab.training.runs()]
        assert lab.training.current() is not None
        if file == "run.json":
            assert any("run one is damaged" in warning for warning in lab.health().warnings)

"""Unpacked bases in the cache: whole or not there, made once, and never on a disk that is too small for them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import psutil
import pytest

pytest.importorskip("llama_cpp", reason="llama.cpp is not installed")

from chatlab.engines.gguf_export.files import write_base
from chatlab.engines.gguf_import.validator import GgufValidator
from chatlab.errors import BaseMissing, BaseRefused, DiskFull, EngineError
from chatlab.models.base import Base
from chatlab.models.unpacked import HALF, UNUSED, USED, UnpackedBases


@pytest.fixture(scope="module")
def packed(base_folder: Path, tmp_path_factory: pytest.TempPathFactory, forked: object) -> Base:
    """The embedded base as somebody's GGUF."""
    root = tmp_path_factory.mktemp("packed")
    write_base(Base.open(base_folder), root / "little.gguf", "q8_0")
    return GgufValidator(root / "cache", forked).open(root / "little.gguf")  # type: ignore[arg-type]


def test_it_is_unpacked_once_and_opens_as_the_same_base(packed: Base, base_folder: Path, tmp_path: Path) -> None:
    bases = UnpackedBases(tmp_path)
    packed.check_trainable()
    first = bases.open(packed)
    written = (first.folder / "model.safetensors").stat().st_mtime_ns
    assert bases.open(packed) == first and (first.folder / "model.safetensors").stat().st_mtime_ns == written
    opened = Base.open(first.folder, fingerprint=first.fingerprint)
    assert opened.fingerprint == packed.fingerprint and opened.template_sha256 == packed.template_sha256
    assert opened.parameters == packed.parameters and bases.done is None
    assert [f.name for f in (tmp_path / "unpacked").iterdir()] == [first.folder.name]


def test_a_folder_is_its_own_training_base(base_folder: Path, tmp_path: Path) -> None:
    base = Base.open(base_folder)
    found = UnpackedBases(tmp_path).open(base)
    assert (found.folder, found.fingerprint, found.unpacked) == (base.folder, base.fingerprint, False)
    assert not (tmp_path / "unpacked").exists()


def test_several_who_ask_at_once_get_one(packed: Base, tmp_path: Path) -> None:
    bases = UnpackedBases(tmp_path)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(bases.open(packed).folder)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1 and len(found) == 3


def test_an_unpacking_that_is_ended_leaves_nothing_that_would_be_taken_for_a_base(packed: Base, tmp_path: Path) -> None:
    bases = UnpackedBases(tmp_path)
    bases.close()
    with pytest.raises(EngineError):
        bases.open(packed)
    assert not any(f.name[0] != "." for f in (tmp_path / "unpacked").iterdir())
    assert UnpackedBases(tmp_path).open(packed).folder.exists()


def test_what_was_left_half_done_or_is_long_unused_is_thrown_away(packed: Base, tmp_path: Path) -> None:
    old, half = tmp_path / "unpacked" / ("0" * 32), tmp_path / "unpacked" / f"{HALF}x"
    for folder in (old, half):
        folder.mkdir(parents=True)
        (folder / USED).touch()
    long_ago = time.time() - UNUSED - 60
    os.utime(old / USED, (long_ago, long_ago))
    os.utime(half, (long_ago, long_ago))
    UnpackedBases(tmp_path).open(packed)
    assert not old.exists() and not half.exists()


def test_a_disk_that_is_too_small_is_said_before_a_byte_is_written(
    packed: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "unpacked" / ("1" * 32)
    other.mkdir(parents=True)
    (other / USED).touch()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 1000))
    with pytest.raises(DiskFull, match="GB are needed"):
        UnpackedBases(tmp_path).open(packed)
    assert not other.exists(), "what was unpacked of another file goes first"
    assert not any((tmp_path / "unpacked").iterdir())


@pytest.mark.skipif(os.name == "nt", reason="the size of files cannot be limited there")
@pytest.mark.parametrize("room", [20_000, 1_000_000, 5_000_000])
def test_a_disk_that_fills_up_meanwhile_is_said_and_leaves_nothing(packed: Base, tmp_path: Path, room: int) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))  # the process that unpacks inherits it
    try:
        with pytest.raises(DiskFull, match=r"little cannot be unpacked for training: the disk .* is full") as said:
            UnpackedBases(tmp_path).open(packed)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "Free some space" in said.value.hint
    assert not any((tmp_path / "unpacked").iterdir())
    assert UnpackedBases(tmp_path).open(packed).folder.exists(), "once there is room"


def test_an_unpacking_that_the_system_kills_is_said_and_done_anew_at_the_next_try(packed: Base, tmp_path: Path) -> None:
    killer = threading.Thread(target=kill_once_there, args=(psutil.Process(), "chatlab.models.gguf.unpack"))
    killer.start()
    with pytest.raises(EngineError, match=r"ended the unpacking of little\.gguf") as said:
        UnpackedBases(tmp_path).open(packed)
    killer.join()
    assert "memory was short" in str(said.value) and said.value.hint
    assert not any((tmp_path / "unpacked").iterdir())
    opened = UnpackedBases(tmp_path).open(packed)
    assert Base.open(opened.folder, fingerprint=opened.fingerprint).parameters == packed.parameters


def test_an_app_that_is_killed_while_it_unpacks_harms_nothing(packed: Base, tmp_path: Path) -> None:
    assert packed.gguf is not None
    code = (
        "import sys; from pathlib import Path; from chatlab.engines.gguf_import.validator import GgufValidator; "
        "from chatlab.models.unpacked import UnpackedBases; file, brought, cache = map(Path, sys.argv[1:]); "
        "UnpackedBases(cache).open(GgufValidator(brought).open(file))"
    )
    app = subprocess.Popen([sys.executable, "-c", code, packed.gguf.file, packed.gguf.file.parent / "cache", tmp_path])
    child = once_there(psutil.Process(app.pid), "chatlab.models.gguf.unpack")
    app.kill()
    app.wait()
    child.wait(30)
    (half,) = (tmp_path / "unpacked").iterdir()
    assert half.name.startswith(HALF), "nothing that would be taken for a base"
    opened = UnpackedBases(tmp_path).open(packed)
    assert Base.open(opened.folder, fingerprint=opened.fingerprint).parameters == packed.parameters


def once_there(parent: psutil.Process, module: str) -> psutil.Process:
    """The process that runs a module, below another one."""
    for _ in range(6000):
        for child in parent.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if module in child.cmdline():
                    return child
        time.sleep(0.01)
    raise AssertionError(f"{module} was not started")


def kill_once_there(parent: psutil.Process, module: str) -> None:
    once_there(parent, module).kill()


def test_a_file_that_has_gone_meanwhile_is_said(base_folder: Path, tmp_path: Path, forked: object) -> None:
    file = tmp_path / "little.gguf"
    write_base(Base.open(base_folder), file, "q8_0")
    base = GgufValidator(tmp_path / "cache", forked).open(file)  # type: ignore[arg-type]
    file.unlink()
    with pytest.raises(BaseMissing, match=r"little\.gguf has gone") as said:
        UnpackedBases(tmp_path).open(base)
    assert "in Models" in said.value.hint


def test_a_file_that_changed_meanwhile_is_refused(base_folder: Path, tmp_path: Path, forked: object) -> None:
    file = tmp_path / "little.gguf"
    write_base(Base.open(base_folder), file, "q8_0")
    base = GgufValidator(tmp_path / "cache", forked).open(file)  # type: ignore[arg-type]
    with file.open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(BaseRefused, match="has changed"):
        UnpackedBases(tmp_path).open(base)

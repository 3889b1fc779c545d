"""Downloads that are cancelled, killed or cut off: they go on where they were, or leave nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from chatlab.errors import DownloadFailed
from chatlab.models.library.hub.download import STALE
from chatlab.models.library.hub.downloaded import HALF, Downloads
from chatlab.system.processes.child import Child
from tests.models.library.test_download import halves
from tests.support.hub import HubModel, HubServer

GGUF = b"GGUF" + bytes(range(256)) * 8000


def test_a_half_that_nobody_took_up_again_is_deleted_after_two_weeks(
    hub: HubServer, start: Any, downloads: Downloads
) -> None:
    hub.models["org/tiny"] = HubModel({"t.gguf": GGUF})
    old, new = (downloads.folder / f"{HALF}{name}" for name in ("old", "new"))
    for half in (old, new):
        half.mkdir(parents=True)
    long_ago = time.time() - STALE - 60
    os.utime(old, (long_ago, long_ago))
    assert start(file="t.gguf").wait(60) is not None
    assert not old.exists() and new.exists()


def test_a_download_ends_with_the_app_and_goes_on_with_the_next(
    hub: HubServer, start: Any, downloads: Downloads
) -> None:
    hub.models["org/tiny"] = HubModel({"t.gguf": GGUF})
    hub.stop_after = 1 << 20
    code = "import sys; from pathlib import Path; from chatlab.models.library.hub.download import Download, Downloads; "
    code += "Download(Downloads(Path(sys.argv[1])), 'org/tiny', file='t.gguf').wait()"
    app = subprocess.Popen([sys.executable, "-c", code, str(downloads.folder)], env=os.environ | hub.environment)
    assert hub.stopped.wait(60)
    part = wait_for_part(downloads, 1 << 19)
    app.kill()
    app.wait()
    wait_for_lock(part.parent)
    hub.go_on.set()
    entry = start(file="t.gguf").wait(60)
    assert entry is not None and entry.path.read_bytes() == GGUF
    assert hub.ranges()[-1].startswith("bytes=")


def wait_for_lock(half: Path) -> None:
    with FileLock(f"{half}.lock", timeout=60):
        return


def test_progress_is_told_while_bytes_arrive(hub: HubServer, start: Any, downloads: Downloads) -> None:
    hub.models["org/tiny"] = HubModel({"t.gguf": GGUF})
    hub.stop_after = 1 << 20
    download = start(file="t.gguf")
    assert hub.stopped.wait(60)
    assert download.under_way and download.progress.whole == len(GGUF)
    assert downloads.unfinished() == [], "somebody is at work on it"
    assert 0 <= download.progress.done < len(GGUF)
    hub.go_on.set()
    assert download.wait(60) is not None and download.progress.done == len(GGUF)


@pytest.mark.parametrize("keep", [True, False])
def test_a_cancelled_download_ends_at_once_and_leaves_no_model(
    keep: bool, hub: HubServer, start: Any, downloads: Downloads
) -> None:
    hub.models["org/tiny"] = HubModel({"t.gguf": GGUF})
    hub.stop_after = 1 << 20
    download = start(file="t.gguf")
    assert hub.stopped.wait(60)
    download.cancel(keep=keep)
    assert download.wait(60) is None and download.state == "cancelled"
    assert downloads.entries() == [] and bool(halves(downloads)) == keep
    for unfinished in downloads.unfinished():
        downloads.discard(unfinished)
    assert halves(downloads) == []


def test_after_a_kill_it_goes_on_where_it_was(
    hub: HubServer, start: Any, downloads: Downloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Child] = []
    monkeypatch.setattr(
        "chatlab.models.library.hub.download.Child", lambda *a, **k: begun.append(Child(*a, **k)) or begun[-1]
    )
    hub.models["org/tiny"] = HubModel({"t.gguf": GGUF})
    hub.stop_after = 1 << 20
    download = start(file="t.gguf")
    assert hub.stopped.wait(60)
    part = wait_for_part(downloads, 1 << 19)
    begun[0].kill()
    with pytest.raises(DownloadFailed, match="ended"):
        download.wait(60)
    have = part.stat().st_size
    assert 0 < have < len(GGUF) and downloads.entries() == []
    (unfinished,) = downloads.unfinished()
    assert (unfinished.repository, unfinished.file, unfinished.bytes) == ("org/tiny", "t.gguf", have)
    hub.go_on.set()
    entry = start(file="t.gguf").wait(60)
    assert entry is not None and entry.path.read_bytes() == GGUF
    assert hub.ranges()[-1] == f"bytes={have}-", "only the rest is fetched"
    assert downloads.unfinished() == []


def wait_for_part(downloads: Downloads, size: int) -> Path:
    """The growing file, once it has so many bytes."""
    pause = threading.Event()
    for _ in range(600):
        for part in downloads.folder.glob(f"{HALF}*/*.part"):
            if part.stat().st_size >= size:
                return part
        pause.wait(0.1)
    raise AssertionError("nothing arrived")


def test_a_hub_that_does_not_know_ranges_sends_it_all_again(hub: HubServer, start: Any, downloads: Downloads) -> None:
    hub.models["org/tiny"] = HubModel({"t.gguf": GGUF})
    hub.stop_after = 1 << 20
    download = start(file="t.gguf")
    assert hub.stopped.wait(60)
    wait_for_part(downloads, 1 << 19)
    download.cancel(keep=True)
    download.wait(60)
    hub.ignores_ranges = True
    hub.go_on.set()
    entry = start(file="t.gguf").wait(60)
    assert entry is not None and entry.path.read_bytes() == GGUF


def test_a_line_that_breaks_again_and_again_still_brings_it_all(hub: HubServer, start: Any) -> None:
    hub.models["org/tiny"] = HubModel({"t.gguf": GGUF})
    hub.break_after = 1 << 20
    entry = start(file="t.gguf").wait(120)
    assert entry is not None and entry.path.read_bytes() == GGUF
    assert len(hub.ranges()) == 2


def test_two_of_the_same_at_once_are_one(hub: HubServer, start: Any) -> None:
    hub.models["org/tiny"] = HubModel({"t.gguf": GGUF})
    hub.stop_after = 1 << 20
    first = start(file="t.gguf")
    assert hub.stopped.wait(60)
    with pytest.raises(DownloadFailed, match="being downloaded already"):
        start(file="t.gguf").wait(60)
    hub.go_on.set()
    assert first.wait(60) is not None

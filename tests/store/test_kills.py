"""The store under kill -9, in two processes at once, on a full file system, and from many threads.

CHATLAB_KILLS sets how often the kill loop kills; 50 unless given.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from chatlab.errors import DiskFull, StoreBusy
from chatlab.store import Store
from tests.support.hostile.store import kept, kept_in, said, scratch

KILLS = int(os.environ.get("CHATLAB_KILLS", "50"))


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Children that start in milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["chatlab.store", "tests.support.hostile.store"])
    return context


@pytest.fixture
def memory() -> Iterator[Path]:
    with scratch() as folder:
        yield folder


def test_kill_9_at_a_random_moment_loses_nothing_acknowledged(memory: Path) -> None:
    command = [sys.executable, "-m", "tests.support.kills.store", str(memory), str(KILLS)]
    done = subprocess.run(command, cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stderr


def hold(folder: Path, tell: Connection) -> None:
    with Store.open(folder, address="http://127.0.0.1:7860") as store:
        store.demonstrations.add(said("held"))
        tell.send("open")
        time.sleep(60)


def test_a_second_process_is_told_where_the_first_is_and_gets_in_once_it_is_dead(
    processes: ForkServerContext, tmp_path: Path
) -> None:
    hear, tell = processes.Pipe(duplex=False)
    child = processes.Process(target=hold, args=(tmp_path, tell))
    child.start()
    assert hear.recv() == "open"
    with pytest.raises(StoreBusy, match=r"already open at http://127\.0\.0\.1:7860") as caught:
        Store.open(tmp_path)
    assert "http://127.0.0.1:7860" in caught.value.hint
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    with Store.open(tmp_path) as store:
        assert kept(store) == {1: "held"}


def leave_the_lock(folder: Path, tell: Connection) -> None:
    """Killed while something of it still holds the lock, as the threads of a large process do for a moment."""
    Store.open(folder)
    if os.fork() == 0:
        tell.send("held")
        time.sleep(0.5)
        os._exit(0)
    time.sleep(60)


def test_a_store_whose_process_has_just_been_killed_is_waited_for(processes: ForkServerContext, tmp_path: Path) -> None:
    hear, tell = processes.Pipe(duplex=False)
    child = processes.Process(target=leave_the_lock, args=(tmp_path, tell))
    child.start()
    assert hear.recv() == "held"
    child.kill()
    child.join()
    Store.open(tmp_path).close()


def test_a_store_that_is_open_twice_in_one_process_is_refused_too(tmp_path: Path) -> None:
    with Store.open(tmp_path, address="http://127.0.0.1:1"):
        with pytest.raises(StoreBusy, match=r"at http://127.0.0.1:1 by process \d+"):
            Store.open(tmp_path)
    Store.open(tmp_path).close()


def fill(folder: Path, tell: Connection) -> None:
    """Write on a file system that lets no file grow beyond 200 kB, then on one that does."""
    store, confirmed, refused = Store.open(folder), 0, 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    for number in range(100):
        try:
            store.demonstrations.add(said(f"{number} " + "x" * 4_000))
            confirmed += 1
        except DiskFull:
            refused += 1
            assert len(store.demonstrations) == confirmed
    store.compact()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    store.demonstrations.add(said("room again"))
    tell.send((confirmed, refused, store.warnings))
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_full_file_system_refuses_changes_and_takes_them_again_when_there_is_room(
    processes: ForkServerContext, tmp_path: Path
) -> None:
    hear, tell = processes.Pipe(duplex=False)
    child = processes.Process(target=fill, args=(tmp_path, tell))
    child.start()
    tell.close()
    confirmed, refused, warnings = hear.recv()
    child.join()
    assert confirmed > 30
    assert refused > 30
    found = list(kept_in(tmp_path).values())
    assert [text.split()[0] for text in found] == [*map(str, range(confirmed)), "room"]
    assert json.dumps(warnings)


def test_many_threads_share_a_store(tmp_path: Path) -> None:
    given: list[int] = []
    failures: list[BaseException] = []
    with Store.open(tmp_path) as store:

        def work(name: int) -> None:
            try:
                for turn in range(30):
                    id = store.demonstrations.add(said(f"{name} says {turn}"))
                    given.append(id)
                    assert store.demonstrations.find(f"{name} says {turn}", limit=1)[1] >= 1
                    store.demonstrations.put(id, said(f"{name} says {turn}!"))
                    if turn % 3 == 0:
                        store.demonstrations.remove([id])
                    store.state.set(f"thread {name}", turn)
                    list(store.demonstrations.rows())
                    if turn % 10 == 0:
                        store.compact()
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=work, args=(name,)) for name in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        before = kept(store)
        assert not failures
        assert len(set(given)) == len(given) == 180
        assert [store.state.get(f"thread {name}") for name in range(6)] == [29] * 6
    assert kept_in(tmp_path) == before
    assert len(before) == 120


def test_a_store_may_be_closed_by_another_thread_than_opened_it(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    closing = threading.Thread(target=store.close)
    closing.start()
    closing.join()
    Store.open(tmp_path).close()

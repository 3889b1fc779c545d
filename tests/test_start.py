"""Starting and ending the app, as a person does."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from chatlab.errors import InputError
from chatlab.lab import Lab
from chatlab.settings import Settings
from chatlab.system.ports import address, listening
from tests.support.served import ROOT, answer, free_port, site


@contextmanager
def started(home: Path, base: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    given = {"CHATLAB_HOME": str(home), "CHATLAB_BASE": str(base), "CHATLAB_PORT": str(port)}
    app = subprocess.Popen(
        [sys.executable, "app.py", "--no-browser"],
        cwd=ROOT,
        env=os.environ | given,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield app
    finally:
        if app.poll() is None:
            app.kill()
        app.wait(20)


def test_the_app_starts_ends_on_interrupt_and_is_started_once_at_a_time(tmp_path: Path, base_folder: Path) -> None:
    port = free_port()
    with started(tmp_path, base_folder, port) as first:
        assert answer(f"http://127.0.0.1:{port}/") == 200
        with started(tmp_path, base_folder, port) as second:
            _, told = second.communicate(timeout=60)
            assert second.returncode == 1
            assert f"http://127.0.0.1:{port}" in told and "Traceback" not in told
        first.send_signal(signal.SIGINT)
        said, wrong = first.communicate(timeout=30)
        assert f"Chatlab is at http://127.0.0.1:{port}" in said
        assert first.returncode == 0 and "Traceback" not in wrong


def test_without_a_base_the_page_still_opens(settings: Settings, tmp_path: Path) -> None:
    bare = replace(settings, base=tmp_path / "nowhere")
    lab = Lab(bare)
    with site(lab, bare) as served:
        assert answer(served) == 200
    lab.close()


def test_a_port_that_is_taken_gives_way_to_the_next(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with listening(replace(settings, port=port)) as (sock, chosen):
            assert port < chosen.port < port + 20 and sock.getsockname()[1] == chosen.port


def test_a_host_that_is_not_this_machines_is_told(settings: Settings) -> None:
    with pytest.raises(InputError), listening(replace(settings, host="no.such.host.invalid")):
        pass


def test_the_address_is_one_that_a_browser_here_can_open(settings: Settings) -> None:
    assert address(replace(settings, host="0.0.0.0", port=1)) == "http://127.0.0.1:1"
    assert address(replace(settings, host="::1", port=1)) == "http://[::1]:1"

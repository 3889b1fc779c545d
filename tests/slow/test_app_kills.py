"""The whole app killed under mixed use. CHATLAB_APP_KILLS sets how often; 3 unless given, 100 in `make sweep`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = int(os.environ.get("CHATLAB_APP_KILLS", "3"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the app's processes by their environment")
def test_the_whole_app_killed_under_mixed_use_loses_nothing_acknowledged_and_leaves_no_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.kills.app", str(tmp_path), str(KILLS)]
    assert subprocess.run(command, cwd=Path(__file__).resolve().parents[2]).returncode == 0

"""The app's side of a GGUF file's trial."""

from __future__ import annotations

from pathlib import Path

from chatlab.models.trial_process import LOG, REFUSED, SECONDS, TrialProcess

__all__ = ["LOG", "REFUSED", "Hearing"]

SECONDS_A_GB = 120
"""How much longer a trial is waited for."""


class Hearing(TrialProcess):
    """Trials of GGUF files; llama.cpp may end the process on a damaged one."""

    module = "chatlab.engines.gguf_import.validate_worker"
    dies = "llama.cpp breaks down when it opens {name}: the file is damaged."
    broken = "Download the file again. If it is whole, llama.cpp cannot run it here."

    def hear(self, file: Path, folder: Path) -> None:
        super().hear(file, folder)

    def seconds(self, file: Path) -> float:
        return SECONDS + SECONDS_A_GB * (file.stat().st_size >> 30)

"""The app with a slow fake engine, as a process to end.

    CHATLAB_HOME=... CHATLAB_BASE=... CHATLAB_PORT=... python -m tests.support.kills.closing

Opens everything but the trainer as `python -m chatlab` does; a word comes every 50 ms.
"""

from __future__ import annotations

import sys

import chatlab.__main__ as front
from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.settings import Settings

WORDS = " ".join(f"word{number}" for number in range(400))


class SlowLab(Lab):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, open_engine=lambda base: FakeEngine(script=lambda *_: WORDS, pause=0.05))

    def warm(self) -> None:
        self.machine.engine.load(self.variants.get())


if __name__ == "__main__":
    front.Lab = SlowLab  # type: ignore[misc]
    sys.exit(front.main(["--no-browser", *sys.argv[1:]]))

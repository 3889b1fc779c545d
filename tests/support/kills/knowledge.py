"""Adds documents to a home until it is killed: `python -m tests.support.kills.knowledge HOME FILES MODEL`.

Says `kept N` for every document that is acknowledged.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from chatlab.lab.chat.knowledge import Knowledge
from chatlab.store import Store


def main() -> None:
    home, files, model = map(Path, sys.argv[1:])
    store = Store.open(home / "store")
    knowledge = Knowledge(store, home / "store" / "knowledge", home / "cache")
    knowledge.choose_model(model)
    knowledge.add([files])
    said = 0
    while True:
        kept = knowledge.adding.kept
        if kept != said:
            print("kept", kept, flush=True)
            said = kept
        print("embedded", knowledge.state().embedded, flush=True)
        time.sleep(0.01)


if __name__ == "__main__":
    main()

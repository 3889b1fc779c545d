"""A child that says what it is: `python -m tests.support.kills.told ARGUMENT ...`. Ends with its input, code 7."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main() -> None:
    told = {
        "arguments": sys.argv[1:],
        "imported": "colorsys" in sys.modules,
        "variable": os.environ.get("CHATLAB_TOLD"),
        "folder": str(Path.cwd()),
        "session": os.getsid(0) == os.getpid(),
        "niceness": os.nice(0),
        "files": sorted(int(file.name) for file in Path("/proc/self/fd").iterdir()),
    }
    print(json.dumps(told), flush=True)
    print("to the log", file=sys.stderr, flush=True)
    for _ in sys.stdin.buffer:
        pass
    sys.exit(7)


if __name__ == "__main__":
    main()

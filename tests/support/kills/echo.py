"""A child that answers each line with itself: `python -m tests.support.kills.echo`."""

from __future__ import annotations

import json
import sys
import time

from chatlab.system.processes.bootstrap import answer_pipe


def main() -> None:
    out = answer_pipe()
    for line in sys.stdin.buffer:
        match json.loads(line):
            case "wait":
                time.sleep(600)
            case "tear":
                out.write(b'{"half": ')
                return
            case "print":
                print("a library's words", flush=True)
        out.write(line)
        out.flush()


if __name__ == "__main__":
    main()

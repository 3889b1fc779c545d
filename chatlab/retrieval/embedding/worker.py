"""The embedding process: `python -m chatlab.retrieval.embedding.worker FOLDER`.

Says first, in a line of JSON, which model it has, or why it has none. Then a line comes in for each request, `texts`
and whether they are a `query`; out go a line with the number of rows, and the rows as float32. Ends with its input.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import orjson

from chatlab.errors import EmbedderError
from chatlab.system.processes.bootstrap import answer_pipe


def main() -> None:
    out = answer_pipe()

    def say(said: dict[str, Any], rows: bytes = b"") -> None:
        out.write(orjson.dumps(said) + b"\n" + rows)
        out.flush()

    from chatlab.retrieval.embedding.model import Embedder

    try:
        embedder = Embedder(Path(sys.argv[1]))
    except EmbedderError as error:
        say({"refused": str(error), "hint": error.hint})
        return
    say({"sha256": embedder.sha256, "dimension": embedder.dimension})
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        rows = embedder.embed(asked["texts"], asked["query"])
        say({"rows": len(rows)}, rows.tobytes())


if __name__ == "__main__":
    main()

"""The process of an isolated tokenizer: `python -m chatlab.models.tokenizer.worker FOLDER NAME`.

Reads wishes from standard input and writes answers to standard output, a JSON object a line; see `isolated`. Ends when
its input does. Every wish has its share of processor time, and the whole its share of memory; the system ends a process
that takes more.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from chatlab.errors import ChatlabError
from chatlab.system.processes.bootstrap import answer_pipe
from chatlab.system.processes.limits import Limits, limit_cpu_time

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

OPENING = 60
"""Seconds of processor time to read the tokenizer in."""
SECONDS = 3
"""Processor time for a text. Honest tokenizers split a million characters in one."""
MOST_TOKENS = 1_000_000
MOST_TEXT = 1_000_000
"""Characters of a decoded text."""


def main(folder: Path, name: str) -> None:
    source, out = iter(sys.stdin.buffer), answer_pipe()
    limits = Limits(_size(folder))
    with limits.lifted():
        from chatlab.models.tokenizer.load import load
        from chatlab.template.codec import InProcess
    limit_cpu_time(OPENING)
    first = next(source, b"")
    try:
        tokenizer = load(folder, name)
        codec = InProcess(tokenizer.backend_tokenizer)
    except ChatlabError as error:
        _say(out, {"error": str(error)})
        return
    line = first
    while line:
        limit_cpu_time(SECONDS)
        try:
            _say(out, _answer(json.loads(line), tokenizer, codec))
        except ChatlabError as error:
            _say(out, {"error": str(error)})
        line = next(source, b"")


def _answer(wish: dict[str, Any], tokenizer: PreTrainedTokenizerFast, codec: Any) -> dict[str, Any]:
    match wish["do"]:
        case "encode":
            encoding = codec.encode_with_offsets(wish["text"])
            return _few({"ids": encoding.ids, "offsets": encoding.offsets}, len(encoding.ids), MOST_TOKENS)
        case "decode":
            text = codec.decode(wish["ids"])
            return _few({"text": text}, len(text), MOST_TEXT)
        case "id":
            return {"id": codec.token_to_id(wish["token"])}
        case _:
            return facts(tokenizer)


def facts(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """What `IsolatedTokenizer` answers from."""
    from chatlab.template.begin import begin_of

    vocabulary = tokenizer.get_vocab()
    telling = {max(vocabulary, key=vocabulary.__getitem__), max(vocabulary, key=len)} if vocabulary else set()
    named = {key: str(text) for key, text in tokenizer.special_tokens_map.items() if isinstance(text, str)}
    return {
        "chat_template": tokenizer.chat_template,
        "special_tokens_map": named,
        "extra_special_tokens": [str(text) for text in tokenizer.extra_special_tokens],
        "added": [(id, token.content, token.special) for id, token in tokenizer.added_tokens_decoder.items()],
        "ids": {
            "eos": tokenizer.eos_token_id,
            "bos": tokenizer.bos_token_id,
            "begin": begin_of(tokenizer.backend_tokenizer, tokenizer.bos_token_id),
        },
        "vocabulary": {token: vocabulary[token] for token in telling},
    }


def _few(told: dict[str, Any], size: int, most: int) -> dict[str, Any]:
    return told if size <= most else {"error": f"The model's tokenizer makes {size:,} tokens or characters of it."}


def _say(out: IO[bytes], told: dict[str, Any]) -> None:
    out.write(json.dumps(told).encode("ascii") + b"\n")
    out.flush()


def _size(folder: Path) -> int:
    """Bytes of the tokenizer's file."""
    return (folder / "tokenizer.json").stat().st_size


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

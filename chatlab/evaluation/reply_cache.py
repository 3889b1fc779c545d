"""A cache of replies: everything that decides a reply is its key, so that the same is never generated twice."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from chatlab.engines.base import Sampling
from chatlab.evaluation.replies import ReplyForm
from chatlab.former_names import current_fields, with_current_names
from chatlab.records import Provenance, StopReason
from chatlab.system.files import private_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyKey:
    """Everything that decides a reply. An adapter is known by its weights: a name can be given twice."""

    prompt: str
    system: str = ""
    sampling: Sampling
    sha256: str = ""
    """sha256 of the adapter's weights; empty for the base."""
    strength: float = 1.0
    base: str
    """Fingerprint, which its chat template is part of."""
    engine: str

    @property
    def key(self) -> str:
        decides = asdict(self)
        if not self.sampling.thinking:
            del decides["sampling"]["thinking"]  # as keys were before reasoning had a budget
        return hashlib.sha256(orjson.dumps(decides, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedReply:
    """A finished reply."""

    text: str
    provenance: Provenance
    """As the engine reported it."""
    stop: StopReason
    form: ReplyForm


class ReplyCache:
    """One append-only file for each model. Where the disk cannot be written to, it caches in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._cached: dict[Path, dict[str, CachedReply]] = {}

    def get(self, key: ReplyKey) -> CachedReply | None:
        with self._lock:
            return self._entries(key).get(key.key)

    def put(self, key: ReplyKey, reply: CachedReply) -> None:
        with self._lock:
            self._entries(key)[key.key] = reply
            file = self._file(key)
            with contextlib.suppress(OSError, TypeError):  # a full disk, half a character: generated again another day
                line = orjson.dumps({"key": key.key, "prompt": key.prompt, **asdict(reply)})
                private_folder(file.parent)
                with file.open("ab") as out:
                    out.write(b"\n" + line + b"\n")  # a line of its own after one that was cut off

    def _entries(self, key: ReplyKey) -> dict[str, CachedReply]:
        file = self._file(key)
        if file not in self._cached:
            self._cached[file] = _read(file)
        return self._cached[file]

    def _file(self, key: ReplyKey) -> Path:
        return self._folder / f"{key.base[:16]}-{key.sha256[:16] or 'base'}.jsonl"


def _read(file: Path) -> dict[str, CachedReply]:
    """What can be read of a file: a cache is never worth an error."""
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError:
        return {}
    return dict(found for line in lines if line and (found := _entry(line)))


def _entry(line: bytes) -> tuple[str, CachedReply] | None:
    try:
        raw = with_current_names(CachedReply, orjson.loads(line))
        reply = CachedReply(
            text=str(raw["text"]),
            provenance=Provenance(**raw["provenance"]),
            stop=raw["stop"],
            form=ReplyForm(**current_fields(ReplyForm, raw["form"])),
        )
        return str(raw["key"]), reply
    except (ValueError, KeyError, TypeError):
        return None

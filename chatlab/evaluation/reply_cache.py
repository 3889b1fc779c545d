"""Replies that have been heard, kept in a cache: what decides a reply is its key, so the same is never asked twice."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from chatlab.engines.base import Sampling
from chatlab.evaluation.replies import ReplyForm
from chatlab.former_names import with_current_names
from chatlab.records import Provenance, StopReason
from chatlab.system.files import private_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyKey:
    """Everything that decides a reply. An adapter is known by its weights: a name can be given twice."""

    prompt: str
    system: str = ""
    sampling: Sampling
    sha256: str = ""
    """Of the adapter's weights; empty for the base."""
    strength: float = 1.0
    base: str
    """Fingerprint, which its chat template is part of."""
    engine: str

    @property
    def key(self) -> str:
        decides = asdict(self)
        if not self.sampling.thinking:
            del decides["sampling"]["thinking"]  # as replies were kept before there were thoughts
        return hashlib.sha256(orjson.dumps(decides, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedReply:
    """A whole reply."""

    text: str
    provenance: Provenance
    """By the engine's own word."""
    stop: StopReason
    form: ReplyForm


class ReplyCache:
    """One file a voice, which is only added to. Without a disk to write to it still remembers while it lives."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._known: dict[Path, dict[str, CachedReply]] = {}

    def get(self, asked: ReplyKey) -> CachedReply | None:
        with self._lock:
            return self._of(asked).get(asked.key)

    def keep(self, asked: ReplyKey, said: CachedReply) -> None:
        with self._lock:
            self._of(asked)[asked.key] = said
            file = self._file(asked)
            with contextlib.suppress(OSError, TypeError):  # a full disk, half a character: heard again another day
                line = orjson.dumps({"key": asked.key, "prompt": asked.prompt, **asdict(said)})
                private_folder(file.parent)
                with file.open("ab") as out:
                    out.write(b"\n" + line + b"\n")  # a line of its own after one that was cut off

    def _of(self, asked: ReplyKey) -> dict[str, CachedReply]:
        file = self._file(asked)
        if file not in self._known:
            self._known[file] = _read(file)
        return self._known[file]

    def _file(self, asked: ReplyKey) -> Path:
        return self._folder / f"{asked.base[:16]}-{asked.sha256[:16] or 'base'}.jsonl"


def _read(file: Path) -> dict[str, CachedReply]:
    """What can be read of it: a cache is never worth an error."""
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError:
        return {}
    return dict(found for line in lines if line and (found := _entry(line)))


def _entry(line: bytes) -> tuple[str, CachedReply] | None:
    try:
        raw = with_current_names(CachedReply, orjson.loads(line))
        said = CachedReply(
            text=str(raw["text"]),
            provenance=Provenance(**raw["provenance"]),
            stop=raw["stop"],
            form=ReplyForm(**with_current_names(ReplyForm, raw["form"])),
        )
        return str(raw["key"]), said
    except (ValueError, KeyError, TypeError):
        return None

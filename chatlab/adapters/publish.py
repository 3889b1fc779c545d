"""A PEFT folder copied to a hidden folder, with card and manifest: every byte is on the disk before anybody sees it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from chatlab.adapters.card import card_as_json
from chatlab.adapters.manifest import CARD, CONFIG, DEMONSTRATIONS, MANIFEST, WEIGHTS
from chatlab.adapters.readme import readme
from chatlab.errors import AdapterDamaged, AdapterError, DiskFull
from chatlab.records import AdapterCard
from chatlab.system.files import DISK_FULL, fsync_folder, open_private, private_folder, write_whole

HIDDEN = ".publish-"
_PIECE = 1 << 20


def hidden_copy(
    source: Path, registry: Path, card: AdapterCard, demonstrations: Path | None = None
) -> tuple[Path, AdapterCard]:
    """The hidden folder in `registry`, and the card with the sha256 of the weights as they were written.

    The manifest covers what decides how the adapter answers, and its demonstrations; README.md may be edited.
    """
    for name in (CONFIG, WEIGHTS):
        if not (source / name).is_file():
            raise AdapterDamaged(f"{source.name!r} cannot be published: it has no {name}.", "Run the training again.")
    hidden = registry / f"{HIDDEN}{uuid.uuid4().hex}"
    try:
        with space_or_error(f"Adapter {card.name!r} cannot be published"):
            return hidden, _write_all(source, hidden, card, demonstrations)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise


def _write_all(source: Path, hidden: Path, card: AdapterCard, demonstrations: Path | None) -> AdapterCard:
    private_folder(hidden)
    files = {name: _write(hidden / name, _pieces(source / name)) for name in (CONFIG, WEIGHTS)}
    card = replace(card, sha256=files[WEIGHTS])
    files[CARD] = _write_json(hidden / CARD, card_as_json(card))
    if demonstrations is not None:
        files[DEMONSTRATIONS] = _write(hidden / DEMONSTRATIONS, _pieces(demonstrations))
    _write(hidden / "README.md", [readme(card).encode()])
    _write_json(hidden / MANIFEST, {"format": 1, "files": files})
    fsync_folder(hidden)
    return card


@contextmanager
def space_or_error(what: str) -> Iterator[None]:
    """DiskFull or AdapterError in place of the system's own error."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise DiskFull(f"{what}: the disk is full.", "Make room and try again. Nothing is lost.") from error
        raise AdapterError(f"{what}: {error.strerror}.", "Check who may write to the adapters folder.") from error


def replace_json(file: Path, data: object) -> None:
    """All of it on the disk before it takes the place of what was there."""
    write_whole(file, _json(data))
    fsync_folder(file.parent)


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while piece := stream.read(_PIECE):
            yield piece


def _write_json(file: Path, data: object) -> str:
    return _write(file, [_json(data)])


def _json(data: object) -> bytes:
    return json.dumps(data, ensure_ascii=False, indent=1).encode()


def _write(file: Path, pieces: Iterator[bytes] | list[bytes]) -> str:
    """The sha256 of what was written."""
    sha256 = hashlib.sha256()
    with open_private(file, os.O_CREAT | os.O_EXCL) as stream:
        for piece in pieces:
            stream.write(piece)
            sha256.update(piece)
        stream.flush()
        os.fsync(stream.fileno())
    return sha256.hexdigest()

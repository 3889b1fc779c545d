"""The cache of huggingface_hub: `models--ORG--NAME/` with `refs/BRANCH`, `snapshots/COMMIT/` and `blobs/`.

Files of a snapshot are links to blobs, which are named by their hashes; where a file system has no links, the files
themselves (https://huggingface.co/docs/huggingface_hub/guides/manage-cache).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from chatlab.models.library.entry import ModelEntry

LONGEST_REF = 1000
"""Bytes of a commit's name in `refs`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One revision of one repository."""

    repository: str
    folder: Path
    revision: str
    """The branch that names it, or else its commit."""

    def named(self, entry: ModelEntry) -> ModelEntry:
        """A model of this snapshot under the name of its repository; a GGUF's file name follows it."""
        name = self.repository if entry.kind == "folder" else f"{self.repository}/{entry.name}"
        return replace(entry, name=name, revision=self.revision)


def snapshots(cache: Path) -> Iterator[Snapshot]:
    """Every revision of every model, those that a branch names first."""
    for repository in _folders(cache):
        if not repository.name.startswith("models--"):
            continue
        name = repository.name.removeprefix("models--").replace("--", "/")
        refs = _refs(repository / "refs")
        found = _folders(repository / "snapshots")
        for folder in sorted(found, key=lambda f: (f.name not in refs, f.name)):
            yield Snapshot(repository=name, folder=folder, revision=refs.get(folder.name, folder.name))


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(item for item in folder.iterdir() if item.is_dir())
    except OSError:
        return []


def _refs(folder: Path) -> dict[str, str]:
    """Commit -> branch; `main` before others."""
    found: dict[str, str] = {}
    try:
        files = sorted((f for f in folder.rglob("*") if f.is_file()), key=lambda f: (f.name == "main", f.name))
    except OSError:
        return {}
    for file in files:
        try:
            with file.open("rb") as stream:
                commit = stream.read(LONGEST_REF).decode(errors="replace").strip()
        except OSError:
            continue
        found[commit] = file.relative_to(folder).as_posix()
    return found

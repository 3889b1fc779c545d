"""Passages by their words: BM25 over stems, built in a process of its own and loaded whole or not at all.

Beside the index lie the keys of its passages and the sha256 of every file; one that is not what was written is built
again. It holds the passages of one moment: passages that came later are not in it until it has been rebuilt.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from chatlab.system.files import private_folder, sha256_of

MANIFEST = "papers.json"
KEYS = "keys.npy"
LANGUAGE = "english"


class BM25Index:
    """A built index. Safe to call from threads."""

    def __init__(self, folder: Path) -> None:
        """Raises ValueError or OSError if the folder does not hold what was built."""
        import bm25s

        info = orjson.loads((folder / MANIFEST).read_bytes())
        for name, sha256 in info["files"].items():
            if sha256_of(folder / name) != sha256:
                raise ValueError(f"{name} has been changed")
        self.digest: str = info["digest"]
        self._keys = np.load(folder / KEYS, allow_pickle=False)
        self._stemmer = _stemmer()
        self._index = bm25s.BM25.load(folder, load_corpus=False) if len(self._keys) else None

    def __len__(self) -> int:
        return len(self._keys)

    def search(self, query: str, count: int) -> list[tuple[int, float]]:
        """The keys that share words with the query and their scores, best first."""
        if self._index is None:
            return []
        known = self._index.vocab_dict
        stems = [stem for stem in _stems([query], self._stemmer)[0] if stem in known]
        if not stems:
            return []
        scores = self._index.get_scores(stems)
        count = min(count, len(scores))
        best = np.argpartition(-scores, count - 1)[:count]
        best = best[np.argsort(-scores[best], kind="stable")]
        return [(int(self._keys[row]), float(scores[row])) for row in best if scores[row] > 0]


def digest_of(keys: Iterable[int]) -> str:
    """Equal for equal sets of passages."""
    ordered = np.array(sorted(keys), dtype=np.int64)
    return hashlib.sha256(ordered.tobytes()).hexdigest()


def build(keys: Sequence[int], texts: Sequence[str], folder: Path) -> None:
    """Put the index of these passages in the place of `folder`."""
    import bm25s

    draft = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    private_folder(draft)
    stems = _stems(texts, _stemmer())
    if any(stems):
        index = bm25s.BM25()
        index.index(stems, show_progress=False)
        index.save(draft, show_progress=False)
    else:
        keys = []
    np.save(draft / KEYS, np.array(keys, dtype=np.int64))
    files = {file.name: sha256_of(file) for file in sorted(draft.iterdir())}
    (draft / MANIFEST).write_bytes(orjson.dumps({"digest": digest_of(keys), "files": files}))
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


def _stems(texts: Sequence[str], stemmer: Any) -> list[list[str]]:
    import bm25s

    found: list[list[str]] = bm25s.tokenize(
        list(texts), stopwords=LANGUAGE, stemmer=stemmer, return_ids=False, show_progress=False
    )
    return found


def _stemmer() -> Any:
    import Stemmer

    return Stemmer.Stemmer(LANGUAGE)

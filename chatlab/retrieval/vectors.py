"""Passages by meaning: a flat faiss index in memory, and its parts on the disk, which can always be made again.

Every vector is compared, at half precision: exact in its order but for ties, in half the time and memory of floats.

Beside each part lie its sha256, the model and the dimension. A part that is not what it was, cut short, a bit
flipped, another model's, is deleted, and its passages are embedded again; faiss itself would load a flipped bit.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from chatlab.errors import ChatlabError
from chatlab.retrieval.embedding.client import Model
from chatlab.store.disk import Disk, as_chatlab_error
from chatlab.system.files import private_folder

PART = 2048
"""Vectors of a full part: what a flipped bit costs."""


class Vectors:
    """Safe to call from threads."""

    def __init__(self, folder: Path, model: Model, wanted: Collection[int], disk: Disk | None = None) -> None:
        """Loads the parts. Vectors whose passage is not `wanted` any more are left out, and leave the disk too."""
        import faiss

        faiss.omp_set_num_threads(1)  # one question at a time gains nothing from threads, and training loses by them
        self._folder, self._model, self._disk = folder, model, disk or Disk()
        self._lock = threading.RLock()
        self._index = _flat(model.dimension)
        self._known: set[int] = set()
        self._parked: dict[int, np.ndarray] = {}
        self._pending: list[int] = []
        self._last: tuple[Path, list[int]] | None = None
        self._number = 0
        self.damaged = 0
        """Parts that were not what they had been."""
        self._load(wanted)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def __contains__(self, key: object) -> bool:
        return key in self._known

    @property
    def known(self) -> frozenset[int]:
        with self._lock:
            return frozenset(self._known)

    def add(self, keys: Iterable[int], rows: np.ndarray) -> None:
        """Found from now on; on the disk after `flush`. Keys that are there already are passed over."""
        with self._lock:
            fresh = {key: row for key, row in zip(keys, rows, strict=True) if key not in self._known}
            self._put(fresh)
            self._pending += fresh

    def remove(self, keys: Iterable[int]) -> None:
        """Not found any more; `revive` brings them back without embedding them again."""
        with self._lock:
            import faiss

            gone = [key for key in keys if key in self._known]
            if not gone:
                return
            self._parked.update(zip(gone, self.rows(gone), strict=True))
            self._index.remove_ids(faiss.IDSelectorBatch(np.array(gone, dtype=np.int64)))
            self._known.difference_update(gone)

    def revive(self, keys: Iterable[int]) -> None:
        """Use back those of `keys` that were removed since the index was opened."""
        with self._lock:
            self._put({key: self._parked.pop(key) for key in set(keys) if key in self._parked})

    def search(self, row: np.ndarray, count: int) -> list[tuple[int, float]]:
        """The nearest keys and their cosines, best first."""
        with self._lock:
            cosines, keys = self._index.search(row.reshape(1, -1), min(count, max(1, len(self))))
        return [(int(key), float(cosine)) for key, cosine in zip(keys[0], cosines[0], strict=True) if key >= 0]

    def rows(self, keys: Iterable[int]) -> np.ndarray:
        """(N, D) for keys that are in it."""
        wanted = np.fromiter(keys, dtype=np.int64)
        with self._lock:
            return np.asarray(self._index.reconstruct_batch(wanted), dtype=np.float32)

    def clear(self) -> None:
        """Nothing in it, here and on the disk."""
        with self._lock:
            self._index.reset()
            self._known.clear()
            self._parked.clear()
            self._pending.clear()
            self._last = None
            for file in parts(self._folder):
                _delete(file)

    def flush(self) -> None:
        """Put on the disk what was added since. Raises DiskFull or StoreError; then it can be tried again."""
        with self._lock:
            if not self._pending:
                return
            last = [key for key in self._last[1] if key in self._known] if self._last else []
            keys = [*(last if len(last) < PART else []), *(key for key in self._pending if key in self._known)]
            replaced = self._last[0] if self._last and len(last) < PART else None
            for start in range(0, len(keys), PART):
                self._write(keys[start : start + PART])
            self._pending.clear()
            if replaced:
                _delete(replaced)

    def _put(self, rows: dict[int, np.ndarray]) -> None:
        if rows:
            self._index.add_with_ids(np.stack(list(rows.values())), np.array(list(rows), dtype=np.int64))
            self._known.update(rows)

    def _write(self, keys: list[int]) -> None:
        import faiss

        part = _flat(self._model.dimension)
        part.add_with_ids(self.rows(keys), np.array(keys, dtype=np.int64))
        data = faiss.serialize_index(part).tobytes()
        file = self._folder / f"part-{self._number + 1:05d}.faiss"
        info = {"sha256": hashlib.sha256(data).hexdigest(), **self._info(), "count": len(keys)}
        try:
            private_folder(self._folder)
            self._disk.publish(file, data)
            self._disk.publish(file.with_suffix(".json"), orjson.dumps(info))
        except OSError as error:
            raise as_chatlab_error(error, "keep the index") from error
        self._number += 1
        self._last = (file, keys)

    def _info(self) -> dict[str, Any]:
        return {"model": self._model.sha256, "dimension": self._model.dimension}

    def _load(self, wanted: Collection[int]) -> None:
        for file in parts(self._folder):
            self._number = max(self._number, int(file.stem.split("-")[1]))
            found = self._part(file)
            if found is None:
                self.damaged += 1
                _delete(file)
                continue
            keys, rows = found
            kept = {key: row for key, row in zip(keys, rows, strict=True) if key in wanted and key not in self._known}
            self._put(kept)
            if len(kept) < len(keys):
                self._rewrite(file, list(kept))
            elif len(kept) < PART:
                self._last = (file, list(kept))

    def _rewrite(self, file: Path, keys: list[int]) -> None:
        """Less what was removed: it leaves the disk. A disk that is full keeps it a while longer."""
        with contextlib.suppress(ChatlabError):
            if keys:
                self._write(keys)
            _delete(file)

    def _part(self, file: Path) -> tuple[list[int], np.ndarray] | None:
        """None for a part that is not what was written for this model."""
        import faiss

        try:
            info = orjson.loads(file.with_suffix(".json").read_bytes())
            data = file.read_bytes()
            if hashlib.sha256(data).hexdigest() != info["sha256"] or not self._info().items() <= info.items():
                return None
            part: Any = faiss.deserialize_index(np.frombuffer(data, dtype=np.uint8))
            keys = faiss.vector_to_array(part.id_map).tolist()
            return keys, part.index.reconstruct_n(0, len(keys))
        except (OSError, ValueError, KeyError, AttributeError, RuntimeError):
            return None


def _flat(dimension: int) -> Any:
    """An index by inner product, under keys of our own."""
    import faiss

    half = faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    return faiss.IndexIDMap2(half)


def _delete(file: Path) -> None:
    for part in (file.with_suffix(".json"), file):
        part.unlink(missing_ok=True)


def parts(folder: Path) -> list[Path]:
    """The index files on the disk, the oldest first."""
    return sorted(folder.glob("part-*.faiss"))

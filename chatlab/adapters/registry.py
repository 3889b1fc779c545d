"""The published adapters: folders `adapters/<name>/`, listed, opened, removed and restored."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path

from chatlab.adapters.card import check_base, forgetting_as_json, read_card, reply_metrics_as_json
from chatlab.adapters.manifest import CARD, CONFIG, FORGETTING, REPLY_METRICS, check_bytes, check_demonstrations
from chatlab.adapters.names import check_name, unlike
from chatlab.adapters.publish import HIDDEN, hidden_copy, replace_json, space_or_error
from chatlab.errors import AdapterDamaged, AdapterError, AdapterMissing, NameRefused
from chatlab.measurements import ReplyMetrics
from chatlab.records import AdapterCard
from chatlab.system.files import fsync_folder, private_folder

TRASH = ".trash"
UNKNOWN = (
    "It has no card.json: it was trained elsewhere, or its card is lost. Bring an adapter, on the Train tab, takes it."
)


class Adapters:
    """The published adapters. An adapter's name is its folder's name, whatever its card says.

    What a killed process left half-written is cleared away when this is built; only one process may publish.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        with space_or_error("The adapters folder cannot be created"):
            private_folder(folder)
        for leftover in folder.glob(f"{HIDDEN}*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def names(self) -> list[str]:
        """Names of the adapters that can be read, the newest first."""
        return [card.name for card in self.cards()]

    def cards(self) -> list[AdapterCard]:
        """The newest first. Reads cards, not weights."""
        return sorted(self._read()[0], key=lambda card: (card.created, card.name), reverse=True)

    @property
    def problems(self) -> dict[str, str]:
        """What is wrong with the folders that are not in `cards`."""
        return self._read()[1]

    def publish(self, source: Path, card: AdapterCard, demonstrations: Path | None = None) -> AdapterCard:
        """Copy a PEFT folder in, with card and manifest, under `card.name` or one like it that is free.

        `demonstrations` is the snapshot of demonstrations that it learned from, which is kept with it.

        Until all of it is on the disk nobody sees any of it. Raises NameRefused, AdapterDamaged when `source` lacks a
        file, DiskFull; `source` is left as it was.
        """
        with self._lock:
            card = replace(card, name=self.free_name(card.name))
            hidden, card = hidden_copy(source, self._folder, card, demonstrations)
            self._reveal(hidden, card.name)
            return card

    def note_reply_metrics(self, name: str, before: ReplyMetrics, after: ReplyMetrics) -> None:
        """Keep how the base and this adapter answered the unseen prompts. Raises AdapterMissing, DiskFull."""
        with self._lock, space_or_error(f"The proof of adapter {name!r} cannot be kept"):
            replace_json(self._existing(name) / REPLY_METRICS, reply_metrics_as_json(before, after))

    def note_forgetting(self, name: str, forgetting: float, interval: tuple[float, float]) -> None:
        """Keep what was measured after an adapter was published. Raises AdapterMissing, DiskFull."""
        with self._lock, space_or_error(f"The forgetting of adapter {name!r} cannot be kept"):
            replace_json(self._existing(name) / FORGETTING, forgetting_as_json(forgetting, interval))

    def open(self, name: str, base_fingerprint: str) -> tuple[AdapterCard, Path]:
        """Its card and folder, every byte checked. Raises AdapterMissing, AdapterDamaged, WrongBase."""
        folder = self._existing(name)
        card = replace(read_card(folder), name=name)
        check_bytes(folder)
        check_base(card, base_fingerprint)
        return card, folder

    def demonstrations(self, name: str) -> Path | None:
        """The file of what it learned from; None where it has none. Raises AdapterMissing, and AdapterDamaged."""
        return check_demonstrations(self._existing(name))

    def is_unknown(self, folder: Path) -> bool:
        """Whether it lies among the adapters without a card, and so is in no list."""
        return folder.parent.resolve() == self._folder.resolve() and not (folder / CARD).exists()

    def remove(self, name: str) -> Path:
        """Move an adapter to the trash; the folder where it lay. Raises AdapterMissing."""
        with self._lock, space_or_error(f"Adapter {name!r} cannot be removed"):
            folder = self._existing(name)
            private_folder(self._folder / TRASH)
            last = max(self._removed(name), default=0)
            folder.rename(self._folder / TRASH / f"{name}~{last + 1}")
            fsync_folder(self._folder)
            return folder

    def restore(self, name: str) -> AdapterCard:
        """Bring back the adapter of that name that was removed last, under a free name. Raises AdapterMissing."""
        check_name(name)
        with self._lock, space_or_error(f"Adapter {name!r} cannot be restored"):
            removed = self._removed(name)
            if not removed:
                raise AdapterMissing(f"There is no removed adapter {name!r}.", "It may have been restored already.")
            back = self.free_name(name)
            removed[max(removed)].rename(self._folder / back)
            fsync_folder(self._folder)
            return replace(read_card(self._folder / back), name=back)

    def trash(self) -> tuple[int, int]:
        """How many removed adapters there are, and their bytes. They stay until `empty_trash`."""
        removed = list((self._folder / TRASH).glob("*~*"))
        return len(removed), sum(file.lstat().st_size for folder in removed for file in folder.glob("*"))

    def empty_trash(self) -> int:
        """Delete what was removed, for good; how many that was."""
        with self._lock, space_or_error("The trash cannot be emptied"):
            removed = list((self._folder / TRASH).glob("*~*"))
            for folder in removed:
                shutil.rmtree(folder)
            return len(removed)

    def free_name(self, wish: str) -> str:
        """`wish`, or `wish-2` and so on if it is taken. Raises NameRefused."""
        return unlike(check_name(wish), {path.name.casefold() for path in self._folder.iterdir()})

    def _removed(self, name: str) -> dict[int, Path]:
        """Adapters of that name in the trash, by the order in which they came there."""
        found = {path: path.name.rpartition("~")[2] for path in (self._folder / TRASH).glob(f"{name}~*")}
        return {int(number): path for path, number in found.items() if number.isdecimal()}

    def _existing(self, name: str) -> Path:
        try:
            folder = self._folder / check_name(name)
        except NameRefused as refused:
            raise AdapterMissing(f"There is no adapter {name[:80]!r}.", refused.hint) from refused
        if folder.is_symlink() or not folder.is_dir():
            raise AdapterMissing(f"There is no adapter {name!r}.", "Choose one from the list.")
        return folder

    def _reveal(self, hidden: Path, name: str) -> None:
        """Rename the hidden folder; where that fails, nothing is left of it."""
        try:
            with space_or_error(f"Adapter {name!r} cannot be published"):
                hidden = hidden.rename(self._folder / name)
                fsync_folder(self._folder)
        except BaseException:
            shutil.rmtree(hidden, ignore_errors=True)
            raise

    def _read(self) -> tuple[list[AdapterCard], dict[str, str]]:
        cards, problems = [], {}
        for folder in self._folder.iterdir():
            try:
                if folder.name.startswith(".") or not _looks_like_an_adapter(folder):
                    continue
                check_name(folder.name)
                self._existing(folder.name)
                if not (folder / CARD).exists():
                    raise AdapterDamaged(UNKNOWN)
                cards.append(replace(read_card(folder), name=folder.name))
            except (AdapterError, NameRefused) as error:
                problems[_printable(folder.name)] = str(error)
            except OSError as error:  # somebody else's folder
                problems[_printable(folder.name)] = f"It cannot be read: {error.strerror}."
        return cards, problems


def _looks_like_an_adapter(folder: Path) -> bool:
    """Anything else that lies about, a note or a picture, is none of our business."""
    return folder.is_dir() and any((folder / name).exists() for name in (CARD, CONFIG))


def _printable(name: str) -> str:
    """A folder may be called anything, also what no page can be sent."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)

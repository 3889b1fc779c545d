"""Records on the disk: TinyDB's tables over a snapshot and a journal."""

from chatlab.store.checkup import Checkup, checkup
from chatlab.store.codec import read_as
from chatlab.store.copies import Backup
from chatlab.store.shelf import Shelf
from chatlab.store.store import Store

__all__ = ["Backup", "Checkup", "Shelf", "Store", "checkup", "read_as"]

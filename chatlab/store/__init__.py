"""Records on the disk: TinyDB's tables over a snapshot and a journal."""

from chatlab.store.checkup import Checkup, checkup
from chatlab.store.collection import RecordCollection
from chatlab.store.journal import Document
from chatlab.store.snapshot import Backup, Tables
from chatlab.store.store import Store
from chatlab.system.codec import read_as

__all__ = ["Backup", "Checkup", "Document", "RecordCollection", "Store", "Tables", "checkup", "read_as"]

"""A file to records, one row at a time, each kept or refused with its place and the reason."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from itertools import islice
from pathlib import Path

from chatlab.errors import FormatRefused, RowRefused
from chatlab.formats.containers.container import Rows
from chatlab.formats.conversations.content import shows_media
from chatlab.formats.meaning import records_of
from chatlab.formats.own_fields import OWN
from chatlab.formats.row import Imported, Outcome, Refused
from chatlab.formats.sniff import Proposal


class DatasetReader:
    """Iterate over it for what became of each row. Memory does not grow with the file."""

    def __init__(self, path: Path, proposal: Proposal) -> None:
        """Raises FormatRefused where a part that rows cannot do without has no column."""
        if missing := proposal.columns.missing():
            raise FormatRefused(f"No column was chosen for: {', '.join(missing)}.", "Choose one for each.")
        self._columns = proposal.columns
        media = (name for name in proposal.names if shows_media(name))
        self._rows = Rows(path, proposal.container, frozenset({*proposal.columns.of.values(), *media, OWN}))

    @property
    def share(self) -> float:
        """How much of the file has been read, 0 to 1."""
        return self._rows.share

    def __iter__(self) -> Generator[Outcome, None, None]:
        with closing(iter(self._rows)) as rows:
            for row in rows:
                if row.problem:
                    yield Refused(row.line, row.problem)
                    continue
                try:
                    records = records_of(row.values, self._columns)
                except RowRefused as error:
                    yield Refused(row.line, str(error))
                    continue
                for record in records:
                    yield Imported(row.line, record)


def preview(path: Path, proposal: Proposal, rows: int = 5) -> list[Outcome]:
    """The first rows as they would become."""
    with closing(iter(DatasetReader(path, proposal))) as outcomes:
        return list(islice(outcomes, rows))

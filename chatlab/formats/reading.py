"""A file to records, one row at a time, each kept or refused with its place and the reason."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

from chatlab.errors import FormatRefused, RowRefused
from chatlab.formats.containers.container import SAMPLE, Rows
from chatlab.formats.conversations.content import shows_media
from chatlab.formats.conversations.turn_rows import conversations
from chatlab.formats.layout import Columns
from chatlab.formats.meaning import records_of
from chatlab.formats.own_fields import OWN
from chatlab.formats.row import Imported, Outcome, Refused
from chatlab.formats.sniff import Proposal
from chatlab.formats.verdicts import mark_of, scale


class DatasetReader:
    """Iterate over it for what became of each row. Memory does not grow with the file."""

    def __init__(self, path: Path, proposal: Proposal) -> None:
        """Raises FormatRefused where a part that rows cannot do without has no column."""
        if missing := proposal.columns.missing():
            raise FormatRefused(f"No column was chosen for: {', '.join(missing)}.", "Choose one for each.")
        self._columns = proposal.columns
        media = (name for name in proposal.names if shows_media(name))
        self._grouped = proposal.columns.layout in ("turns", "exchanges")
        read = frozenset({*proposal.columns.of.values(), *media, OWN})
        self._rows = Rows(path, proposal.container, None if self._grouped else read)

    @property
    def share(self) -> float:
        """How much of the file has been read, 0 to 1."""
        return self._rows.share

    def __iter__(self) -> Generator[Outcome, None, None]:
        return self.outcomes()

    def outcomes(self, measured: int | None = None) -> Generator[Outcome, None, None]:
        """What became of each row; the scale that marks stand on is told from the first `measured` rows, or all."""
        columns = Columns(layout="conversation", of={"turns": "turns"}) if self._grouped else self._measured(measured)
        with closing(iter(self._rows)) as rows:
            for row in conversations(rows, self._columns) if self._grouped else rows:
                if row.problem:
                    yield Refused(row.line, row.problem)
                    continue
                try:
                    records = records_of(row.values, columns)
                except RowRefused as error:
                    yield Refused(row.line, str(error))
                    continue
                for record in records:
                    yield Imported(row.line, record)

    def _measured(self, rows: int | None) -> Columns:
        """The columns with the best mark that answers have: the first rows may know only low ones."""
        column = self._columns.of.get("liked")
        if column is None:
            return self._columns
        with closing(iter(self._rows)) as all_rows:
            marks = {mark_of(row.values.get(column)): row.values.get(column) for row in islice(all_rows, rows)}
        best = scale([value for mark, value in marks.items() if mark is not None])
        return replace(self._columns, best=max(best, self._columns.best))


def preview(path: Path, proposal: Proposal, rows: int = 5) -> list[Outcome]:
    """The first rows as they would become."""
    with closing(DatasetReader(path, proposal).outcomes(measured=SAMPLE)) as outcomes:
        return list(islice(outcomes, rows))

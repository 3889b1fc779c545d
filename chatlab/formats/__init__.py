"""Data sets in and out: what a file is, its rows as records, records as files that others read."""

from chatlab.formats.containers.cells import escape_cell
from chatlab.formats.containers.container import Container
from chatlab.formats.kinds import FORMATS, Format, FormatName, format_of
from chatlab.formats.layout import LAYOUTS, Columns, Layout, LayoutName, Part, layout
from chatlab.formats.reading import DatasetReader, preview
from chatlab.formats.row import Imported, Outcome, Prompt, Record, Refused
from chatlab.formats.sniff import Proposal, proposed, sniff, with_header
from chatlab.formats.writing import WriteResult, write

__all__ = [
    "FORMATS",
    "LAYOUTS",
    "Columns",
    "Container",
    "DatasetReader",
    "Format",
    "FormatName",
    "Imported",
    "Layout",
    "LayoutName",
    "Outcome",
    "Part",
    "Prompt",
    "Proposal",
    "Record",
    "Refused",
    "WriteResult",
    "escape_cell",
    "format_of",
    "layout",
    "preview",
    "proposed",
    "sniff",
    "with_header",
    "write",
]

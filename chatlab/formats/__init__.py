"""Data sets in and out: what a file is, its rows as records, records as files that others read."""

from chatlab.formats.cells import tamed
from chatlab.formats.container import Container
from chatlab.formats.kinds import FORMATS, Format, FormatName, format_of
from chatlab.formats.layout import LAYOUTS, Columns, Layout, LayoutName, Part, layout
from chatlab.formats.reading import Reading, preview
from chatlab.formats.row import Kept, Outcome, Record, Refused
from chatlab.formats.sniff import Proposal, proposed, sniff, with_header
from chatlab.formats.writing import Written, write

__all__ = [
    "FORMATS",
    "LAYOUTS",
    "Columns",
    "Container",
    "Format",
    "FormatName",
    "Kept",
    "Layout",
    "LayoutName",
    "Outcome",
    "Part",
    "Proposal",
    "Reading",
    "Record",
    "Refused",
    "Written",
    "format_of",
    "layout",
    "preview",
    "proposed",
    "sniff",
    "tamed",
    "with_header",
    "write",
]

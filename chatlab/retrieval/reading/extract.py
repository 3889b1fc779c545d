"""A document's text in pieces, by kind of file. Runs in the reading process, which has limits; see `reading`."""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from chatlab.errors import DocumentRefused
from chatlab.formats.containers.table import table_rows
from chatlab.formats.containers.text import HEAD, decoded, text_lines
from chatlab.retrieval.document import Kind
from chatlab.retrieval.reading.file_kind import table_in

if TYPE_CHECKING:
    from docx.table import Table
    from selectolax.lexbor import LexborNode

PIECE = 1 << 16
MEGABYTES = 1 << 20
UNPACKED = 400 * MEGABYTES
"""Bytes that a Word file may unpack to."""
MEMBERS = 20_000
_BLOCKS = (
    "address,article,aside,blockquote,br,caption,dd,div,dl,dt,figcaption,footer,form,h1,h2,h3,h4,h5,h6,header,hr,li,"
    "main,nav,ol,p,pre,section,table,tr,ul"
)
_SILENT = "script,style,noscript,template,iframe,svg,canvas,object,textarea,select,head"
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
"""Word's own tables have at most 63 columns."""
_HEADING = re.compile(r"^#{1,2} +(.+?) *#*$", re.MULTILINE)


@dataclass(slots=True)
class ExtractionNotes:
    """What the reader has to say of a file beside its text."""

    title: str = ""
    pages: int = 0
    problems: list[str] = field(default_factory=list)


def extract_text(path: Path, kind: Kind, encoding: str, notes: ExtractionNotes) -> Iterator[str]:
    """Text as it is read. Raises DocumentRefused, or whatever a library raises at a damaged file."""
    if kind == "pdf":
        return _pdf(path, notes)
    if kind == "docx":
        return _docx(path, notes)
    readers: dict[Kind, Callable[[Path, str, ExtractionNotes], Iterator[str]]] = {
        "html": _html,
        "markdown": _markdown,
        "table": _table,
        "text": _text,
    }
    return readers[kind](path, encoding, notes)


def _pdf(path: Path, notes: ExtractionNotes) -> Iterator[str]:
    from pypdf import PdfReader

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    reader = PdfReader(path, strict=False)
    if reader.is_encrypted and not _opens(reader.decrypt):
        raise DocumentRefused("it is locked with a password", "Save a copy without the password, and drop that.")
    notes.title = str((reader.metadata.title if reader.metadata else "") or "")
    notes.pages = len(reader.pages)
    blank = bad = 0
    for page in reader.pages:
        try:
            text = page.extract_text()
        except (MemoryError, RecursionError, ValueError, KeyError, TypeError, AttributeError, IndexError, OSError):
            bad += 1
            continue
        except Exception as error:  # pypdf's own tree, which does not cover what it meets
            if type(error).__module__.split(".")[0] != "pypdf":
                raise
            bad += 1
            continue
        blank += not text.strip()
        yield text + "\n\n"
    if blank:
        notes.problems.append(f"{blank} of {notes.pages} pages hold no text; they may be pictures of text.")
    if bad:
        notes.problems.append(f"{bad} of {notes.pages} pages are damaged and were left out.")


def _opens(decrypt: Callable[[str], object]) -> bool:
    """Whether the file opens without a password, as one does that is only locked against changes."""
    try:
        return bool(decrypt(""))
    except Exception:  # a cipher that is not installed, or an odd key: to the person it is locked either way
        return False


def _docx(path: Path, notes: ExtractionNotes) -> Iterator[str]:
    _refuse_bomb(path)
    from docx import Document
    from docx.text.paragraph import Paragraph

    document = Document(str(path))
    for span in document.element.iter(f"{_WORD}gridSpan"):  # python-docx lists a cell once for every column
        if not 0 < len(columns := span.get(f"{_WORD}val", "")) <= 2 or not columns.isdecimal():
            span.set(f"{_WORD}val", "1")
    notes.title = str(document.core_properties.title or "")
    for block in document.iter_inner_content():
        yield (block.text + "\n") if isinstance(block, Paragraph) else "".join(_rows(block))


def _rows(table: Table) -> Iterator[str]:
    for row in table.rows:
        cells = list(dict.fromkeys(cell.text.strip() for cell in row.cells))  # a merged cell comes once a column
        yield " | ".join(cells) + "\n"


def _refuse_bomb(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        size = sum(member.file_size for member in members)
    if size > UNPACKED or len(members) > MEMBERS:
        raise DocumentRefused(
            f"it would unpack to {size // MEGABYTES:,} MB in {len(members):,} parts", "Save it in parts."
        )


def _html(path: Path, encoding: str, notes: ExtractionNotes) -> Iterator[str]:
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(path.read_bytes().decode(encoding, "replace"))
    title = tree.css_first("title")
    notes.title = title.text() if title else ""
    for node in tree.css(_SILENT):
        node.decompose()
    for node in tree.css("td,th"):
        node.insert_before(" ")
    for node in tree.css(_BLOCKS):
        _apart(node)
    yield tree.body.text() if tree.body else ""


def _apart(node: LexborNode) -> None:
    """A block begins and ends a line; words within one do not."""
    node.insert_before("\n")
    node.insert_after("\n")


def _markdown(path: Path, encoding: str, notes: ExtractionNotes) -> Iterator[str]:
    first = True
    for piece in _text(path, encoding, notes):
        heading = _HEADING.search(piece) if first else None
        notes.title = heading.group(1) if heading else notes.title
        first = False
        yield piece


def _table(path: Path, encoding: str, notes: ExtractionNotes) -> Iterator[str]:
    """Each row is a line that names its columns, so that a passage can be understood alone."""
    with path.open("rb") as file:
        head = file.read(HEAD)
        look = table_in(decoded(head, encoding), len(head) < HEAD)
        if look is None:
            yield from _text(path, encoding, notes)
            return
        file.seek(0)
        odd = 0
        for row in table_rows(file, encoding, look):
            if row.problem:
                odd += 1
                continue
            notes.pages += 1
            yield "; ".join(f"{name}: {value}" for name, value in row.values.items() if value not in ("", None)) + "\n"
    if odd:
        notes.problems.append(f"{odd} rows have too few or too many cells and were left out.")


def _text(path: Path, encoding: str, notes: ExtractionNotes) -> Iterator[str]:
    with path.open("rb") as file:
        lines = text_lines(file, encoding)
        while piece := lines.read(PIECE):
            yield piece

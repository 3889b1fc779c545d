"""What a file is, told from its bytes; its name decides nothing."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from chatlab.errors import DocumentRefused, FormatRefused
from chatlab.formats.containers.table import TableLook, table_look
from chatlab.formats.containers.text import HEAD, decoded, encoding_of
from chatlab.retrieval.document import Kind
from chatlab.system.lines import split_lines

SAVE_AS = "Save it as PDF, Word (.docx) or text."
_OTHERS = (
    (b"\xd0\xcf\x11\xe0", "an old Office file, or an Office file with a password", SAVE_AS),
    (b"{\\rtf", "an RTF file", SAVE_AS),
    (b"\x1f\x8b", "a gzip archive", "Unpack it, and add the files in it."),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "Unpack it, and add the files in it."),
    (b"BZh", "a bzip2 archive", "Unpack it, and add the files in it."),
    (b"7z\xbc\xaf", "a 7-Zip archive", "Unpack it, and add the files in it."),
    (b"\x89PNG", "a picture", "Only text can be read. Run it through text recognition first."),
    (b"\xff\xd8\xff", "a picture", "Only text can be read. Run it through text recognition first."),
    (b"GIF8", "a picture", "Only text can be read. Run it through text recognition first."),
    (b"SQLite format 3\x00", "a database", "Export the table as CSV."),
    (b"PAR1", "a Parquet file", "Export it as CSV. Demonstrations are imported in the Demonstrations tab."),
)
_ZIPPED = (
    ("word/document.xml", "docx", ""),
    ("xl/workbook.xml", "", "an Excel workbook"),
    ("ppt/presentation.xml", "", "a PowerPoint file"),
    ("mimetype", "", "an OpenDocument file or an e-book"),
)
_HTML = re.compile(r"<(?:!doctype\s+html|html|head|body)[\s>]", re.IGNORECASE)
_TAG = re.compile(r"</?(?:p|div|h[1-6]|ul|ol|li|table|span|a|br|title)\b[^>]*>", re.IGNORECASE)
_MARKDOWN = re.compile(r"^(?:#{1,6} \S|```|[-*+] \[[ x]\] |\[[^\]]+\]: )|\[[^\]\n]+\]\([^)\s]+\)", re.MULTILINE)


def kind_of(path: Path) -> tuple[Kind, str]:
    """The kind, and for text its encoding. Raises DocumentRefused, which says why after the file's name."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if b"%PDF-" in head[:1024]:
        return "pdf", ""
    if head.startswith(b"PK\x03\x04"):
        return _zipped(path), ""
    for magic, what, hint in _OTHERS:
        if head.startswith(magic):
            raise DocumentRefused(f"it is {what}", hint)
    if not head.strip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n"):
        raise DocumentRefused("it is empty", "Choose a file that holds text.")
    encoding = _encoding(head)
    return _kind_of_text(decoded(head, encoding), len(head) < HEAD), encoding


def table_in(text: str, whole: bool) -> TableLook | None:
    """How the table is written that `text` begins; None unless nearly every line has as many cells."""
    look = table_look(text, frozenset(), whole)
    if look is None:
        return None
    lines = [line for line in split_lines(text) if line.strip()]
    lines = lines[:50] if whole or len(lines) < 2 else lines[:50][:-1]
    counts = [line.count(look.delimiter) for line in lines if '"' not in line]
    regular = sum(count == len(look.columns) - 1 for count in counts)
    return look if len(lines) >= 3 and regular >= 0.9 * len(counts) else None


def _encoding(head: bytes) -> str:
    try:
        return encoding_of("it", head)
    except FormatRefused as error:
        raise DocumentRefused(
            "it is no document that can be read", "PDF, Word (.docx), HTML, Markdown, text and CSV can."
        ) from error


def _kind_of_text(text: str, whole: bool) -> Kind:
    start = text.lstrip("\ufeff \t\r\n")[:4000]
    if _HTML.search(start) or (start.startswith("<") and len(_TAG.findall(start)) >= 2):
        return "html"
    if table_in(text, whole):
        return "table"
    return "markdown" if len(_MARKDOWN.findall(text)) >= 2 or text.startswith("# ") else "text"


def _zipped(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            members = set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DocumentRefused(f"it is damaged: {error}", "Get the file again.") from error
    for member, kind, what in _ZIPPED:
        if member in members:
            if kind == "docx":
                return "docx"
            raise DocumentRefused(f"it is {what}", SAVE_AS)
    raise DocumentRefused("it is a ZIP archive", "Unpack it, and add the files in it.")

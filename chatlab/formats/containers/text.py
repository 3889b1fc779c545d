"""Bytes to text: which encoding a file is in, whether it is text at all, and its lines with a cap on their length."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from chatlab.errors import FormatRefused
from chatlab.formats.row import LONGEST, MEBIBYTE

HEAD = 256 * 1024
"""Bytes that are looked at to tell what a file is."""
PIECE = MEBIBYTE // 4

_BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_OTHERS = (
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", "Unpack it, or save the sheet as CSV."),
    (b"\x1f\x8b", "a gzip archive", "Unpack it first."),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "Unpack it first."),
    (b"BZh", "a bzip2 archive", "Unpack it first."),
    (b"%PDF", "a PDF", "Documents go into Knowledge."),
    (b"SQLite format 3\x00", "a database", "Export the table as CSV."),
    (b"ARROW1", "an Arrow file", "Save it as Parquet or JSON lines."),
)
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x7f]")


def head_of(path: Path) -> bytes:
    """Raises FormatRefused if the file is not there or holds nothing."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise FormatRefused(f"{path.name} cannot be read: {error.strerror}.", "Choose the file again.") from error
    if not head.strip(b"\xef\xbb\xbf\xff\xfe \t\r\n"):
        raise FormatRefused(f"{path.name} is empty.", "Choose a file that holds rows.")
    return head


def encoding_of(name: str, head: bytes) -> str:
    """The encoding of a file that begins with `head`. Raises FormatRefused for what is no text."""
    for magic, kind, hint in _OTHERS:
        if head.startswith(magic):
            raise FormatRefused(f"{name} is {kind}.", hint)
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return encoding
    if encoding := _unmarked_utf16(head):
        return encoding
    if len(_CONTROLS.findall(head)) > len(head) // 50:
        raise FormatRefused(f"{name} is not a text file.", "Choose JSON, JSON lines, CSV, TSV or Parquet.")
    return "utf-8" if _is_utf8(head) else "cp1252"


def _unmarked_utf16(head: bytes) -> str:
    """UTF-16 of mostly Latin letters: every other byte is zero."""
    half = max(1, len(head) // 2)
    even, odd = head[0::2].count(0) / half, head[1::2].count(0) / half
    if odd > 0.6 and even < 0.1:
        return "utf-16-le"
    return "utf-16-be" if even > 0.6 and odd < 0.1 else ""


def _is_utf8(head: bytes) -> bool:
    """A single stray byte does not make a file Windows-1252; a row refuses it."""
    wrong = len(re.findall("[\udc80-\udcff]", head[: HEAD - 3].decode("utf-8", "surrogateescape")))
    letters = len(re.findall(rb"[\xc2-\xf4][\x80-\xbf]", head))
    return wrong == 0 or wrong < letters


def decoded(head: bytes, encoding: str) -> str:
    """A file's beginning as text, without its byte order mark; a character that was cut through is left out."""
    return head.decode(encoding, "ignore").removeprefix("\ufeff")


def text_lines(file: BinaryIO, encoding: str) -> io.TextIOWrapper:
    """Line ends stay as they are. Bytes that are no text become lone surrogates, which a row refuses."""
    wide = encoding.startswith(("utf-16", "utf-32"))
    return io.TextIOWrapper(file, encoding, errors="surrogatepass" if wide else "surrogateescape", newline="")


def utf8_lines(file: BinaryIO, encoding: str) -> Iterator[bytes | None]:
    """Each line as UTF-8; None for one that is too long, which is passed over."""
    if not encoding.startswith("utf-8"):
        with text_lines(file, encoding) as text:
            yield from _recoded_lines(text)
        return
    first = True
    while line := file.readline(LONGEST):
        if first:
            line, first = line.removeprefix(b"\xef\xbb\xbf"), False
        if line.endswith(b"\n") or len(line) < LONGEST:
            yield line
            continue
        _pass_over(file)
        yield None


def utf8_pieces(file: BinaryIO, encoding: str) -> Iterator[bytes]:
    """The whole file as UTF-8, a piece at a time."""
    if encoding.startswith("utf-8"):
        while piece := file.read(PIECE):
            yield piece
        return
    with text_lines(file, encoding) as text:
        while part := text.read(PIECE):
            yield part.encode("utf-8", "surrogatepass")


def _recoded_lines(text: io.TextIOWrapper) -> Iterator[bytes | None]:
    while line := text.readline(LONGEST):
        if len(line) < LONGEST or line.endswith("\n"):
            yield line.encode("utf-8", "surrogatepass")
            continue
        while (more := text.readline(LONGEST)) and not more.endswith("\n"):
            pass
        yield None


def _pass_over(file: BinaryIO) -> None:
    while (more := file.readline(LONGEST)) and not more.endswith(b"\n"):
        pass

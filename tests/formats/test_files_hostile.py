"""Documents and data sets that somebody damaged or made to do harm: each ends in words or in rows, soon and small."""

from __future__ import annotations

import random
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from chatlab.errors import ChatlabError, DocumentRefused
from chatlab.formats import FORMATS, DatasetReader, sniff, write
from chatlab.records import Demonstration, Message
from chatlab.retrieval.reading.client import DocumentReader
from chatlab.retrieval.reading.worker import MEMORY
from tests.support.documents import pdf, with_body, word

SOON = 60.0
"""Seconds that a trap may take at most, on a busy machine."""
W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


@pytest.fixture
def reader() -> Iterator[DocumentReader]:
    opened = DocumentReader(seconds=SOON)
    yield opened
    opened.close()


def outcome(reader: DocumentReader, path: Path) -> str:
    """`text` or `refused`; anything else is raised."""
    try:
        reader.read(path, path.name)
    except DocumentRefused as error:
        assert str(error).startswith(path.name) and error.hint
        return "refused"
    return "text"


def damaged(data: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, taken out, put in, doubled or cut off."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 30))):
        found = found or bytearray(b"\0")
        at, size = rng.randrange(len(found)), rng.choice((1, 2, 4, 16, 200))
        match rng.randrange(6):
            case 0:
                found[at] = rng.randrange(256)
            case 1:
                found[at : at + size] = rng.randbytes(size)
            case 2:
                del found[at : at + size]
            case 3:
                found[at:at] = found[at : at + size] * rng.choice((1, 3, 50))
            case 4:
                found[at : at + size] = rng.choice((b"\0", b"\xff", b"9", b"(", b"<", b'"', b"[")) * size
            case _:
                del found[at + size :]
    return bytes(found)


def documents(folder: Path) -> list[Path]:
    (folder / "page.html").write_text("<html><title>A</title><body><p>One<p>Two<table><tr><td>3</table>", "utf-8")
    (folder / "notes.md").write_text("# Fox\n\n- [ ] one\n- [x] two\n\n[a](b)\n" * 20, "utf-8")
    (folder / "table.csv").write_text("name,age\n" + '"a, b",3\n' * 40, "utf-8")
    (folder / "old.txt").write_bytes("Füchse bellen.\n".encode("cp1252") * 30)
    (folder / "wide.txt").write_text("Füchse bellen.\n" * 30, "utf-16")
    return [
        pdf(folder / "letter.pdf", "Dear fox.", "Yours.", title="A letter"),
        word(folder / "letter.docx", "Dear fox.", "Yours."),
        *(folder / name for name in ("page.html", "notes.md", "table.csv", "old.txt", "wide.txt")),
    ]


def fuzzed_documents(reader: DocumentReader, folder: Path, each: int) -> dict[str, int]:
    rng, found = random.Random(15), {"text": 0, "refused": 0}
    for whole in documents(folder):
        data = whole.read_bytes()
        for _ in range(each):
            odd = folder / f"odd{whole.suffix}"
            odd.write_bytes(damaged(data, rng))
            found[outcome(reader, odd)] += 1
    return found


def fuzzed_data(folder: Path, each: int, kinds: Callable[[str], bool]) -> dict[str, int]:
    rng, found = random.Random(16), {"rows": 0, "refused": 0}
    turns = (Message(role="user", content='Say "hi", fox'), Message(role="assistant", content="hi\nho"))
    for format in FORMATS:
        if not kinds(format.packed):
            continue
        whole = write(folder / f"whole-{format.name}", [Demonstration(messages=turns)] * 20, format).path
        data = whole.read_bytes()
        for _ in range(each):
            odd = folder / "odd"
            odd.write_bytes(damaged(data, rng))
            try:
                list(DatasetReader(odd, sniff(odd)))
                found["rows"] += 1
            except ChatlabError as error:
                assert str(error)
                found["refused"] += 1
    return found


def test_documents_with_bytes_changed_are_read_or_refused(reader: DocumentReader, tmp_path: Path) -> None:
    print(fuzzed_documents(reader, tmp_path, 20))


def test_data_sets_with_bytes_changed_are_read_or_refused(tmp_path: Path) -> None:
    print(fuzzed_data(tmp_path, 15, lambda packed: packed != "parquet"))


@pytest.mark.slow
def test_thousands_of_documents_with_bytes_changed_are_read_or_refused(reader: DocumentReader, tmp_path: Path) -> None:
    print(fuzzed_documents(reader, tmp_path, 500))


@pytest.mark.slow
def test_thousands_of_data_sets_with_bytes_changed_are_read_or_refused(tmp_path: Path) -> None:
    print(fuzzed_data(tmp_path, 400, lambda packed: packed != "parquet"))
    print("parquet", fuzzed_data(tmp_path, 150, lambda packed: packed == "parquet"))


# ---- traps ----


def made_pdf(path: Path, *objects: bytes, trailer: bytes = b"/Root 1 0 R") -> Path:
    """Numbered objects, in order, with a table of where they are."""
    data, places = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    end = b"trailer\n<< /Size %d %s >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, trailer, len(data))
    path.write_bytes(data + head + table + end)
    return path


def stream(data: bytes, entries: bytes = b"") -> bytes:
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(data), entries, data)


CATALOG, PAGES = b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"


def page(more: bytes = b"/Contents 4 0 R") -> bytes:
    return b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] %s >>" % more


def flate(data: bytes, times: int = 1, more: bytes = b"") -> bytes:
    for _ in range(times):
        data = zlib.compress(data, 9)
    return stream(data, b"/Filter [%s] %s" % (b"/FlateDecode " * times, more))


def zeros(megabytes: int) -> bytes:
    packer = zlib.compressobj(9)
    parts = [packer.compress(b"\0" * (1 << 20)) for _ in range(megabytes)]
    return b"".join([*parts, packer.flush()])


def pdf_traps() -> dict[str, Callable[[Path], Path]]:
    loop = b"<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 1000000000 >>"
    many = b"<< /Type /Pages /Kids [%s] /Count 30000 >>" % (b"3 0 R " * 30_000)
    form = b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /A 5 0 R >> >>"
    uses = page(b"/Contents 4 0 R /Resources << /XObject << /A 5 0 R >> >>")
    image = b"/Subtype /Image /Width 2000000000 /Height 2000000000 /BitsPerComponent 8 /Filter /JBIG2Decode"
    once, inner = b"/Filter /FlateDecode", b"/Type /ObjStm /N 1000000 /First 10 /Filter /FlateDecode"
    return {
        "kids of themselves": lambda to: made_pdf(to, CATALOG, loop),
        "the same page thirty thousand times": lambda to: made_pdf(to, CATALOG, many, page(), stream(b"BT ET")),
        "a parent that is a child": lambda to: made_pdf(
            to, CATALOG, PAGES, b"<< /Type /Pages /Kids [2 0 R] /Parent 3 0 R /Count 1 >>"
        ),
        "a form within itself": lambda to: made_pdf(
            to, CATALOG, PAGES, uses, stream(b"/A Do"), stream(b"/A Do /A Do", form)
        ),
        "a stream that unpacks to much": lambda to: made_pdf(to, CATALOG, PAGES, page(), stream(zeros(150), once)),
        "a stream packed twice": lambda to: made_pdf(
            to, CATALOG, PAGES, page(), stream(zlib.compress(zeros(300)), b"/Filter [/FlateDecode /FlateDecode]")
        ),
        "an object stream that grows": lambda to: made_pdf(to, CATALOG, PAGES, page(), stream(zeros(150), inner)),
        "a length that is itself": lambda to: made_pdf(
            to, CATALOG, PAGES, page(), b"<< /Length 4 0 R >>\nstream\nBT ET\nendstream"
        ),
        "a table before itself": lambda to: made_pdf(
            to, CATALOG, PAGES, page(), stream(b"BT ET"), trailer=b"/Root 1 0 R /Prev 400"
        ),
        "arrays without end": lambda to: made_pdf(to, b"[" * 200_000, PAGES),
        "names in names": lambda to: made_pdf(to, b"<< /A " * 100_000, PAGES),
        "a picture that unpacks to much": lambda to: made_pdf(
            to, CATALOG, PAGES, uses, stream(b"/A Do"), stream(b"\0" * 99, image)
        ),
        "a form to fill in": lambda to: made_pdf(
            to,
            b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /XFA 5 0 R >> >>",
            PAGES,
            page(),
            stream(b"BT ET"),
            stream(b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'),
        ),
        "a cipher without a key": lambda to: made_pdf(
            to,
            CATALOG,
            PAGES,
            page(),
            stream(b"BT ET"),
            trailer=b"/Root 1 0 R /Encrypt << /Filter /Standard /V 5 /R 6 /O () /U () /P -1 >> /ID [() ()]",
        ),
        "a million brackets of text": lambda to: made_pdf(
            to, CATALOG, PAGES, page(), flate(b"BT " + b"(x) Tj [" * 200_000 + b" ET")
        ),
        "a font map of everything": lambda to: made_pdf(
            to,
            CATALOG,
            PAGES,
            page(b"/Contents 4 0 R /Resources << /Font << /F << /Type /Font /ToUnicode 5 0 R >> >> >>"),
            stream(b"BT /F 9 Tf (x) Tj ET"),
            stream(
                b"begincmap 1 begincodespacerange <00000000> <ffffffff> endcodespacerange "
                b"1 beginbfrange <00000000> <ffffffff> <0041> endbfrange endcmap"
            ),
        ),
    }


SAID = b"BT /F 9 Tf (Dear fox) Tj ET"
FONT = b"/Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica %s >> >>"


def sound_pdfs() -> dict[str, Callable[[Path], Path]]:
    """What the traps are made of, put together as it is meant to be."""
    plain = page(b"/Contents 4 0 R /Resources << " + FONT % b"" + b" >>")
    form = b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << " + FONT % b"" + b" >>"
    uses = page(b"/Contents 4 0 R /Resources << /XObject << /A 5 0 R >> >>")
    mapped = page(b"/Contents 4 0 R /Resources << " + FONT % b"/ToUnicode 5 0 R" + b" >>")
    letters = b"".join(b"<%02x> <%04x> " % (code, code) for code in SAID)
    return {
        "a page": lambda to: made_pdf(to, CATALOG, PAGES, plain, stream(SAID)),
        "a stream packed once": lambda to: made_pdf(to, CATALOG, PAGES, plain, flate(SAID)),
        "a stream packed twice": lambda to: made_pdf(to, CATALOG, PAGES, plain, flate(SAID, 2)),
        "a form": lambda to: made_pdf(to, CATALOG, PAGES, uses, stream(b"/A Do"), stream(SAID, form)),
        "a length in an object of its own": lambda to: made_pdf(
            to, CATALOG, PAGES, plain, b"<< /Length 5 0 R >>\nstream\n%s\nendstream" % SAID, b"%d" % len(SAID)
        ),
        "pages within pages": lambda to: made_pdf(
            to,
            CATALOG,
            b"<< /Type /Pages /Kids [5 0 R] /Count 1 >>",
            plain,
            stream(SAID),
            b"<< /Type /Pages /Kids [3 0 R] /Parent 2 0 R /Count 1 >>",
        ),
        "a font map": lambda to: made_pdf(
            to,
            CATALOG,
            PAGES,
            mapped,
            stream(SAID),
            stream(
                b"begincmap 1 begincodespacerange <00> <ff> endcodespacerange "
                b"%d beginbfchar %s endbfchar endcmap" % (len(SAID), letters)
            ),
        ),
    }


SOUND = sound_pdfs()


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_document_made_as_the_traps_are_is_read(name: str, reader: DocumentReader, tmp_path: Path) -> None:
    path = SOUND[name](tmp_path / "sound.pdf")
    assert "Dear fox" in reader.read(path, path.name)[1]


def docx_traps() -> dict[str, Callable[[Path], Path]]:
    def body(xml: str) -> Callable[[Path], Path]:
        return lambda to: with_body(to, xml.encode())

    def said(words: str) -> str:
        return f'<w:document xmlns:w="{W}"><w:body><w:p><w:r><w:t>{words}</w:t></w:r></w:p></w:body></w:document>'

    nested = "<w:tbl><w:tr><w:tc>" * 3000 + "</w:tc></w:tr></w:tbl>" * 3000
    squared = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 50}">' for n in range(1, 5))
    return {
        "a file from outside": body(f'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>{said("[&a;]")}'),
        "an address from outside": body(f'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x">{said("x")}'),
        "entities squared": body(f'<!DOCTYPE x [<!ENTITY a0 "{"x" * 10_000}">{squared}]>{said("&a4;")}'),
        "tables in tables": body(f'<w:document xmlns:w="{W}"><w:body>{nested}</w:body></w:document>'),
        "a span of a billion cells": body(
            f'<w:document xmlns:w="{W}"><w:body><w:tbl><w:tblGrid/><w:tr><w:tc><w:tcPr><w:gridSpan w:val="1000000000"/>'
            "</w:tcPr><w:p/></w:tc></w:tr></w:tbl></w:body></w:document>"
        ),
        "names that lead out": _led_out,
        "the same part twice": _twice,
        "sizes that lie": _lying,
    }


def _led_out(to: Path) -> Path:
    word(to, "Dear fox.")
    with zipfile.ZipFile(to, "a") as archive:
        for name in ("../../evil.txt", "/etc/evil", "C:\\evil", "word/../../evil"):
            archive.writestr(name, "evil")
        link = zipfile.ZipInfo("word/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    return to


def _twice(to: Path) -> Path:
    word(to, "Dear fox.")
    with pytest.warns(UserWarning), zipfile.ZipFile(to, "a") as archive:
        archive.writestr("word/document.xml", "<x/>")
    return to


def _lying(to: Path) -> Path:
    with_body(to, b" " * (1 << 20), times=80)
    data = bytearray(to.read_bytes())
    for sign, place in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        at = -1
        while (at := data.find(sign, at + 1)) >= 0:
            data[at + place : at + place + 4] = (100).to_bytes(4, "little")
    to.write_bytes(data)
    return to


TRAPS = {f"pdf: {name}": make for name, make in pdf_traps().items()}
TRAPS |= {f"docx: {name}": make for name, make in docx_traps().items()}


@pytest.mark.parametrize("name", TRAPS)
def test_a_document_that_is_a_trap_ends_in_words_soon_and_small(
    name: str, reader: DocumentReader, tmp_path: Path
) -> None:
    path = TRAPS[name](tmp_path / f"trap.{name[:4].strip(': ')}")
    before = {child.pid for child in psutil.Process().children()}
    began, peak = time.monotonic(), 0

    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            for child in psutil.Process().children():
                if child.pid not in before:
                    try:
                        peak = max(peak, child.memory_info().rss)
                    except psutil.Error:
                        continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        found = outcome(reader, path)
    finally:
        done.set()
        watcher.join()
    print(f"{name}: {found}, {time.monotonic() - began:.1f} s, {peak >> 20} MB")
    assert peak <= MEMORY and time.monotonic() - began < SOON
    assert "root:" not in (reader.read(path, path.name)[1] if found == "text" else "")
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name]
    assert not Path("/etc/evil").exists()

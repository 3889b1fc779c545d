"""Reading documents: what is read of each kind of file, and what becomes of traps."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pypdf import PdfWriter

from chatlab.errors import DocumentRefused
from chatlab.retrieval.reading.client import DocumentReader
from tests.support.documents import pdf, with_body, word


@pytest.fixture(scope="module")
def reader() -> Iterator[DocumentReader]:
    reader = DocumentReader()
    yield reader
    reader.close()


def read(reader: DocumentReader, path: Path) -> tuple[str, str, str, tuple[str, ...]]:
    info, text = reader.read(path, path.name)
    return info.kind, info.title, text, info.problems


def refusal(reader: DocumentReader, path: Path) -> str:
    with pytest.raises(DocumentRefused) as refused:
        reader.read(path, path.name)
    assert str(refused.value).startswith(path.name) and refused.value.hint
    return str(refused.value)


def test_each_kind_of_file_is_told_by_its_content_whatever_it_is_called(reader: DocumentReader, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(
        "<!doctype html><title>Lamps &amp; light</title><script>x()</script><p>The <b>brass</b> lamp.<p>Two.", "utf-8"
    )
    (tmp_path / "b.pdf").write_text("# Tides\n\nHigh at six.\n\n- [x] seen\n- [y](http://z)\n", "utf-8")
    (tmp_path / "c.docx").write_text('name,born\nAda,1815\n"Hopper, Grace",1906\nAlan,1912\n', "utf-8")
    (tmp_path / "d.html").write_bytes("Grüße aus Köln, mit Umlauten.\r\nZweite Zeile".encode("cp1252"))
    pdf(tmp_path / "e.md", "Moor at the outer pier.", title="Harbour rules")
    word(tmp_path / "f.csv", "Boats over nine metres pay.", title="Fees")
    found = {path.name: read(reader, path) for path in sorted(tmp_path.iterdir())}
    assert found["a.txt"][:3] == ("html", "Lamps & light", "The brass lamp.\n\nTwo.")
    assert found["b.pdf"][:2] == ("markdown", "Tides")
    assert found["c.docx"][0] == "table" and "name: Hopper, Grace; born: 1906" in found["c.docx"][2]
    assert found["d.html"][:3] == ("text", "d", "Grüße aus Köln, mit Umlauten.\nZweite Zeile")
    assert found["e.md"][:3] == ("pdf", "Harbour rules", "Moor at the outer pier.")
    assert found["f.csv"][:3] == ("docx", "Fees", "Boats over nine metres pay.")


def test_prose_with_commas_is_no_table(reader: DocumentReader, tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Ada,\n\nyes, it rains, and hails, here.\nCome soon, all is well.\n\nYours, Grace\n", "utf-8")
    assert read(reader, path)[0] == "text"


def test_passages_are_places_in_the_text_and_overlap(reader: DocumentReader, tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("".join(f"Sentence number {n} says ünïcode 漢字 things of its own. " for n in range(300)), "utf-8")
    info, text = reader.read(path, path.name)
    assert len(info.spans) > 5 and info.characters == len(text)
    for one, next_one in zip(info.spans, info.spans[1:], strict=False):
        assert one.start < next_one.start < one.end < next_one.end
        assert text.encode()[: one.at].decode() == text[: one.start]
    assert info.spans[-1].end == len(text)


def test_pages_without_text_are_told(reader: DocumentReader, tmp_path: Path) -> None:
    _, _, text, problems = read(reader, pdf(tmp_path / "scan.pdf", "One page of words.", "", ""))
    assert text == "One page of words." and "2 of 3 pages hold no text" in problems[0]
    assert "no text was found: 1 of 1 pages hold no text" in refusal(reader, pdf(tmp_path / "all.pdf", ""))


def test_a_locked_pdf_is_refused_and_one_locked_against_changes_only_is_read(
    reader: DocumentReader, tmp_path: Path
) -> None:
    assert "locked with a password" in refusal(reader, pdf(tmp_path / "locked.pdf", "Secret.", password="x"))
    writer = PdfWriter(clone_from=pdf(tmp_path / "open.pdf", "Anyone may read."))
    writer.encrypt("", owner_password="o", algorithm="RC4-128")
    writer.write(tmp_path / "owner.pdf")
    assert read(reader, tmp_path / "owner.pdf")[2] == "Anyone may read."


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("empty.txt", b"", "empty"),
        ("blank.txt", b" \n\n ", "empty"),
        ("noise.txt", bytes(range(256)) * 40, "no document"),
        ("old.doc", b"\xd0\xcf\x11\xe0\xa1\xb1" + b"\0" * 600, "old Office file"),
        ("cut.pdf", b"%PDF-1.7\n1 0 obj << /Type /Catalog", "damaged"),
        ("cut.docx", b"PK\x03\x04" + b"\0" * 60, "damaged"),
        ("letter.rtf", b"{\\rtf1 hello}", "RTF"),
        ("photo.txt", b"\x89PNG\r\n\x1a\n", "picture"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(
    reader: DocumentReader, tmp_path: Path, name: str, data: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(data)
    assert said in refusal(reader, tmp_path / name)


def test_a_file_that_is_gone_is_refused(reader: DocumentReader, tmp_path: Path) -> None:
    assert "cannot be opened" in refusal(reader, tmp_path / "gone.txt")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(reader: DocumentReader, tmp_path: Path) -> None:
    bomb = with_body(tmp_path / "bomb.docx", b" " * (1 << 20), times=420)
    assert bomb.stat().st_size < 5 << 20
    assert "would unpack to" in refusal(reader, bomb)


def test_a_billion_laughs_stay_a_few(reader: DocumentReader, tmp_path: Path) -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    said = "<w:body><w:p><w:r><w:t>Before &l9; after</w:t></w:r></w:p></w:body>"
    body = f'<!DOCTYPE x [<!ENTITY l0 "ha">{laughs}]><w:document xmlns:w="{space}">{said}</w:document>'
    path = with_body(tmp_path / "laughs.docx", body.encode())
    try:
        _, _, text, _ = read(reader, path)
        assert len(text) < 1000
    except DocumentRefused as refused:
        assert "damaged" in str(refused) or "memory" in str(refused)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_file_that_takes_too_long_is_given_up_and_the_next_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless.txt")
    (tmp_path / "next.txt").write_text("All is well.", "utf-8")
    reader = DocumentReader(seconds=1.5)
    try:
        assert "took too long" in refusal(reader, tmp_path / "endless.txt")
        reader._seconds = 60.0  # on a busy machine another process takes its time to begin
        assert read(reader, tmp_path / "next.txt")[2] == "All is well."
    finally:
        reader.close()


def test_deep_html_and_endless_lines_do_no_harm(reader: DocumentReader, tmp_path: Path) -> None:
    (tmp_path / "deep.html").write_text("<html>" + "<div>" * 4_000 + "deep down", "utf-8")
    (tmp_path / "line.txt").write_text("x" * 400_000, "utf-8")
    (tmp_path / "open.csv").write_text('a,b\n1,2\n3,4\n5,"' + "y," * 100_000, "utf-8")
    for path in sorted(tmp_path.iterdir()):
        try:
            info, _ = reader.read(path, path.name)
            assert info.spans
        except DocumentRefused as refused:
            assert refused.hint


def test_control_characters_and_lone_surrogates_are_left_out(reader: DocumentReader, tmp_path: Path) -> None:
    (tmp_path / "odd.txt").write_bytes(b"A word\x00 and \x1b[31manother\xff one, enough of them to be text.")
    text = read(reader, tmp_path / "odd.txt")[2]
    assert text.encode() and "\x00" not in text and "\x1b" not in text


def test_a_very_long_file_is_read_up_to_a_limit_and_says_so(reader: DocumentReader, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_bytes(b"A line of plain words that goes on.\n" * 900_000)
    info, text = reader.read(tmp_path / "long.txt", "long.txt")
    assert len(text) <= 30_000_000 and "Only the first 30,000,000" in info.problems[0]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps to such limits")
def test_the_reading_process_has_its_memory_limited(reader: DocumentReader, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Something to begin with.", "utf-8")
    reader.read(tmp_path / "a.txt", "a.txt")
    assert reader._process is not None
    soft, _ = resource.prlimit(reader._process.pid, resource.RLIMIT_AS)
    assert soft == 2 << 30

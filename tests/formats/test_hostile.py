"""Whatever bytes a file holds, reading it gives rows, refusals or an error that a person can act on; nothing else."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatlab.errors import ChatlabError, FormatRefused
from chatlab.formats import DatasetReader, Imported, Outcome, Prompt, Refused, proposed, sniff
from chatlab.records import Demonstration, Message, Preference

PIECES = st.sampled_from(
    [
        *(
            b"[",
            b"]",
            b"{",
            b"}",
            b'"',
            b",",
            b":",
            b"\\",
            b"\n",
            b"\r",
            b"\t",
            b";",
            b"'",
            b"\x00",
            b"\xff\xfe",
            b"\xef\xbb\xbf",
        ),
        *(b"PAR1", b"NaN", b"1e999", b"null", b"true", b'"messages"', b'"role"', b'"user"', b'"content"', b'"prompt"'),
        *(
            b'"completion"',
            b'"chosen"',
            b'"rejected"',
            b'"label"',
            b'"chatlab"',
            b"prompt,answer\n",
            b'"a","b"\n',
            b"\\ud800",
        ),
        b'{"prompt":"a","completion":"b"}',
        b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}',
        b'{"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b"}]}',
        b'{"prompt":"\\n\\nHuman: a","chosen":"b","rejected":"c"}',
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "from", "value", "input", "output", "source", "tags"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
NAMES = ["messages", "conversations", "prompt", "completion", "chosen", "rejected", "label", "instruction", "input"]
ROWS = st.dictionaries(
    st.sampled_from([*NAMES, "output", "instances", "history", "system", "tags", "chatlab"]), JSON, max_size=5
)
FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


def outcomes(path: Path) -> list[Outcome]:
    """Everything a file gives, read as it was sniffed; none where it is refused as a whole."""
    try:
        return list(DatasetReader(path, sniff(path)))
    except ChatlabError as error:
        assert str(error) and error.hint
        return []


def given_bytes(tmp_path: Path, data: bytes, name: str = "file.jsonl") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def check(found: list[Outcome]) -> None:
    for one in found:
        if isinstance(one, Refused):
            assert one.line > 0 and one.reason.endswith((".", "?"))
        elif isinstance(one.record, Demonstration):
            assert one.record.answer.strip()
        elif isinstance(one.record, Prompt):
            assert one.record.text.strip()
        else:
            assert isinstance(one.record, Preference) and one.record.chosen != one.record.rejected


@FUZZ
@given(data=st.binary(max_size=300))
def test_any_bytes(data: bytes, tmp_path: Path) -> None:
    check(outcomes(given_bytes(tmp_path, data)))


@FUZZ
@given(pieces=st.lists(PIECES | st.binary(max_size=4), max_size=20))
def test_pieces_of_every_format_in_any_order(pieces: list[bytes], tmp_path: Path) -> None:
    check(outcomes(given_bytes(tmp_path, b"".join(pieces))))


@FUZZ
@given(rows=st.lists(ROWS, min_size=1, max_size=4), packed=st.sampled_from(["lines", "list", "pretty", "wrapped"]))
def test_rows_of_known_names_and_any_values(rows: list[dict[str, Any]], packed: str, tmp_path: Path) -> None:
    ways = {
        "lines": lambda: "\n".join(map(json.dumps, rows)),
        "list": lambda: json.dumps(rows),
        "pretty": lambda: "\n".join(json.dumps(row, indent=1) for row in rows),
        "wrapped": lambda: json.dumps({"data": rows}),
    }
    check(outcomes(given_bytes(tmp_path, ways[packed]().encode("utf-8", "surrogatepass"))))


@FUZZ
@given(
    text=st.text(st.sampled_from("ab,;\t|\"'\r\n=\x00é😀"), max_size=80),
    encoding=st.sampled_from(["utf-8", "utf-16", "utf-16-le"]),
)
def test_any_table_in_any_encoding(text: str, encoding: str, tmp_path: Path) -> None:
    check(outcomes(given_bytes(tmp_path, f"prompt,answer\n{text}".encode(encoding))))


@settings(FUZZ, max_examples=60)
@pytest.mark.slow
@given(at=st.integers(0, 2000), with_=st.binary(min_size=1, max_size=8))
def test_parquet_with_bytes_changed(at: int, with_: bytes, tmp_path: Path) -> None:
    """Each example starts processes, so there are few; some of them end the process that reads."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "file"
    pq.write_table(pa.table({"prompt": ["a"] * 9, "completion": ["b"] * 9}), path)
    data = bytearray(path.read_bytes())
    at %= len(data)
    data[at : at + len(with_)] = with_
    path.write_bytes(data)
    check(outcomes(path))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"prompt": "a", "prompt": "c", "completion": "b"}', "comes twice"),
        (b'{"messages": [{"role": "user", "role": "user", "content": "a"}]}', "comes twice"),
        (b'{"prompt": "a", "completion": "\\ud83d"}', "half of a character"),
        (b'{"prompt": "a", "completion": "\xff"}', "not UTF-8"),
        (b'{"prompt": "a", "completion": "b"', "not JSON"),
        (b'{"prompt": "a\x00", "completion": "b"}', "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'["a", "b"]', "a list"),
        (b'{"prompt": "a", "completion": NaN}', "answer"),
        (b'{"prompt": "a", "completion": ["b", 1]}', "Turn 1"),
        (b'{"prompt": "a", "completion": {"b": 1}}', "Turn 1"),
        (b'{"prompt": "a", "completion": " "}', "answer is empty"),
        (b'{"prompt": " ", "completion": "b"}', "no prompt"),
        (b'{"prompt": true, "completion": "b"}', "not text"),
        (b'{"prompt": "a", "completion": "b", "chatlab": {"status": "sold"}}', "'status' cannot be 'sold'"),
        (b'{"prompt": "a", "completion": "b", "chatlab": 3}', "named values"),
        (b'{"prompt": "a", "completion": "' + b"b" * 9_000_000 + b'"}', "longer than 8 MB"),
    ],
)
def test_a_bad_line_is_refused_by_number_and_the_next_is_read(line: bytes, said: str, tmp_path: Path) -> None:
    good = b'{"prompt": "a", "completion": "b"}'
    path = given_bytes(tmp_path, b"\n".join([good, b"", line, good]))
    first, refused, last = outcomes(path)
    assert isinstance(refused, Refused) and refused.line == 3 and said in refused.reason
    assert isinstance(first, Imported) and isinstance(last, Imported) and last.line == 4


def test_an_empty_file_a_picture_and_an_archive_say_what_they_are(tmp_path: Path) -> None:
    for data, said in (
        (b"", "is empty"),
        (b"\xef\xbb\xbf \n", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4, "not a text file"),
        (b"PK\x03\x04" + b"\x00" * 50, "Excel workbook"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"PAR1 and then nothing", "cannot be read as Parquet"),
        (b"Just some words.\nAnd some more.\n", "no rows"),
        (b"[]", "no row"),
        (b"{}\n{}", "no row"),
    ):
        with pytest.raises(FormatRefused, match=said):
            sniff(given_bytes(tmp_path, data))


def test_a_parquet_file_that_would_unpack_to_a_thousand_times_its_size_is_read_in_little_memory(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    words = pa.DictionaryArray.from_arrays(pa.array([0] * 500, pa.int32()), pa.array(["z" * (1 << 20)]))
    pq.write_table(pa.table({"prompt": words, "completion": words}), tmp_path / "bomb", compression="zstd")
    assert (tmp_path / "bomb").stat().st_size < 10_000
    reading = iter(DatasetReader(tmp_path / "bomb", sniff(tmp_path / "bomb")))
    before = tracemalloc_peak(lambda: [next(reading) for _ in range(3)])
    assert tracemalloc_peak(lambda: [None for _ in range(40) if next(reading) is None]) < 3 * before


def test_a_parquet_row_group_that_is_too_large_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"prompt": ["a" * 4_000_000] * 140, "completion": ["b"] * 140})
    pq.write_table(table, tmp_path / "file", compression="zstd", use_dictionary=False)
    with pytest.raises(FormatRefused, match="unpack to more"):
        sniff(tmp_path / "file")


def varint(value: int, size: int = 0) -> bytes:
    """A thrift integer, in more bytes than it needs where `size` says so."""
    value, found = value << 1, bytearray()
    while value > 0x7F or len(found) + 1 < size:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def test_a_parquet_file_that_lies_about_its_sizes_is_read_in_little_memory(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, words = tmp_path / "file", "a" * 4_000_000
    table = pa.table({"prompt": [words] * 140, "completion": ["b"] * 140})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
    data, papers = path.read_bytes(), pq.read_metadata(path).row_group(0)
    for size in (papers.total_byte_size, papers.column(0).total_uncompressed_size):
        true = varint(size)
        assert true in data
        data = data.replace(true, varint(1000, len(true)))
    path.write_bytes(data)
    assert pq.read_metadata(path).row_group(0).total_byte_size == 1000
    read = iter(DatasetReader(path, sniff(path)))
    assert tracemalloc_peak(lambda: [None for _ in range(10) if next(read) is None]) < 20 * len(words)


def tracemalloc_peak(do: Callable[[], object]) -> int:
    tracemalloc.start()
    do()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_messages_in_a_broken_list_are_read_as_far_as_it_goes(tmp_path: Path) -> None:
    rows = [{"instruction": "a", "output": "b"}, {"instruction": "c", "output": "d"}]
    path = given_bytes(tmp_path, json.dumps(rows).replace('"output": "d"', '"output": oops').encode())
    first, second = outcomes(path)
    assert isinstance(first, Imported) and isinstance(second, Refused) and second.line == 2
    (first, second) = outcomes(given_bytes(tmp_path, json.dumps(rows).encode()[:-8]))
    assert isinstance(first, Imported) and isinstance(second, Refused) and "breaks off" in second.reason


def test_a_part_without_a_column_is_asked_for(tmp_path: Path) -> None:
    from dataclasses import replace

    proposal = sniff(given_bytes(tmp_path, b'{"foo": "a", "bar": "b"}\n'))
    assert not proposal.sure
    assert proposal.columns.of == {"prompt": "foo", "answer": "bar"}
    (kept,) = DatasetReader(tmp_path / "file.jsonl", proposal)
    assert kept == Imported(1, Demonstration(messages=said("a", "b"), source="imported"))
    with pytest.raises(FormatRefused, match="Rejected"):
        DatasetReader(tmp_path / "file.jsonl", replace(proposal, columns=proposed("preference", ("foo",))))


def said(*texts: str) -> tuple[Message, ...]:
    return tuple(Message(role=("user", "assistant")[n % 2], content=text) for n, text in enumerate(texts))

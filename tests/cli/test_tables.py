from __future__ import annotations

import codecs
import csv
from pathlib import Path
from typing import Any

import pytest

from replicate_async.cli.errors import UsageError
from replicate_async.cli.tables import LineSplitter, Rows


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_json_lines_are_inputs_as_they_are(tmp_path: Path) -> None:
    rows = Rows(written(tmp_path, "in.jsonl", '{"prompt": "a"}\n\n{"prompt": "b", "count": 2}'))

    assert list(rows) == [{"prompt": "a"}, {"prompt": "b", "count": 2}]
    assert [place for place, _ in rows.placed()] == ["line 1", "line 3"]


@pytest.mark.parametrize(
    ("line", "said"), [("[1]", "line 2"), ("{", "line 2"), ('{"a": "\\ud800"}', "line 2")]
)
def test_a_line_that_is_not_an_object_is_named(tmp_path: Path, line: str, said: str) -> None:
    rows = iter(Rows(written(tmp_path, "in.jsonl", f'{{"a": 1}}\n{line}\n')))

    assert next(rows) == {"a": 1}
    with pytest.raises(UsageError, match=said):
        next(rows)


MARKED = {
    "utf-8": "",
    "utf-8-sig": "",
    "utf-16": "",
    "utf-16-le": "\ufeff",
    "utf-16-be": "\ufeff",
    "utf-32": "",
    "utf-32-le": "\ufeff",
}


@pytest.mark.parametrize("encoding", MARKED)
def test_tables_of_any_unicode_encoding_are_read(tmp_path: Path, encoding: str) -> None:
    mark = MARKED[encoding]
    table = (mark + "text,id\r\nstra\u00dfe,1\r\n\u65e5\u672c \U0001f600,2\r\n").encode(encoding)
    lines = (mark + '{"text": "stra\u00dfe"}\n{"text": "\u65e5\u672c"}\n').encode(encoding)

    assert list(Rows(written(tmp_path, "in.csv", table))) == [
        {"text": "stra\u00dfe", "id": "1"},
        {"text": "\u65e5\u672c \U0001f600", "id": "2"},
    ]
    assert list(Rows(written(tmp_path, "in.jsonl", lines))) == [
        {"text": "stra\u00dfe"},
        {"text": "\u65e5\u672c"},
    ]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_detected_by_its_zeros(tmp_path: Path, encoding: str) -> None:
    assert list(Rows(written(tmp_path, "in.csv", "text\ncaf\u00e9\n".encode(encoding)))) == [
        {"text": "caf\u00e9"}
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_lines_are_the_same_at_every_cut(encoding: str, size: int) -> None:
    text = "a\n\u65e5\U0001f600\n\nb\r\nlast"
    data, splitter = text.encode(encoding), LineSplitter()

    lines = [
        line for at in range(0, len(data), size) for line in splitter.feed(data[at : at + size])
    ]
    lines += splitter.feed(b"", final=True)

    assert lines == text.split("\n")


def test_a_line_may_be_longer_than_what_is_read_at_once(tmp_path: Path) -> None:
    long = "x" * (3 * 2**20 + 1)
    lines = f'{{"text": "{long}"}}\n{{"text": "y"}}\n'

    assert list(Rows(written(tmp_path, "in.jsonl", lines))) == [{"text": long}, {"text": "y"}]


def test_a_cell_may_have_any_length(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    try:
        csv.field_size_limit(131_072)
        text = "x" * 1_000_000

        assert list(Rows(written(tmp_path, "in.csv", f"text\n{text}\n"))) == [{"text": text}]
    finally:
        csv.field_size_limit(limit)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_header_says_what_separates_cells(tmp_path: Path, delimiter: str) -> None:
    text = f"id{delimiter}text\n1{delimiter}a\n"

    assert list(Rows(written(tmp_path, "in.csv", text))) == [{"id": "1", "text": "a"}]


@pytest.mark.parametrize("rows", [2, 9000])
def test_the_line_that_is_not_text_is_named(tmp_path: Path, rows: int) -> None:
    lines = b'{"a": 1}\n' * rows + b'{"a": "caf\xe9"}\n'

    with pytest.raises(UsageError, match=f"line {rows + 1}: it is not text in UTF-8"):
        list(Rows(written(tmp_path, "in.jsonl", lines)))


def test_two_columns_of_one_name_are_named(tmp_path: Path) -> None:
    for text in ("id,text,text\n1,a,b\n", "\ufeffid,text,text\n"):
        with pytest.raises(UsageError, match=r"in\.csv, line 1: 2 columns are called 'text'"):
            list(Rows(written(tmp_path, "in.csv", text)))


def test_two_columns_of_one_name_are_named_in_parquet(tmp_path: Path) -> None:
    pa: Any = pytest.importorskip("pyarrow", reason="the integrations session installs it")
    parquet = pytest.importorskip("pyarrow.parquet", reason="the integrations session installs it")
    path = tmp_path / "in.parquet"
    parquet.write_table(pa.table([pa.array([1]), pa.array([2])], names=["text", "text"]), path)

    with pytest.raises(UsageError, match="2 columns are called 'text'"):
        list(Rows(path))


def test_rows_of_csv_are_at_the_line_where_they_begin(tmp_path: Path) -> None:
    rows = Rows(written(tmp_path, "in.csv", '\ntext\n"two\nlines"\n\nb,,\n'))

    assert list(rows.placed()) == [
        ("line 3", {"text": "two\nlines"}),
        ("line 6", {"text": "b"}),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n1,2,3\n", "line 3: more cells"),
        (b"a\nb\n\xff\n", "line 3: it is not text in UTF-8"),
        (b"a\n" + b"b\n" * 9000 + b"caf\xe9\n", "line 9002: it is not text in UTF-8"),
        (codecs.BOM_UTF16_LE + "a\nb".encode("utf-16-le") + b"x", "it is not text in UTF-8"),
        ('a\n1\n"open\n2\n', "line 3: unexpected end of data"),
    ],
)
def test_a_broken_table_is_refused_by_its_line(
    tmp_path: Path, text: str | bytes, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        list(Rows(written(tmp_path, "in.csv", text)))


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="the integrations session installs it")
    parquet = pytest.importorskip("pyarrow.parquet", reason="the integrations session installs it")

    path = tmp_path / "in.parquet"
    parquet.write_table(pa.table({"prompt": ["a", None], "count": [1, 2]}), path)

    assert list(Rows(path)) == [{"prompt": "a", "count": 1}, {"prompt": None, "count": 2}]
    with pytest.raises(UsageError, match=r"in\.parquet"):
        list(Rows(written(tmp_path, "in.parquet", b"no parquet")))


@pytest.mark.parametrize("name", ["in.txt", "in"])
def test_a_name_without_a_known_format_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="ends in none of"):
        Rows(written(tmp_path, name, "{}"))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a file"):
        Rows(tmp_path / "in.jsonl")

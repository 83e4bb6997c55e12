from __future__ import annotations

from pathlib import Path

import pytest

from replicate_async.cli.failure import UsageError
from replicate_async.cli.schema import Interface
from replicate_async.cli.tables import Inputs, Rows, SizedInputs, read_map

SCHEMA = {
    "components": {
        "schemas": {
            "Input": {
                "type": "object",
                "properties": {
                    "prompt": {"type": "string"},
                    "count": {"type": "integer"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
            },
            "Output": {"type": "string"},
        }
    }
}
INTERFACE = Interface.read("acme/model", SCHEMA)


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_json_lines_are_inputs_as_they_are(tmp_path: Path) -> None:
    rows = Rows(written(tmp_path, "in.jsonl", '{"prompt": "a"}\n\n{"prompt": "b", "count": 2}'))

    assert list(rows) == [{"prompt": "a"}, {"prompt": "b", "count": 2}]
    assert rows.count() == 3  # lines, of which one is empty: an estimate


@pytest.mark.parametrize(
    ("line", "said"), [("[1]", "line 2"), ("{", "line 2"), ('{"a": "\\ud800"}', "line 2")]
)
def test_a_line_that_is_no_object_is_named(tmp_path: Path, line: str, said: str) -> None:
    rows = iter(Rows(written(tmp_path, "in.jsonl", f'{{"a": 1}}\n{line}\n')))

    assert next(rows) == {"a": 1}
    with pytest.raises(UsageError, match=said):
        next(rows)


def test_cells_of_csv_are_read_by_the_models_schema(tmp_path: Path) -> None:
    text = '\ufefftext,n,labels\n"two\nlines",7,x\nplain,,"[""a"", ""b""]"\n'
    rows = Rows(written(tmp_path, "in.csv", text))
    columns = {"prompt": "text", "count": "n", "tags": "labels"}

    inputs = Inputs(rows, INTERFACE, columns=columns, fixed={})

    assert list(inputs) == [
        {"prompt": "two\nlines", "count": 7, "tags": ["x"]},
        {"prompt": "plain", "tags": ["a", "b"]},
    ]
    assert rows.count() == 2


def test_a_cell_that_is_something_else_is_named(tmp_path: Path) -> None:
    rows = Rows(written(tmp_path, "in.csv", "count\nmany\n"))

    with pytest.raises(UsageError, match="count takes an integer"):
        list(Inputs(rows, INTERFACE, columns={}, fixed={}))


@pytest.mark.parametrize("text", ["a,b\n1,2,3\n", b"a\n\xff\n"])
def test_a_broken_table_is_refused(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(UsageError, match="line"):
        list(Rows(written(tmp_path, "in.csv", text)))


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="the integrations session installs it")
    parquet = pytest.importorskip("pyarrow.parquet", reason="the integrations session installs it")

    path = tmp_path / "in.parquet"
    parquet.write_table(pa.table({"prompt": ["a", None], "count": [1, 2]}), path)

    assert list(Rows(path)) == [{"prompt": "a", "count": 1}, {"prompt": None, "count": 2}]
    assert Rows(path).count() == 2
    with pytest.raises(UsageError, match=r"in\.parquet"):
        list(Rows(written(tmp_path, "in.parquet", b"no parquet")))


def test_constants_are_in_every_input_and_rows_go_before_them(tmp_path: Path) -> None:
    rows = Rows(written(tmp_path, "in.jsonl", '{"prompt": "a"}\n{"prompt": "b", "count": 9}\n'))

    inputs = Inputs(rows, INTERFACE, columns={}, fixed={"count": 1})

    assert list(inputs) == [{"count": 1, "prompt": "a"}, {"count": 9, "prompt": "b"}]


def test_the_number_is_known_where_the_file_says_it(tmp_path: Path) -> None:
    rows = Rows(written(tmp_path, "in.jsonl", '{"prompt": "a"}\n' * 5))

    sized = Inputs(rows, INTERFACE, columns={}, fixed={}, limit=3).sized()

    assert isinstance(sized, SizedInputs)
    assert len(sized) == 3
    assert len(list(sized)) == 3


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    rows = Rows(written(tmp_path, "in.jsonl", '{"text": "a"}\n'))

    with pytest.raises(UsageError, match="no column 'words' for --map; its columns: text"):
        list(Inputs(rows, INTERFACE, columns={"prompt": "words"}, fixed={}))


@pytest.mark.parametrize("name", ["in.txt", "in"])
def test_a_name_that_says_no_format_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="ends in none of"):
        Rows(written(tmp_path, name, "{}"))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        Rows(tmp_path / "in.jsonl")


def test_map_pairs_are_inputs_and_columns() -> None:
    assert read_map(["prompt=text", "n=a=b"]) == {"prompt": "text", "n": "a=b"}
    with pytest.raises(UsageError, match="--map 'prompt'"):
        read_map(["prompt"])

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from replicate_async.cli.errors import UsageError
from replicate_async.cli.input_rows import InputRows, KeyedInput, SizedInputRows, read_map
from replicate_async.cli.tables import Rows
from replicate_async.interface.read import Interface

SCHEMA = {
    "components": {
        "schemas": {
            "Input": {
                "type": "object",
                "properties": {
                    "prompt": {"type": "string"},
                    "count": {"type": "integer"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                    "sizes": {"type": "array", "items": {"type": "integer"}},
                    "loud": {"type": "boolean"},
                    "steps": {"type": "integer", "enum": [1, 4]},
                    "ratio": {"type": "number"},
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


def inputs(path: Path, **options: Any) -> InputRows:
    defaults: dict[str, Any] = {"columns": {}, "fixed": {}}
    return InputRows(Rows(path), INTERFACE, **(defaults | options))


def test_cells_of_csv_are_read_by_the_models_schema(tmp_path: Path) -> None:
    text = '\ufefftext,n,labels\n"two\nlines",7,x\nplain,,"[""a"", ""b""]"\n'
    columns = {"prompt": "text", "count": "n", "tags": "labels"}

    assert list(inputs(written(tmp_path, "in.csv", text), columns=columns)) == [
        {"prompt": "two\nlines", "count": 7, "tags": ["x"]},
        {"prompt": "plain", "tags": ["a", "b"]},
    ]


@pytest.mark.parametrize(
    ("column", "cell", "value"),
    [
        ("count", "1.0", 1),
        ("count", "-3.000", -3),
        ("count", "1e3", 1000),
        ("count", " 7 ", 7),
        ("count", "9007199254740993.0", 9007199254740993),
        ("steps", "4.0", 4),
        ("loud", "1.0", True),
        ("loud", "FALSE", False),
        ("ratio", "1.0", 1.0),
        ("sizes", "[1, 2.0]", [1, 2]),
        ("prompt", "1.0", "1.0"),
    ],
)
def test_a_whole_number_may_be_written_as_a_tool_writes_it(
    tmp_path: Path, column: str, cell: str, value: object
) -> None:
    (made,) = inputs(written(tmp_path, "in.csv", f'{column}\n"{cell}"\n'))

    assert made == {column: value}
    assert type(made[column]) is type(value)


@pytest.mark.parametrize(
    ("row", "value"),
    [
        ('{"count": 2.0}', {"count": 2}),
        ('{"sizes": [1.0, 2]}', {"sizes": [1, 2]}),
        ('{"ratio": 2}', {"ratio": 2}),
        ('{"count": null}', {"count": None}),
        ('{"other": 1.0}', {"other": 1.0}),
    ],
)
def test_typed_values_are_fitted_too(tmp_path: Path, row: str, value: dict[str, object]) -> None:
    (made,) = inputs(written(tmp_path, "in.jsonl", row))

    assert made == value
    assert [type(each) for each in made.values()] == [type(each) for each in value.values()]


def test_a_decimal_of_parquet_is_a_whole_number(tmp_path: Path) -> None:
    pa: Any = pytest.importorskip("pyarrow", reason="the integrations session installs it")
    parquet = pytest.importorskip("pyarrow.parquet", reason="the integrations session installs it")
    path = tmp_path / "in.parquet"
    parquet.write_table(pa.table({"count": [Decimal("2.00")], "sizes": [[1]]}), path)

    assert list(inputs(path)) == [{"count": 2, "sizes": [1]}]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("in.csv", "prompt,count\na,1\nb,many\n", r"in\.csv, line 3, column 'count': .* 'many'"),
        ("in.csv", "count\n1.5\n", "line 2, column 'count': count takes an integer, not '1.5'"),
        ("in.csv", "count\n1e99999999\n", "line 2, column 'count': count takes an integer"),
        ("in.csv", "steps\n3\n", "line 2, column 'steps': steps=3 is none of its choices; it"),
        ("in.csv", "id,prompt\n1,a\n", "line 2, column 'id': id: there is no such input; .*--key"),
        ("in.csv", ",prompt\n0,a\n", "line 2: a column has a cell and no name"),
        ("in.jsonl", '{"count": 1}\n{"count": "many"}\n', r"in\.jsonl, line 2, column 'count': "),
        ("in.jsonl", '{"count": 1.5}', "line 1, column 'count': count=1.5 is a float; it takes"),
        ("in.jsonl", '{"count": true}', "line 1, column 'count': count=True is a bool; it takes"),
        ("in.jsonl", '{"prompt": 5}', "line 1, column 'prompt': prompt=5 is an int; it takes"),
        ("in.jsonl", '{"tags": ["a", 1]}', r"'tags': tags\[1\]=1 is an int; it takes a string"),
        ("in.jsonl", '{"count": 1}\n{', "line 2: .*one JSON object"),
    ],
)  # fmt: skip
def test_a_bad_cell_is_named_before_the_first_input_is_handed_out(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        inputs(written(tmp_path, name, text)).checked()


def test_a_mapped_column_is_named_as_the_table_calls_it(tmp_path: Path) -> None:
    table = written(tmp_path, "in.csv", "n\nmany\n")

    with pytest.raises(UsageError, match="line 2, column 'n': count takes an integer") as raised:
        inputs(table, columns={"count": "n"}).checked()
    assert "Inputs of acme/model" in raised.value.listing


def test_constants_are_in_every_input_and_rows_go_before_them(tmp_path: Path) -> None:
    rows = written(tmp_path, "in.jsonl", '{"prompt": "a"}\n{"prompt": "b", "count": 9}\n')

    assert list(inputs(rows, fixed={"count": 1})) == [
        {"count": 1, "prompt": "a"},
        {"count": 9, "prompt": "b"},
    ]


def test_the_number_is_known_where_the_file_can_be_read_ahead(tmp_path: Path) -> None:
    rows = written(tmp_path, "in.jsonl", '{"prompt": "a"}\n\n' * 5)

    sized = inputs(rows, limit=3).checked()

    assert isinstance(sized, SizedInputRows)
    assert (len(sized), len(list(sized))) == (3, 3)
    assert len(sized_of(inputs(rows))) == 5
    assert len(sized_of(inputs(rows, limit=0))) == 0


def sized_of(inputs: InputRows) -> SizedInputRows:
    made = inputs.checked()
    assert isinstance(made, SizedInputRows)
    return made


def test_rows_after_the_limit_are_not_read(tmp_path: Path) -> None:
    rows = written(tmp_path, "in.csv", "count\n1\nmany\n")

    assert list(inputs(rows, limit=1).checked()) == [{"count": 1}]


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    rows = written(tmp_path, "in.jsonl", '{"text": "a"}\n')

    with pytest.raises(UsageError, match="no column 'words' for --map; its columns: text"):
        list(inputs(rows, columns={"prompt": "words"}))
    with pytest.raises(UsageError, match="no column 'id' for --key; its columns: text"):
        list(inputs(rows, columns={"prompt": "text"}, key="id"))


def keyed(made: object) -> tuple[dict[str, object], str]:
    assert isinstance(made, KeyedInput)
    return dict(made), made.key


@pytest.mark.parametrize("columns", [{}, {"prompt": "prompt"}], ids=["all", "mapped"])
@pytest.mark.parametrize("name", ["in.csv", "in.jsonl"])
def test_a_key_column_that_is_not_an_input_is_not_sent(
    tmp_path: Path, name: str, columns: dict[str, str]
) -> None:
    text = "id,prompt\n007,a\nr2,b\n"
    if name == "in.jsonl":
        text = '{"id": "007", "prompt": "a"}\n{"id": "r2", "prompt": "b"}\n'

    made = list(inputs(written(tmp_path, name, text), columns=columns, key="id"))

    assert [keyed(each) for each in made] == [({"prompt": "a"}, "007"), ({"prompt": "b"}, "r2")]


def test_a_key_that_is_an_input_is_sent(tmp_path: Path) -> None:
    rows = written(tmp_path, "in.csv", "text,n\na,1.0\n")

    (made,) = inputs(rows, columns={"prompt": "text", "count": "n"}, key="count")

    assert keyed(made) == ({"prompt": "a", "count": 1}, "1")


def test_a_model_without_a_schema_gets_the_key_too(tmp_path: Path) -> None:
    rows = Rows(written(tmp_path, "in.csv", "id,prompt\n007,a\n"))

    (made,) = InputRows(rows, Interface.read("id", None), columns={}, fixed={}, key="id")

    assert keyed(made) == ({"id": "007", "prompt": "a"}, "007")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,prompt\n1,a\n1,b\n", "line 3, column 'id': another row has the key '1' too"),
        ("id,prompt\n1,a\n,b\n", "line 3, column 'id': None is not a key"),
        (f"id,prompt\n{'x' * 501},b\n", "line 2, column 'id': a key of 501 characters"),
    ],
)
def test_a_bad_key_is_named_before_the_first_input_is_handed_out(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        inputs(written(tmp_path, "in.csv", text), key="id").checked()


def test_map_pairs_are_inputs_and_columns() -> None:
    assert read_map(["prompt=text", "n=a=b"]) == {"prompt": "text", "n": "a=b"}
    with pytest.raises(UsageError, match="--map 'prompt'"):
        read_map(["prompt"])
    with pytest.raises(UsageError, match="--map gives the input 'prompt' twice"):
        read_map(["prompt=a", "prompt=b"])


@pytest.mark.parametrize("options", [{"columns": {"prompt": "txt"}}, {"key": "ident"}])
def test_a_column_that_a_csv_file_does_not_have_is_named(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    path = written(tmp_path, "in.csv", "prompt,count\n,2\n")

    with pytest.raises(UsageError, match=r"has no column .* its columns: prompt, count"):
        list(inputs(path, **options))


def test_rows_of_empty_cells_are_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, "in.csv", 'prompt;"count"\r\nhi;1\r\n;\r\n;\r\n')

    assert list(inputs(path)) == [{"prompt": "hi", "count": 1}]


def test_a_comma_in_a_quoted_header_separates_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, "in.csv", 'prompt;"n, count"\nhi;3\n')
    columns = {"prompt": "prompt", "count": "n, count"}

    assert list(inputs(path, columns=columns)) == [{"prompt": "hi", "count": 3}]

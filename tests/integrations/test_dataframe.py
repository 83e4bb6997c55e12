from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from replicate_async import BatchResult, FileOutput, InvalidArgumentError, Replicate
from replicate_async.integrations.dataframe import rows, to_frame, with_results
from replicate_async.local import LocalReplicate
from replicate_async.resources._dataframe import Rows, is_dataframe
from replicate_async.runs.batch.cells import COLUMNS, as_text, row_of

pytest.importorskip("narwhals", reason="the integrations session installs it")
np = pytest.importorskip("numpy", reason="the integrations session installs it")
pl = pytest.importorskip("polars", reason="the integrations session installs it")
pd = pytest.importorskip("pandas", reason="the integrations session installs it")
pa = pytest.importorskip("pyarrow", reason="the integrations session installs it")

DATA: dict[str, list[Any]] = {
    "prompt": ["a", None, "c"],
    "n": [1, None, 3],
    "x": [0.5, 1.5, 2.5],
    "at": [date(2026, 1, 1), None, date(2026, 1, 2)],
}
ROWS = [dict(zip(DATA, values, strict=True)) for values in zip(*DATA.values(), strict=True)]
MAKERS: list[Callable[[Any], Any]] = [
    pl.DataFrame,
    lambda data: pl.DataFrame(data).lazy(),
    pd.DataFrame,
    lambda data: pd.DataFrame(data).convert_dtypes(),
    pa.table,
]
NAMES = ["polars", "polars lazy", "pandas", "pandas with NA", "pyarrow"]


@dataclass
class Result:
    index: int
    output: Any = None
    error: Exception | None = None


@pytest.mark.parametrize("make", MAKERS, ids=NAMES)
def test_rows_are_inputs_and_what_is_missing_is_none(make: Callable[[Any], Any]) -> None:
    frame = make(DATA)

    assert is_dataframe(frame)
    assert len(Rows(frame)) == 3
    assert list(rows(frame)) == ROWS
    # A number that became a float for the gap in its column is a whole number again.
    assert [type(row["n"]) for row in rows(frame)] == [int, type(None), int]


def through_parquet(data: dict[str, list[Any]]) -> Any:
    file = io.BytesIO()
    pd.DataFrame(data).to_parquet(file)
    return pd.read_parquet(file)


def arrays(data: dict[str, list[Any]]) -> Any:
    return pl.DataFrame(
        {name: [np.array(cell, dtype=object) for cell in cells] for name, cells in data.items()},
        schema=dict.fromkeys(data, pl.Object),
    )


LISTS: list[list[Any]] = [
    [],
    ["a.png"],
    ["a.png", "b.png"],
    [["a"], [], ["b", "c"]],
    [{"role": "user", "parts": ["x"]}],
]


@pytest.mark.parametrize("cell", LISTS, ids=str)
@pytest.mark.parametrize(
    "make",
    [pl.DataFrame, pd.DataFrame, pa.table, through_parquet, arrays],
    ids=["polars", "pandas", "pyarrow", "pandas of Parquet", "polars of arrays"],
)
def test_a_list_in_a_cell_is_a_list_however_many_items_it_has(
    make: Callable[[Any], Any], cell: list[Any]
) -> None:
    assert list(rows(make({"value": [cell, cell]}))) == [{"value": cell}] * 2


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (np.array([0.25, 1.0]), [0.25, 1.0]),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array(3), 3),
        (np.float32(0.5), 0.5),
        (np.str_("a"), "a"),
        ({"at": np.array([1]), "more": [np.int64(2)]}, {"at": [1], "more": [2]}),
        (1e300, 1e300),
    ],
)
def test_what_numpy_made_is_plain(cell: object, value: object) -> None:
    made = list(rows(pd.DataFrame({"value": pd.Series([cell], dtype=object)})))

    assert made == [{"value": value}]
    assert type(made[0]["value"]) is type(value)


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame([[1, 2, 3]], columns=["id", "text", "text"]),
        pa.table([pa.array([1]), pa.array([2]), pa.array([3])], names=["id", "text", "text"]),
    ],
    ids=["pandas", "pyarrow"],
)
def test_two_columns_of_one_name_are_named(frame: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="more than one column 'text'"):
        list(rows(frame))


@pytest.mark.parametrize("make", MAKERS, ids=NAMES)
def test_results_come_back_as_columns_of_the_same_kind_of_frame(make: Callable[[Any], Any]) -> None:
    frame = make(DATA)
    results = [Result(2, "hello"), Result(0, ["cat", "dog"]), Result(1, error=ValueError("bad"))]

    made = with_results(frame, results, output="text")

    lazy = hasattr(frame, "collect")
    assert type(made) is type(frame.collect() if lazy else frame)
    got = list(rows(made))
    assert [row["text"] for row in got] == ['["cat","dog"]', None, "hello"]
    assert [row["error"] for row in got] == [None, "bad", None]
    assert [row["prompt"] for row in got] == ["a", None, "c"]


def test_the_index_of_a_pandas_frame_stays() -> None:
    frame = pd.DataFrame({"prompt": ["a", "b"]}, index=[7, 3])

    made = with_results(frame, [Result(0, "A"), Result(1, "B")])

    assert list(made.index) == [7, 3]
    assert list(made["output"]) == ["A", "B"]


def test_a_row_without_a_result_has_neither() -> None:
    made = with_results(pl.DataFrame({"prompt": ["a", "b"]}), [Result(1, "B")])

    assert made["output"].to_list() == [None, "B"]
    assert made["error"].to_list() == [None, None]


def test_a_column_of_that_name_is_not_overwritten() -> None:
    with pytest.raises(InvalidArgumentError, match="output="):
        with_results(pl.DataFrame({"output": ["a"]}), [])


@pytest.mark.parametrize("value", [{"prompt": "a"}, [{"prompt": "a"}], "text", None])
def test_what_is_no_frame_is_told_apart(value: object) -> None:
    assert not is_dataframe(value)
    with pytest.raises(InvalidArgumentError, match="no data frame"):
        list(rows(value))


def test_a_cell_holds_text() -> None:
    assert as_text(None) is None
    assert as_text("a") == "a"
    assert as_text(["a", "b"]) == '["a","b"]'
    assert as_text(["a", "b"], joined=True) == "ab"
    assert as_text(["a"]) == '["a"]'
    assert as_text([]) == "[]"
    assert as_text([1, "b"]) == '[1,"b"]'
    assert as_text(float("nan")) == "null"
    assert as_text(date(2026, 1, 1)) == "2026-01-01"
    assert as_text(Path('a "b".png')) == 'a "b".png'


@dataclass
class Picture:
    """An input that is no mapping."""

    subject: str
    seed: int | None = None


KINDS: list[type[Any]] = [pl.DataFrame, pd.DataFrame, pa.Table]


@pytest.mark.anyio
@pytest.mark.parametrize("into", KINDS, ids=lambda kind: str(kind.__module__).partition(".")[0])
async def test_results_become_a_flat_table(
    server: LocalReplicate, client: Replicate, into: type[Any]
) -> None:
    @server.model("acme/labels")
    async def label(subject: str, seed: int = 0) -> dict[str, Any]:
        if subject == "bad":
            raise ValueError("out of labels")
        return {"label": subject.upper(), "score": seed / 2, "boxes": [1, 2]}

    inputs = [{"subject": "cat"}, {"subject": "bad"}, Picture("dog", 3)]
    results = [result async for result in client.batch("acme/labels", inputs, ordered=True)]
    made = to_frame(results, into)

    assert type(made) is into
    got = list(rows(made))
    assert list(got[0]) == [
        *("key", "index", "ok", "status", "output", "error", "prediction_id", "files"),
        *("attempts", "predict_seconds", "created_at", "started_at", "completed_at"),
        *("input.subject", "input.seed", "output.label", "output.score", "output.boxes"),
    ]
    assert [row["ok"] for row in got] == [True, False, True]
    assert [row["status"] for row in got] == ["succeeded", "failed", "succeeded"]
    assert [row["input.subject"] for row in got] == ["cat", "bad", "dog"]
    assert [row["input.seed"] for row in got] == [None, None, 3]
    assert [row["output.label"] for row in got] == ["CAT", None, "DOG"]
    assert [row["output.score"] for row in got] == [0.0, None, 1.5]
    assert [row["output.boxes"] for row in got] == ["[1,2]", None, "[1,2]"]
    assert got[0]["output"] == '{"label":"CAT","score":0.0,"boxes":[1,2]}'
    assert got[1]["output"] is None
    assert "out of labels" in str(got[1]["error"])
    for row, result in zip(got, results, strict=True):
        assert result.prediction is not None
        assert row["completed_at"] == result.prediction.completed_at
        # The other columns are those of the command line's file of results.
        same = set(COLUMNS) - {"input", "output", "files"}
        assert {name: row[name] for name in same} == {
            name: value for name, value in row_of(result).items() if name in same
        }


@pytest.mark.parametrize("into", KINDS, ids=lambda kind: str(kind.__module__).partition(".")[0])
def test_a_table_without_results_has_the_columns(into: type[Any]) -> None:
    made = to_frame([], into)

    assert list(rows(made)) == []
    assert "predict_seconds" in (made.column_names if into is pa.Table else made.columns)


def test_a_cell_of_a_table_is_a_number_or_text() -> None:
    url = FileOutput("https://a.example/x.png")
    inputs: list[dict[str, object]] = [
        {"large": 2**70, "mixed": 1, "flag": True, "image": b"12345", "many": [b"1"]},
        {"large": 1, "mixed": "a", "flag": None, "file": Path("a.png"), "url": url},
    ]
    results = [
        BatchResult(key="k", index=index, input=given, output=["a", "b"], is_text=True)
        for index, given in enumerate(inputs)
    ]
    made = to_frame(results, pl.DataFrame)

    assert made["output"].to_list() == ["ab", "ab"]
    assert made["status"].to_list() == ["uncreated", "uncreated"]
    assert made["created_at"].to_list() == [None, None]
    assert made["input.large"].to_list() == [str(2**70), "1"]
    assert made["input.mixed"].to_list() == ["1", "a"]
    assert made["input.flag"].to_list() == [True, None]
    assert made["input.image"].to_list() == ["5 bytes", None]
    assert made["input.many"].to_list() == ['["1 bytes"]', None]
    assert made["input.file"].to_list() == [None, "a.png"]
    assert made["input.url"].to_list() == [None, "https://a.example/x.png"]


def test_a_table_of_another_class_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"give polars\.DataFrame"):
        to_frame([], dict)

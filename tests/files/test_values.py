"""Values of inputs, and the JSON that is sent for each."""

from __future__ import annotations

import array
import collections
import datetime as dt
import enum
import io
import json
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import attrs
import msgspec
import pytest

from replicate_async import InvalidArgumentError, Secret
from replicate_async.core.endpoint import Endpoint
from replicate_async.files.inputs import encode_input, encode_json

np = pytest.importorskip("numpy", reason="the integrations session installs it")
pd = pytest.importorskip("pandas", reason="the integrations session installs it")
pl = pytest.importorskip("polars", reason="the integrations session installs it")
pa = pytest.importorskip("pyarrow", reason="the integrations session installs it")
pydantic = pytest.importorskip("pydantic", reason="the integrations session installs it")

ENDPOINT = Endpoint("POST", "/", returns=str)


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Whole(int):
    pass


class Ratio(float):
    pass


class Color(enum.Enum):
    RED = "red"
    SIZE = (1, 2)


class Level(enum.IntEnum):
    HIGH = 3


class Shade(enum.StrEnum):
    DARK = "dark"


class Point(NamedTuple):
    x: int
    y: float


@dataclass
class Settings:
    seed: object
    tags: list[str]


@attrs.define
class Options:
    scale: object
    name: str = "x"


class Own(str):
    """A text whose class says nothing good about it."""

    __slots__ = ()

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def model(**fields: Any) -> Any:
    """Return a pydantic model with these fields."""
    kinds: dict[str, Any] = dict.fromkeys(fields, (Any, ...))
    return pydantic.create_model("Model", **kinds)(**fields)


ISO = "2026-01-02T03:04:05Z"
NOON = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)

SENT: list[tuple[Callable[[], object], object]] = [
    (lambda: Text("a"), "a"),
    (lambda: Own("a"), "a"),
    (lambda: Secret("hunter2"), "hunter2"),
    (lambda: Whole(7), 7),
    (lambda: Ratio(0.5), 0.5),
    (lambda: Color.RED, "red"),
    (lambda: Color.SIZE, [1, 2]),
    (lambda: Level.HIGH, 3),
    (lambda: Shade.DARK, "dark"),
    (lambda: {Text("k"): [Whole(1)], Shade.DARK: 2}, {"k": [1], "dark": 2}),
    (lambda: Decimal("7.5"), 7.5),
    (lambda: Decimal(50), 50),
    (lambda: Decimal("1E+3"), 1000),
    (lambda: Decimal("2.0"), 2.0),
    (lambda: Fraction(1, 4), 0.25),
    (lambda: Fraction(8, 4), 2),
    (lambda: 2**70, 2**70),
    (lambda: np.float64(1.5), 1.5),
    (lambda: np.float32(0.5), 0.5),
    (lambda: np.longdouble(0.5), 0.5),
    (lambda: np.int64(3), 3),
    (lambda: np.uint8(3), 3),
    (lambda: np.bool_(True), True),
    (lambda: np.str_("a"), "a"),
    (lambda: np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    (lambda: np.array(5), 5),
    (lambda: np.array([0.5], dtype=np.longdouble), [0.5]),
    (lambda: np.array(["a", None, Whole(1)], dtype=object), ["a", None, 1]),
    (lambda: np.datetime64("2026-01-02"), "2026-01-02"),
    (lambda: np.array(["2026-01-02"], dtype="M8[ns]"), ["2026-01-02T00:00:00.000000000"]),
    (lambda: {np.str_("a"): np.int8(1)}, {"a": 1}),
    (lambda: pd.Timestamp("2026-01-02T03:04:05Z"), ISO),
    (lambda: pd.Series([1, 2]), [1, 2]),
    (lambda: pd.Categorical(["a", "b"]), ["a", "b"]),
    (lambda: pd.Index([1.5]), [1.5]),
    (lambda: pl.Series(["a"]), ["a"]),
    (lambda: pa.scalar(3), 3),
    (lambda: pa.array([1, 2]), [1, 2]),
    (lambda: pa.scalar({"a": [1]}), {"a": [1]}),
    (lambda: NOON, ISO),
    (lambda: dt.date(2026, 1, 2), "2026-01-02"),
    (lambda: dt.time(3, 4), "03:04:00"),
    (lambda: UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (lambda: (1, [2]), [1, [2]]),
    (lambda: Point(1, 0.5), [1, 0.5]),
    (lambda: range(3), [0, 1, 2]),
    (lambda: collections.deque([1]), [1]),
    (lambda: collections.UserList(["a"]), ["a"]),
    (lambda: collections.UserString("ab"), "ab"),
    (lambda: collections.UserDict(a=1), {"a": 1}),
    (lambda: collections.OrderedDict([("b", 1), ("a", 2)]), {"b": 1, "a": 2}),
    (lambda: collections.ChainMap({"a": 1}), {"a": 1}),
    (lambda: types.MappingProxyType({"a": 1}), {"a": 1}),
    ({"b": 1, "a": 2}.keys, ["b", "a"]),
    ({"b": 1, "a": 2}.values, [1, 2]),
    (lambda: array.array("f", [0.5]), [0.5]),
    (lambda: {"b", "a", "c"}, ["a", "b", "c"]),
    (lambda: {10, 9.5}, [9.5, 10]),
    (lambda: frozenset({"a", 1, (2, "b")}), ["a", 1, [2, "b"]]),
    (lambda: Settings(np.int64(1), ["a"]), {"seed": 1, "tags": ["a"]}),
    (lambda: Options(Decimal("0.5")), {"scale": 0.5, "name": "x"}),
    (lambda: model(seed=np.int64(1), mode=Color.RED), {"seed": 1, "mode": "red"}),
    (lambda: model(link=pydantic.HttpUrl("https://x.test/a")), {"link": "https://x.test/a"}),
    (lambda: msgspec.Raw(b'{"a": [1]}'), {"a": [1]}),
]


def found(give: Callable[[], object]) -> str:
    """Return the JSON that is sent for a value, or why it is not."""
    try:
        draft = encode_input({"value": give()})
        assert draft.slots == []
        body: Any = json.loads(ENDPOINT.encode(draft.values))
        assert encode_json({"value": [give()]}, "metadata") == {"value": [body["value"]]}
    except Exception as error:  # noqa: BLE001 - compared with what is expected
        return repr(error)
    return json.dumps(body["value"])


def test_values_of_many_types_are_converted() -> None:
    wrong = [(found(give), sent) for give, sent in SENT if found(give) != json.dumps(sent)]

    assert wrong == []


def generator() -> Iterator[int]:
    yield 1


async def coroutine() -> None:
    return None


SECONDS = "write its total_seconds(), or what the model takes."
REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: dt.timedelta(seconds=9), f" is a timedelta; {SECONDS}"),
    (lambda: np.timedelta64(9, "s"), f" is a timedelta64; {SECONDS}"),
    (lambda: pd.Timedelta(9), f" is a Timedelta; {SECONDS}"),
    (lambda: float("inf"), " is inf, which JSON cannot hold."),
    (lambda: np.float64("nan"), " is nan, which JSON cannot hold."),
    (lambda: np.array([1.0, np.nan]), "[1] is nan, which JSON cannot hold."),
    (lambda: Decimal("NaN"), " is NaN, which JSON cannot hold."),
    (lambda: Decimal("-Infinity"), " is -Infinity, which JSON cannot hold."),
    (lambda: Decimal("1e-400") * Decimal("1e999"), "which is too large to be sent as a number."),
    (lambda: Decimal("0.1e400"), "which is too large to be sent as a number."),
    (lambda: Decimal("1.5").scaleb(400), "which is too large to be sent as a number."),
    (lambda: pd.NaT, " is a missing value (NaT); write None, or leave it out."),
    (lambda: pd.NA, " is a missing value (<NA>); write None, or leave it out."),
    (lambda: np.datetime64("NaT"), " is a missing value (NaT); write None, or leave it out."),
    (lambda: pd.Period("2026-01"), " is a Period; write str() of it."),
    (lambda: pd.DataFrame({"a": [1]}), " is a DataFrame; write its columns or rows as plain"),
    (lambda: pl.DataFrame({"a": [1]}), " is a DataFrame; write its columns or rows as"),
    (lambda: model(key=pydantic.SecretStr("x")), '["key"] is a SecretStr; write its get_secret_'),
    (generator, ": a generator can be read only once; write list(...) around it, or give a"),
    (lambda: map(str, [1]), ": a map can be read only once; write list(...) around it, or give"),
    (lambda: 1j, ": a value of type complex cannot be sent as JSON; convert it to plain values"),
    (lambda: np.complex128(1), ": a value of type complex"),
    (lambda: object, ": a value of type type cannot be sent"),
    (lambda: Settings, ": a value of type type cannot be sent"),
    (lambda: msgspec.UNSET, ": a value of type UnsetType cannot be sent"),
    (lambda: {"a": {b"few"}}, '["a"] is a set with files in it, which has no order; write a list.'),
    (lambda: {1: 2}, " has the key 1; keys must be strings."),
    (lambda: {np.int64(1): 2}, " has the key np.int64(1); keys must be strings."),
    (lambda: {Color.RED: 1, "red": 2}, " has keys that are the same as strings; rename one of"),
    (lambda: ["ok", "\ud800"], "[1]='\\ud800' is not valid Unicode (surrogates not allowed);"),
    (lambda: {"\ud800": 1}, " has the key '\\ud800', which is not valid Unicode (surrogates not"),
    (lambda: Text("\ud800"), "is not valid Unicode (surrogates not allowed); decode it with the"),
]  # fmt: skip


def refusal(give: Callable[[], object], argument: str) -> str:
    try:
        if argument == "input":
            encode_input({"value": give()})
        else:
            encode_json({"value": give()}, argument)
    except InvalidArgumentError as error:
        return str(error)
    return "it was taken"


@pytest.mark.parametrize("argument", ["input", "metadata"])
def test_an_unsendable_value_is_refused_with_advice(argument: str) -> None:
    said = [(refusal(give, argument), f'{argument}["value"]', says) for give, says in REFUSED]

    assert [
        each for each in said if not each[0].startswith(each[1]) or each[2] not in each[0]
    ] == []


def test_a_coroutine_that_was_not_awaited_is_named() -> None:
    forgotten = coroutine()
    with pytest.raises(InvalidArgumentError, match="a coroutine was not awaited; write 'await'"):
        encode_input({"value": forgotten})
    forgotten.close()


class Broken:
    """A mapping whose every method fails."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> object:
        if name == self._name:
            raise LookupError("no luck")
        raise AttributeError(name)


class BrokenList:
    def tolist(self) -> list[object]:
        raise LookupError("no luck")


class BrokenMapping(collections.UserDict[str, object]):
    def __iter__(self) -> Iterator[str]:
        raise LookupError("no luck")


@pytest.mark.parametrize(
    "value",
    [Broken("read"), Broken("file"), BrokenList(), [BrokenMapping()]],
    ids=["read", "file", "tolist", "mapping"],
)
def test_an_exception_of_a_value_is_the_cause_of_the_error(value: object) -> None:
    with pytest.raises(InvalidArgumentError, match="LookupError: no luck") as caught:
        encode_input({"value": [value]})

    assert str(caught.value).startswith('input["value"][0]')
    assert isinstance(caught.value.__cause__, LookupError)


def test_an_exception_of_the_input_is_the_cause_of_the_error() -> None:
    with pytest.raises(InvalidArgumentError, match="input cannot be read: LookupError") as caught:
        encode_input(BrokenMapping())

    assert isinstance(caught.value.__cause__, LookupError)


def test_a_recursive_value_is_named() -> None:
    ring: dict[str, object] = {}
    ring["self"] = [ring]
    with pytest.raises(InvalidArgumentError, match=r'^input\["ring"\] is nested too deep'):
        encode_input({"fine": 1, "ring": ring})


@pytest.mark.parametrize(
    "whole",
    [
        Settings(np.int64(1), ["a"]),
        collections.UserDict(seed=1, tags=("a",)),
        types.MappingProxyType({Text("seed"): Whole(1), "tags": ["a"], "none": None}),
    ],
    ids=["dataclass", "mapping", "proxy"],
)
def test_an_input_may_be_an_instance_with_fields(whole: Any) -> None:
    assert encode_input(whole).values == {"seed": 1, "tags": ["a"]}


def test_an_input_may_be_an_attrs_instance_or_a_pydantic_model() -> None:
    assert encode_input(Options(None)).values == {"name": "x"}
    assert encode_input(model(seed=1, other=None)).values == {"seed": 1}


def test_values_that_convert_to_none_are_left_out() -> None:
    class Nothing(enum.Enum):
        AT_ALL = None

    assert encode_input({"a": Nothing.AT_ALL, "b": 1}).values == {"b": 1}


def open_file(path: Path) -> object:
    path.write_bytes(b"data")
    return path.open("rb")


def in_memory(_path: Path) -> object:
    return io.BytesIO(b"data")


def upload_file(path: Path) -> object:
    datastructures = pytest.importorskip(
        "starlette.datastructures", reason="the test extra installs it"
    )
    return datastructures.UploadFile(open_file(path), filename="a.txt")


@pytest.mark.parametrize(
    "make",
    [open_file, upload_file, in_memory, Path],
    ids=["open", "uploaded", "memory", "path"],
)
def test_open_files_in_a_pydantic_model_are_sent(
    make: Callable[[Path], object], tmp_path: Path
) -> None:
    file = make(tmp_path / "a.txt")
    inner = pydantic.create_model(
        "Inner", image=(Any, pydantic.Field(serialization_alias="inputImage"))
    )(image=file)
    listed = pydantic.RootModel[Any]([file])
    rooted = pydantic.RootModel[Any]({"a": file})
    whole = model(
        one=file, some=[file, {"more": (file,)}], inner=inner, listed=listed, rooted=rooted
    )
    try:
        draft = encode_input({"model": whole, "file": file})
    finally:
        close = getattr(file, "file", file)
        if isinstance(close, io.IOBase):
            close.close()

    (slot,) = draft.slots
    assert slot.value is file
    assert draft.values == {
        "model": {
            "one": slot,
            "some": [slot, {"more": [slot]}],
            "inner": {"inputImage": slot},
            "listed": [slot],
            "rooted": {"a": slot},
        },
        "file": slot,
    }


def test_bytes_in_a_pydantic_model_are_sent_as_a_file() -> None:
    sent = encode_input(model(one=b"\xff\xfe", some=[b"\xff"])).values
    assert sent["one"].startswith("data:")
    assert sent["some"][0].startswith("data:")


def test_exclusions_and_serializers_of_a_pydantic_model_apply() -> None:
    def shortened(self: Any) -> dict[str, object]:
        return {"short": self.one.name}

    kind = pydantic.create_model(
        "Kind",
        __validators__={"short": pydantic.model_serializer(shortened)},
        one=(Any, ...),
    )
    hidden = pydantic.create_model("Hidden", one=(Any, pydantic.Field(exclude=True)))
    named = types.SimpleNamespace(name="a")

    assert encode_input({"a": kind(one=named), "b": hidden(one=io.BytesIO())}).values == {
        "a": {"short": "a"},
        "b": {},
    }


def test_aliases_of_a_pydantic_model_are_sent() -> None:
    named = pydantic.create_model(
        "Named", image=(str, pydantic.Field(serialization_alias="inputImage"))
    )
    assert encode_input(named(image="x")).values == {"inputImage": "x"}

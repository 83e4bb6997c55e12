"""Models that raise, print or return odd values, which the server survives."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import pytest

from replicate_async import PredictionFailed, Replicate
from replicate_async.local import LocalReplicate, OutputFile, current_run, log
from tests.local.wire import Wire
from tests.support.waiting import HANG

pytestmark = pytest.mark.anyio

HALF = "half \ud83d"
WHOLE = "half \N{REPLACEMENT CHARACTER}"


class Outcome(BaseException):
    """As pytest's own are."""


class Unshowable(Exception):  # noqa: N818 - as models name theirs
    def __str__(self) -> str:
        raise Outcome("no text")

    __repr__ = __str__


class UnshowableOutcome(Outcome):
    __repr__ = Unshowable.__str__


ERRORS: list[BaseException] = [
    Outcome("x"),
    Unshowable("x"),
    UnshowableOutcome("x"),
    GeneratorExit(),
    SystemExit(3),
    KeyboardInterrupt(),
    StopIteration(1),
    StopAsyncIteration(1),
    BaseExceptionGroup("several", [Outcome("a"), ValueError("b")]),
    ExceptionGroup("several", [ValueError("b")]),
    RuntimeError(HALF),
    RuntimeError(),
]


@pytest.mark.parametrize(
    "error", ERRORS, ids=[f"{type(error).__name__}-{at}" for at, error in enumerate(ERRORS)]
)
@pytest.mark.parametrize("way", ["function", "async", "generator", "late"])
async def test_a_model_that_raises_anything_has_failed(
    error: BaseException | None, way: str, server: LocalReplicate, wire: Wire
) -> None:
    def function() -> str:
        return next(generator())

    async def asynchronous() -> str:
        return function()

    def generator() -> Iterator[str]:
        if error is not None:
            raise error
        yield ""

    def late() -> Iterator[str]:
        yield "a"
        yield function()

    model = {"function": function, "async": asynchronous, "generator": generator, "late": late}
    server.model("acme/raises")(model[way])

    prediction = await wire.finish("acme/raises", {})

    assert prediction["status"] == "failed"
    assert prediction["error"]
    assert prediction["output"] == (["a"] if way == "late" else None)
    if type(error) is RuntimeError:
        assert prediction["error"] in {WHOLE, "RuntimeError"}


async def test_text_that_is_no_unicode_is_replaced_where_it_enters(
    server: LocalReplicate, client: Replicate
) -> None:
    @server.model("acme/half")
    def half(how: str) -> dict[str, Any]:
        log(HALF)
        print(HALF)
        current_run().metric("note", HALF)
        current_run().metric(HALF, 1)
        if how == "raise":
            raise ValueError(HALF)
        return {HALF: [HALF, {"deep": HALF}]}

    output = await client.run("acme/half", {"how": "return"})
    with pytest.raises(PredictionFailed) as failed:
        await client.run("acme/half", {"how": "raise"})
    listed = [each async for each in client.predictions.list()]

    assert output == {WHOLE: [WHOLE, {"deep": WHOLE}]}
    assert failed.value.prediction.error == WHOLE
    assert (listed[1].logs or "").startswith(f"{WHOLE}\n{WHOLE}\n")
    assert (listed[1].metrics or {})["note"] == WHOLE


async def test_a_stream_of_text_that_is_no_unicode_goes_on(
    server: LocalReplicate, client: Replicate
) -> None:
    @server.model("acme/halves")
    def halves() -> Iterator[str]:
        yield HALF
        yield "whole"

    async with client.stream("acme/halves") as stream:
        assert "".join([str(event) async for event in stream]) == WHOLE + "whole"


@pytest.mark.parametrize("name", ["\ud83d.png", "a\udce9b.txt"])
async def test_a_file_whose_name_is_no_unicode_is_delivered(
    name: str, server: LocalReplicate, client: Replicate
) -> None:
    @server.model("acme/file")
    def file() -> OutputFile:
        return OutputFile(b"x", name)

    assert await (await client.run("acme/file")).read() == b"x"


@dataclasses.dataclass
class Cut:
    word: str
    error: str | None = None


class CutStruct(msgspec.Struct):
    word: str
    parts: list[str | None]
    error: str | None = None


class CutDict(TypedDict):
    word: str
    error: str | None


async def test_optional_parts_of_an_output_may_be_null(
    server: LocalReplicate, client: Replicate
) -> None:
    def record() -> Cut:
        return Cut("a")

    def struct() -> CutStruct:
        return CutStruct("a", ["b", None])

    def typed_dict() -> CutDict:
        return {"word": "a", "error": None}

    def mapping() -> dict[str, float | None]:
        return {"score": None}

    def union() -> list[int | str | None]:
        return [1, None, "a"]

    expected = {
        record: {"word": "a", "error": None},
        struct: {"word": "a", "parts": ["b", None], "error": None},
        typed_dict: {"word": "a", "error": None},
        mapping: {"score": None},
        union: [1, None, "a"],
    }
    for function, output in expected.items():
        name = f"acme/{function.__name__}"
        server.model(name)(function)
        assert await client.run(name) == output, name


async def test_a_part_that_is_not_optional_may_not_be_null(
    server: LocalReplicate, client: Replicate
) -> None:
    @server.model("acme/wrong")
    def wrong() -> list[str]:
        broken: list[Any] = ["a", None]
        return broken

    with pytest.raises(PredictionFailed, match=r"output\.1"):
        await client.run("acme/wrong")


async def test_a_metric_of_a_subclass_is_a_number(
    server: LocalReplicate, client: Replicate
) -> None:
    class Loss(float):
        pass

    @server.model("acme/measured")
    def measured() -> str:
        current_run().metric("loss", Loss(0.5))
        return "a"

    await client.run("acme/measured")
    newest = await anext(aiter(client.predictions.list()))
    assert (newest.metrics or {})["loss"] == 0.5


@pytest.mark.skipif(sys.platform == "win32", reason="there are no named pipes")
async def test_a_pipe_is_no_output_file(
    server: LocalReplicate, client: Replicate, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    @server.model("acme/pipe", official=True)
    def give() -> Path:
        return pipe

    with pytest.raises(PredictionFailed, match="pipe is neither a file nor a folder"):
        await client.run("acme/pipe", timeout=HANG)


class Fraction(float):
    """Is a number as NumPy's float64 is, whose class is a subclass too."""


class Markup(str):
    """Is a text as template engines return it."""

    __slots__ = ()


class Count(int):
    """Is a whole number of a class of its own."""


async def test_an_output_of_subclasses_is_plain_json(
    server: LocalReplicate, client: Replicate
) -> None:
    @server.model("acme/scores", official=True)
    def scores() -> dict[str, Any]:
        return {"mean": Fraction(0.5), "all": [Count(2), Markup("b")]}

    @server.model("acme/words", official=True)
    def words() -> Iterator[str]:
        yield Markup("Once")

    assert await client.run("acme/scores") == {"mean": 0.5, "all": [2, "b"]}
    assert await client.run("acme/words") == ["Once"]
    assert len([run async for run in client.predictions.list()]) == 2


class Lazy(dict[str, str]):
    """A result whose own code ends the program that looks into it."""

    def items(self) -> Any:
        raise SystemExit("lazy")


@pytest.mark.parametrize("result", [Lazy(a="b"), {"a": 10**5000}], ids=["exit", "digits"])
async def test_a_result_that_cannot_be_shown_is_a_failure(
    result: dict[str, Any], server: LocalReplicate, client: Replicate
) -> None:
    @server.model("acme/result")
    def model() -> dict[str, Any]:
        return result

    with pytest.raises(PredictionFailed):
        await client.run("acme/result")
    assert len([each async for each in client.predictions.list()]) == 1

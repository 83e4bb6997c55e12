from __future__ import annotations

import pytest

from replicate_async import (
    APIConnectionError,
    DoneEvent,
    ErrorEvent,
    LogsEvent,
    OutputEvent,
    StreamError,
)
from replicate_async.web import to_text
from tests.web.script import Script, pieces

pytestmark = pytest.mark.anyio


async def test_text_is_the_output_and_nothing_else() -> None:
    stream = Script(LogsEvent("log"), OutputEvent("a\r\n"), OutputEvent("ü"), DoneEvent())

    assert b"".join(await pieces(to_text(stream))).decode() == "a\r\nü"


@pytest.mark.parametrize("step", [APIConnectionError("gone"), KeyError("x")])
async def test_trouble_breaks_it_off(step: Exception) -> None:
    with pytest.raises(type(step)):
        await pieces(to_text(Script(OutputEvent("a"), step)))


async def test_a_failed_model_breaks_it_off() -> None:
    with pytest.raises(StreamError, match="no GPU"):
        await pieces(to_text(Script(ErrorEvent("no GPU"), DoneEvent("error"))))


async def test_a_canceled_run_just_ends() -> None:
    assert await pieces(to_text(Script(OutputEvent("a"), DoneEvent("canceled")))) == [b"a"]

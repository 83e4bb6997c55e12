"""Arguments of odd classes: what msgspec does not take as it is."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from replicate_async.core.endpoint import Endpoint, encode_query, exact

ENDPOINT = Endpoint("POST", "/", returns=str)


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Number(int):
    pass


class Moment(datetime):
    pass


class Query(msgspec.Struct):
    text: str
    number: int
    moment: datetime


def test_subclasses_in_a_body_or_a_query_are_sent_as_their_base() -> None:
    query = Query(Text("a"), Number(7), Moment(2026, 1, 2, tzinfo=UTC))

    assert ENDPOINT.encode(query) == b'{"text":"a","number":7,"moment":"2026-01-02T00:00:00Z"}'
    assert encode_query(query) == "text=a&number=7&moment=2026-01-02T00%3A00%3A00Z"


def test_what_json_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match="a value of type object cannot be sent as JSON"):
        exact(object())

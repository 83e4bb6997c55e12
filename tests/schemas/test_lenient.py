from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_async.schemas import (
    Model,
    Page,
    Prediction,
    PredictionURLs,
    Training,
    decode_leniently,
)
from tests.schemas import samples


def page(*items: samples.JSON) -> bytes:
    return msgspec.json.encode({"next": None, "previous": None, "results": items})


@pytest.mark.parametrize("odd", [{}, [], True, "yesterday", "", "2023-10-29"])
def test_an_odd_timestamp_does_not_break_a_page(odd: object) -> None:
    body = page(samples.NEWEST, {**samples.NEWEST, "started_at": odd}, samples.CANCEL)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=Page[Prediction])
    results = decode_leniently(body, Page[Prediction]).results
    whole = msgspec.convert(samples.NEWEST, Prediction)
    assert results[0] == whole
    assert results[1] == msgspec.structs.replace(whole, started_at=None)
    assert results[2] == msgspec.convert(samples.CANCEL, Prediction)


def test_every_item_may_be_odd() -> None:
    odd = {**samples.NEWEST, "created_at": "?", "started_at": "?", "completed_at": "?"}
    results = decode_leniently(page(*[odd] * 100), Page[Prediction]).results
    assert [item.created_at for item in results] == [None] * 100


@pytest.mark.parametrize(
    ("field", "odd"),
    [
        ("default_example", []),
        ("default_example", 7),
        ("latest_version", {}),
        ("latest_version", "none"),
    ],
)
def test_an_odd_example_or_version_does_not_break_a_listing(field: str, odd: object) -> None:
    body = page(samples.MODEL, {**samples.MODEL, field: odd})
    results = decode_leniently(body, Page[Model]).results
    assert getattr(results[0], field) is not None
    assert getattr(results[1], field) is None


def test_a_training_with_any_output_ends() -> None:
    body = msgspec.json.encode({**samples.TRAINING, "output": "https://replicate.delivery/w"})
    training = decode_leniently(body, Training)
    assert (training.done, training.output) == (True, None)


@pytest.mark.parametrize("changes", [{"id": 1}, {"id": None}, {"status": None}, {"status": []}])
def test_required_fields_must_fit(changes: samples.JSON) -> None:
    body = page({**samples.NEWEST, "created_at": "?", **changes})
    with pytest.raises(msgspec.ValidationError):
        decode_leniently(body, Page[Prediction])


@pytest.mark.parametrize(
    ("field", "odd", "expected"),
    [
        ("error", {"message": "no GPU"}, '{"message":"no GPU"}'),
        ("error", ["one", "two"], "one\ntwo\n"),
        ("error", 500, "500"),
        ("logs", ["a\n", "b"], "a\nb\n"),
        ("logs", {"stdout": "a"}, '{"stdout":"a"}'),
        ("logs", True, "true"),
        ("urls", None, PredictionURLs()),
        ("urls", [], PredictionURLs()),
        ("urls", {"get": 1, "web": "x"}, PredictionURLs(get="1", web="x")),
        ("metrics", 3, None),
        ("metrics", {"predict_time": "1.5"}, {"predict_time": "1.5"}),
        ("input", "redacted", None),
        ("version", 7, "7"),
        ("source", None, None),
        ("data_removed", 1, True),
        ("data_removed", "true", True),
        ("data_removed", {}, None),
        ("webhook_events_filter", "completed", ["completed"]),
        ("webhook_events_filter", ["start", 1], ["start", "1"]),
        ("created_at", 1_700_000_000, datetime.fromtimestamp(1_700_000_000, UTC)),
        ("deadline", "soon", None),
    ],
)
def test_a_field_of_another_type_is_converted(field: str, odd: object, expected: object) -> None:
    result = decode_leniently(msgspec.json.encode({**samples.NEWEST, field: odd}), Prediction)
    found = getattr(result, field)
    assert found == expected
    assert result.output == msgspec.convert(samples.NEWEST, Prediction).output


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (rb"half \ud83d", "half \N{REPLACEMENT CHARACTER}"),
        (rb"\udce9 other half", "\N{REPLACEMENT CHARACTER} other half"),
        (rb"\ud83d\ude00 whole", "\N{GRINNING FACE} whole"),
        (b"\xff byte", "\N{REPLACEMENT CHARACTER} byte"),
        (b"a\nb", "a\nb"),
    ],
)
def test_text_that_is_not_unicode_is_read(raw: bytes, text: str) -> None:
    body = b'{"id": "a", "status": "failed", "logs": "%s", "output": {"%s": ["%s"]}}'
    result = decode_leniently(body % (raw, raw, raw), Prediction)
    assert (result.logs, result.output) == (text, {text: [text]})


def test_nan_is_read_as_a_number() -> None:
    body = b'{"id": "a", "status": "failed", "metrics": {"loss": NaN, "best": -Infinity}}'
    metrics = decode_leniently(body, Prediction).metrics
    assert metrics is not None
    assert math.isnan(metrics["loss"])
    assert metrics["best"] == -math.inf


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"id":', b"\xff", b"nothing"])
def test_an_answer_that_is_not_json_is_an_error(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_leniently(body, Prediction)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["results", "id", "created_at", "urls", "status", "output"]), inner
            )
        ),
    )
)
def test_any_json_decodes_or_is_a_validation_error(body: Any) -> None:
    try:
        decode_leniently(msgspec.json.encode(body), Page[Training])
    except msgspec.ValidationError:
        return

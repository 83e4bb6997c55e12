from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_async.schemas import Model, Page, Prediction, Training, decode_leniently
from tests.schemas import samples


def page(*items: samples.JSON) -> bytes:
    return msgspec.json.encode({"next": None, "previous": None, "results": items})


@pytest.mark.parametrize("odd", [{}, [], True, "yesterday", "", "2023-10-29"])
def test_an_odd_timestamp_costs_no_page(odd: object) -> None:
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
        ("default_example", {"urls": {"get": 1}}),
        ("latest_version", {}),
        ("latest_version", "none"),
    ],
)
def test_an_odd_example_or_version_costs_no_listing(field: str, odd: object) -> None:
    body = page(samples.MODEL, {**samples.MODEL, field: odd})
    results = decode_leniently(body, Page[Model]).results
    assert getattr(results[0], field) is not None
    assert getattr(results[1], field) is None


def test_a_training_ends_whatever_it_made() -> None:
    body = msgspec.json.encode({**samples.TRAINING, "output": "https://replicate.delivery/w"})
    training = decode_leniently(body, Training)
    assert (training.done, training.output) == (True, None)


@pytest.mark.parametrize(
    "changes", [{"id": 1}, {"status": None}, {"urls": []}, {"error": {}}, {"metrics": 3}]
)
def test_what_a_caller_acts_on_is_never_dropped(changes: samples.JSON) -> None:
    body = page({**samples.NEWEST, "created_at": "?", **changes})
    with pytest.raises(msgspec.ValidationError, match=next(iter(changes))):
        decode_leniently(body, Page[Prediction])


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"id":', b"\xff"])
def test_what_is_no_json_stays_an_error(body: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
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

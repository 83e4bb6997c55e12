from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_async import schemas
from replicate_async.schemas import (
    Account,
    Collection,
    CollectionItem,
    Deployment,
    File,
    Hardware,
    Model,
    Page,
    Prediction,
    Problem,
    SearchResults,
    Training,
    Version,
    WebhookSecret,
)
from tests.schemas import samples

RECORDED: list[tuple[Any, samples.JSON]] = [
    (Account, samples.ACCOUNT),
    (Collection, samples.COLLECTION),
    (CollectionItem, samples.COLLECTION_ITEM),
    (Deployment, samples.DEPLOYMENT),
    (File, samples.FILE),
    (Model, samples.MODEL),
    (Model, samples.NEW_MODEL),
    (Prediction, samples.BARE_ITEM),
    (Prediction, samples.BLOCKING_CREATE),
    (Prediction, samples.CANCEL),
    (Prediction, samples.NEWEST),
    (Problem, samples.PROBLEM),
    (Problem, samples.THROTTLED),
    (SearchResults, samples.SEARCH),
    (Training, samples.RUNNING_TRAINING),
    (Training, samples.TRAINING),
    (Version, samples.VERSION),
]
STRUCTS = [
    value
    for value in (getattr(schemas, name) for name in schemas.__all__)
    if isinstance(value, type) and issubclass(value, msgspec.Struct)
]


def decode(body: object, type: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(body), type=type)


def facts(value: object) -> object:
    """Return *value* as JSON, without nulls and with times that compare."""

    def said(fields: dict[str, Any]) -> dict[str, Any]:
        return {
            name: msgspec.convert(each, datetime) if name.endswith("_at") else each
            for name, each in fields.items()
            if each is not None
        }

    return json.loads(msgspec.json.encode(value), object_hook=said)


@pytest.mark.parametrize(("type", "sent"), RECORDED)
def test_a_recorded_answer_loses_nothing(type: Any, sent: samples.JSON) -> None:
    assert facts(decode(sent, type)) == facts(sent)


@pytest.mark.parametrize(("type", "sent"), RECORDED)
def test_a_snapshot_is_pure_data(type: Any, sent: samples.JSON) -> None:
    snapshot = decode(sent, type)
    assert snapshot == decode(sent, type)
    assert pickle.loads(pickle.dumps(snapshot)) == snapshot
    assert copy.deepcopy(snapshot) == snapshot
    assert msgspec.json.decode(msgspec.json.encode(snapshot), type=type) == snapshot
    with pytest.raises(AttributeError):
        setattr(snapshot, type.__struct_fields__[0], None)


def optional_fields(type: Any) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(type) if not field.required]


def nullable_fields(type: Any) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(type) if field.default is None]


@given(
    st.sampled_from(RECORDED),
    st.data(),
    st.dictionaries(
        st.text().map("x_{}".format),
        st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers()),
    ),
)
def test_absent_null_and_unknown_fields_are_no_trouble(
    recorded: tuple[Any, samples.JSON], data: st.DataObject, extra: dict[str, object]
) -> None:
    struct, sent = recorded
    without = data.draw(st.sets(st.sampled_from(optional_fields(struct))))
    null = data.draw(st.sets(st.sampled_from(nullable_fields(struct))))
    body = {name: value for name, value in sent.items() if name not in without}
    decoded = decode({**body, **dict.fromkeys(null), **extra}, struct)
    for field in msgspec.structs.fields(struct):
        if field.encode_name in null:
            assert getattr(decoded, field.name) is None
        elif field.encode_name in body:
            assert getattr(decoded, field.name) is not None or body[field.encode_name] is None


@given(st.sampled_from(RECORDED), st.data())
def test_identifying_fields_are_required(
    recorded: tuple[Any, samples.JSON], data: st.DataObject
) -> None:
    struct, sent = recorded
    required = [field.encode_name for field in msgspec.structs.fields(struct) if field.required]
    if not required:
        return
    missing = data.draw(st.sampled_from(required))
    with pytest.raises(msgspec.ValidationError, match=missing):
        decode({name: value for name, value in sent.items() if name != missing}, struct)


def test_required_fields_are_few() -> None:
    required = {
        struct.__name__: {field.name for field in msgspec.structs.fields(struct) if field.required}
        for struct in (Prediction, Training, Model, Version, File, Deployment, Hardware)
    }
    assert required == {
        "Prediction": {"id", "status"},
        "Training": {"id", "status"},
        "Model": {"owner", "name"},
        "Version": {"id"},
        "File": {"id", "urls"},
        "Deployment": {"owner", "name"},
        "Hardware": {"sku"},
    }


def test_a_create_of_2023_decodes_from_its_bytes() -> None:
    prediction = msgspec.json.decode(samples.EDGE_CREATE, type=Prediction)
    assert prediction.created_at == datetime(2023, 10, 29, 11, 19, 59, 558753, UTC)
    assert (prediction.output, prediction.started_at, prediction.metrics) == (None, None, None)
    assert prediction.urls.stream is not None


def test_hardware_is_a_bare_list() -> None:
    decoded = decode(samples.HARDWARE, list[Hardware])
    assert [hardware.sku for hardware in decoded] == [each["sku"] for each in samples.HARDWARE]


def test_the_last_of_two_equal_keys_counts() -> None:
    body = b'{"id":"a","model":"first/one","status":"starting","urls":{},"model":"last/one"}'
    assert msgspec.json.decode(body, type=Prediction).model == "last/one"


@pytest.mark.parametrize("status", ["aborted", "paused", ""])
def test_any_status_decodes(status: str) -> None:
    assert decode({**samples.NEWEST, "status": status}, Prediction).status == status


@pytest.mark.parametrize(
    ("number", "value"),
    [(b"1", 1), (b"1.5", 1.5), (b"3e-06", 3e-06), (b"1E+3", 1000.0), (b"9" * 30, int("9" * 30))],
)
def test_metrics_are_any_number(number: bytes, value: float) -> None:
    body = b'{"id":"a","status":"x","urls":{},"metrics":{"predict_time":%b}}' % number
    assert msgspec.json.decode(body, type=Prediction).metrics == {"predict_time": value}


@pytest.mark.parametrize("digits", range(13))
@pytest.mark.parametrize(
    ("zone", "offset"), [("Z", 0), ("z", 0), ("+00:00", 0), ("-05:30", -330), ("+0200", 120)]
)
def test_a_timestamp_has_any_number_of_digits(digits: int, zone: str, offset: int) -> None:
    fraction = f".{'123456123456'[:digits]}" if digits else ""
    sent = {**samples.BARE_ITEM, "created_at": f"2023-10-29T11:19:59{fraction}{zone}"}
    micros = int("123456"[:digits].ljust(6, "0"))
    where = timezone(timedelta(minutes=offset))
    expected = datetime(2023, 10, 29, 11, 19, 59, micros, where)
    assert decode(sent, Prediction).created_at == expected


def test_a_timestamp_is_rounded_to_microseconds() -> None:
    sent = {**samples.BARE_ITEM, "created_at": "2023-12-31T23:59:59.9999996Z"}
    assert decode(sent, Prediction).created_at == datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "completed_at", "done"),
    [
        ("starting", None, False),
        ("processing", None, False),
        ("processing", "2024-01-01T00:00:00Z", False),
        ("succeeded", None, True),
        ("failed", None, True),
        ("canceled", None, True),
        ("aborted", None, True),
        ("expired", None, False),
        ("expired", "2024-01-01T00:00:00Z", True),
    ],
)
def test_done_is_a_terminal_status(status: str, completed_at: str | None, done: bool) -> None:
    sent = {**samples.BLOCKING_CREATE, "status": status, "completed_at": completed_at}
    assert decode(sent, Prediction).done is done
    assert decode({**sent, "output": None}, Training).done is done


@pytest.mark.parametrize(
    ("link", "url"),
    [
        (None, None),
        ("", None),
        ("null", None),
        (
            "https://api.replicate.com/v1/models?cursor=cD0y",
            "https://api.replicate.com/v1/models?cursor=cD0y",
        ),
    ],
)
def test_a_listing_ends_without_a_link(link: str | None, url: str | None) -> None:
    page = decode({"next": link, "previous": link, "results": []}, Page[Model])
    assert (page.next, page.next_url, page.previous_url) == (link, url, url)


def test_an_object_without_results_is_not_a_page() -> None:
    with pytest.raises(msgspec.ValidationError, match="results"):
        decode({"detail": "Not now."}, Page[Model])


@pytest.mark.parametrize("example", [{}, {"urls": {}}, {"input": {"prompt": "x"}}, samples.CANCEL])
def test_an_example_may_lack_anything(example: samples.JSON) -> None:
    model = decode({**samples.MODEL, "default_example": example}, Model)
    assert facts(model.default_example) == facts(example)


def test_a_secret_does_not_show() -> None:
    secret = decode({"key": "whsec_c2VjcmV0"}, WebhookSecret)
    assert secret.key == "whsec_c2VjcmV0"
    assert "c2VjcmV0" not in f"{secret!r} {secret}"


def test_every_struct_is_frozen_and_takes_keywords_only() -> None:
    assert len(STRUCTS) > 40
    for struct in STRUCTS:
        assert struct.__struct_config__.frozen, struct
        with pytest.raises(TypeError):
            struct("by position")

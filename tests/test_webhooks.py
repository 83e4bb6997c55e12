from __future__ import annotations

import base64
import contextlib
import json
import traceback
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_async.core.webhook import sign
from replicate_async.errors import DecodeError, InvalidArgumentError, WebhookVerificationError
from replicate_async.schemas import Prediction, Training, WebhookSecret
from replicate_async.webhooks import Headers, WebhookDedupe, unwrap, verify

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY = base64.b64decode(SECRET.removeprefix("whsec_"))
NOW = 1_614_265_330
API = "https://api.replicate.com/v1"
VERSION = "ab" * 32


class Vector(TypedDict):
    name: str
    secrets: list[str]
    headers: dict[str, str]
    body_base64: str
    now: float
    tolerance_s: float | None
    valid: bool
    error: NotRequired[str]


def read_vectors() -> list[Vector]:
    text = (Path(__file__).parent / "data" / "webhooks.json").read_text("utf-8")
    vectors: list[Vector] = json.loads(text)["vectors"]
    return vectors


def signed(body: bytes, *, id: str = "msg_1", timestamp: int = NOW) -> dict[str, str]:
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(KEY, id, timestamp, body),
    }


def run_body(kind: str, **fields: object) -> bytes:
    run = {
        "id": "abc",
        "model": "acme/echo",
        "version": VERSION,
        "status": "processing",
        "input": {},
        "output": None,
        "error": None,
        "created_at": "2024-10-04T18:07:33.396Z",
        "urls": {"get": f"{API}/{kind}/abc", "cancel": f"{API}/{kind}/abc/cancel"},
    }
    return json.dumps(run | fields).encode()


@pytest.mark.parametrize("vector", read_vectors(), ids=lambda vector: str(vector["name"]))
def test_every_vector_has_its_result(vector: Vector) -> None:
    body = base64.b64decode(vector["body_base64"])
    secrets = vector["secrets"]
    for secret in (secrets, tuple(secrets), secrets[0] if len(secrets) == 1 else secrets):
        if vector["valid"]:
            verify(
                body,
                vector["headers"],
                secret,
                now=vector["now"],
                tolerance=vector["tolerance_s"],
            )
            continue
        with pytest.raises(WebhookVerificationError) as caught:
            verify(
                body,
                vector["headers"],
                secret,
                now=vector["now"],
                tolerance=vector["tolerance_s"],
            )
        assert caught.value.reason == vector.get("error")


def test_the_system_clock_and_five_minutes_are_the_default() -> None:
    with pytest.raises(WebhookVerificationError, match="in the past") as caught:
        verify(b"{}", signed(b"{}"), SECRET)
    assert caught.value.reason == "InvalidTimestamp"
    verify(b"{}", signed(b"{}"), SECRET, tolerance=None)
    verify(b"{}", signed(b"{}"), SECRET, now=NOW + 300)


def test_a_text_body_counts_as_its_utf8_bytes() -> None:
    verify("{\u00e9}", signed("{\u00e9}".encode()), SECRET, now=NOW)


def message_headers(values: dict[str, str]) -> Message:
    message = Message()
    for name, value in values.items():
        message[name] = value
    return message


def test_headers_come_in_any_of_the_forms_that_frameworks_have() -> None:
    values = signed(b"{}")
    forms: list[Headers] = [
        values,
        {name.title(): value for name, value in values.items()},
        list(values.items()),
        iter(values.items()),
        [(name.encode(), value.encode()) for name, value in values.items()],
        [("X-Other", "1"), *values.items(), (b"host", b"example")],
        message_headers(values),
    ]
    for headers in forms:
        verify(b"{}", headers, SECRET, now=NOW)


def test_several_signature_headers_are_read_as_one_list() -> None:
    pairs = [*signed(b"{}").items(), ("webhook-signature", "v1,AAAA")]
    verify(b"{}", pairs, SECRET, now=NOW)
    verify(b"{}", pairs[::-1], SECRET, now=NOW)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp"])
def test_a_second_id_or_timestamp_is_refused(name: str) -> None:
    pairs = [*signed(b"{}").items(), (name.upper(), signed(b"{}")[name])]
    with pytest.raises(WebhookVerificationError, match="more than one"):
        verify(b"{}", pairs, SECRET, now=NOW)


def test_an_old_and_a_new_secret_are_both_taken() -> None:
    other = "whsec_" + base64.b64encode(b"other" * 5).decode()
    verify(b"{}", signed(b"{}"), [other, SECRET], now=NOW)
    verify(b"{}", signed(b"{}"), (SECRET, other), now=NOW)
    with pytest.raises(WebhookVerificationError) as caught:
        verify(b"{}", signed(b"{}"), [other], now=NOW)
    assert caught.value.reason == "InvalidSignature"


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_sentinel!", [], [SECRET, "sentinel!"]])
def test_a_bad_secret_is_named_before_anything_else_and_never_shown(
    secret: str | list[str],
) -> None:
    with pytest.raises(WebhookVerificationError) as caught:
        verify(b"{}", {}, secret, now=NOW)
    assert caught.value.reason == "InvalidSecret"
    assert_hidden(caught.value, "sentinel")


def assert_hidden(error: BaseException, secret: str) -> None:
    shown = [str(error), repr(error), repr(error.args), repr(vars(error))]
    shown += [line for line in traceback.format_exception(error) if "verify(" not in line]
    assert not [text for text in shown if secret in text]
    assert error.__context__ is None


BAD_REQUESTS: list[tuple[bytes, dict[str, str]]] = [
    (b"{}", {}),
    (b"{} ", signed(b"{}")),
    (b"{}", signed(b"{}", timestamp=1)),
    (b"{}", signed(b"{}") | {"webhook-timestamp": "soon"}),
    (b"{}", signed(b"{}") | {"webhook-signature": "v1"}),
    (b"{}", signed(b"{}") | {"webhook-signature": "v2,x"}),
]


@pytest.mark.parametrize(("body", "headers"), BAD_REQUESTS, ids=range(len(BAD_REQUESTS)))
def test_no_refusal_shows_the_secret_or_a_right_signature(
    body: bytes, headers: dict[str, str]
) -> None:
    with pytest.raises(WebhookVerificationError) as caught:
        verify(body, headers, SECRET, now=NOW)
    assert_hidden(caught.value, SECRET.removeprefix("whsec_"))
    assert_hidden(caught.value, signed(body)["webhook-signature"].removeprefix("v1,"))


def test_a_lone_surrogate_is_refused_like_any_other_text() -> None:
    requests: list[tuple[str, dict[str, str]]] = [
        ("\ud800", signed(b"")),
        ("", signed(b"") | {"webhook-id": "\ud800"}),
        ("", signed(b"") | {"webhook-signature": "v1,\ud800"}),
    ]
    for body, headers in requests:
        with pytest.raises(WebhookVerificationError) as caught:
            verify(body, headers, SECRET, now=NOW)
        assert caught.value.reason == "InvalidSignature"


def test_a_parsed_body_is_refused_with_advice() -> None:
    parsed: object = {"test": 1}
    with pytest.raises(InvalidArgumentError, match="raw bytes"):
        verify(parsed, signed(b"{}"), SECRET)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - a mistake callers make


@pytest.mark.parametrize("headers", [None, 5, "webhook-id", [1], ["ab", "abc"]])
def test_wrong_headers_are_refused_with_advice(headers: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="pass the request's headers as its framework"):
        verify(b"{}", headers, SECRET)


def parsed(change: Callable[[str], object]) -> list[Headers]:
    """Return the headers of a signed message with values as gateways and parsers make them."""
    values: Any = {name: change(value) for name, value in signed(b"{}").items()}
    return [values, list(values.items())]


def test_header_values_may_be_lists_numbers_and_bytes() -> None:
    def number(value: str) -> object:
        return int(value) if value.isdigit() else value

    changes: list[Callable[[str], object]] = [
        lambda value: [value],
        lambda value: (value.encode(),),
        lambda value: bytearray(value.encode()),
        number,
        lambda value: [number(value)],
    ]
    for headers in (each for change in changes for each in parsed(change)):
        verify(b"{}", headers, SECRET, now=NOW)
        assert not WebhookDedupe().seen(headers)


@pytest.mark.parametrize("value", [1.5, True, {"value": "x"}, object(), [["x", 1.5]]])
def test_a_header_that_is_no_text_is_named(value: object) -> None:
    headers: Any = signed(b"{}") | {"webhook-timestamp": value}
    with pytest.raises(InvalidArgumentError, match=r"The webhook-timestamp header is a .*; pass"):
        verify(b"{}", headers, SECRET, now=NOW)


def test_a_list_of_two_ids_is_refused_like_two_headers() -> None:
    for name, value in {"webhook-id": ["a", "b"], "webhook-timestamp": [], "other": [1.5]}.items():
        headers: Any = signed(b"{}") | {name: value}
        if name == "other":
            verify(b"{}", headers, SECRET, now=NOW)
            continue
        with pytest.raises(WebhookVerificationError) as caught:
            verify(b"{}", headers, SECRET, now=NOW)
        assert caught.value.reason == "MissingHeader"


def test_a_secret_may_be_what_the_api_returned() -> None:
    returned = WebhookSecret(key=SECRET)
    other = "whsec_" + base64.b64encode(b"other").decode()

    verify(b"{}", signed(b"{}"), returned, now=NOW)
    verify(b"{}", signed(b"{}"), [other, returned], now=NOW)
    with pytest.raises(WebhookVerificationError, match="No v1 signature matches"):
        verify(b"{}", signed(b"{}"), WebhookSecret(key=other), now=NOW)
    with pytest.raises(WebhookVerificationError) as caught:
        verify(b"{}", signed(b"{}"), WebhookSecret(key="!"), now=NOW)
    assert caught.value.reason == "InvalidSecret"


TEXT = st.text(st.characters(exclude_categories=[]), max_size=30)
ODD = st.sampled_from([
    *signed(b"{}").values(), "v1,", "v1,x v1,\u00e9", " ", "nan", "1e9", "9" * 5000, "\ud800",
])  # fmt: skip
NAMES = st.sampled_from([*signed(b""), "Webhook-ID", "svix-id"]) | TEXT
PAIRS = st.lists(st.tuples(NAMES, TEXT | ODD), max_size=6)
BYTE_PAIRS = st.lists(
    st.tuples(NAMES.map(lambda name: name.encode("utf-8", "replace")), st.binary(max_size=30))
)
SECRETS = TEXT | st.just(SECRET) | st.lists(TEXT | st.just(SECRET), max_size=3)


@given(st.binary(max_size=50) | TEXT, PAIRS | PAIRS.map(dict) | BYTE_PAIRS, SECRETS)
def test_any_request_raises_only_the_documented_error(
    body: bytes | str, headers: Headers, secret: str | list[str]
) -> None:
    with pytest.raises(WebhookVerificationError):
        verify(body, headers, secret, now=NOW + 1000)


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["id", "status", "urls", "get", "output", "version", "created_at"]), inner
    ),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_a_signed_body_that_is_not_a_run_is_a_decode_error(body: bytes) -> None:
    run: object = None
    with contextlib.suppress(DecodeError):
        run = unwrap(body, signed(body), SECRET, now=NOW)
    assert run is None or isinstance(run, Prediction | Training)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"id": 1}'])
def test_a_decode_error_shows_the_answer(body: bytes) -> None:
    with pytest.raises(DecodeError, match="signed") as caught:
        unwrap(body, signed(body), SECRET, now=NOW)
    assert caught.value.snippet == body[:200].decode("utf-8", "replace")
    assert caught.value.__context__ is None


def test_an_unsigned_body_is_not_decoded() -> None:
    with pytest.raises(WebhookVerificationError):
        unwrap(b"not json", signed(b"{}"), SECRET, now=NOW)


def test_an_odd_timestamp_does_not_break_a_prediction() -> None:
    body = run_body("predictions", started_at="yesterday")
    run = unwrap(body, signed(body), SECRET, now=NOW)
    assert (run.id, run.started_at) == ("abc", None)


def test_the_urls_tell_a_training_from_a_prediction() -> None:
    for kind, expected in (("predictions", Prediction), ("trainings", Training)):
        body = run_body(kind)
        run = unwrap(body, signed(body), SECRET, now=NOW)
        assert type(run) is expected
        assert run.id == "abc"


def test_the_output_tells_where_the_urls_say_predictions() -> None:
    trained = {"version": f"acme/mine:{VERSION}", "weights": "https://replicate.delivery/w.tar"}
    for output, expected in (
        (trained, Training),
        ({"version": trained["version"]}, Training),
        ({"version": "1.0", "weights": "x"}, Prediction),
        ({**trained, "loss": 0.1}, Prediction),
        ({"weights": "x"}, Prediction),
        ("https://example.com/trainings/abc", Prediction),
        ([trained], Prediction),
    ):
        body = run_body("predictions", status="succeeded", output=output)
        assert type(unwrap(body, signed(body), SECRET, now=NOW)) is expected


def test_a_name_in_a_url_does_not_make_a_training() -> None:
    urls = {"get": f"{API}/predictions/abc?x=/trainings/abc/y", "web": f"{API}/trainings/abc"}
    body = run_body("predictions", urls=urls)
    assert type(unwrap(body, signed(body), SECRET, now=NOW)) is Prediction


def test_the_caller_may_say_which_it_is() -> None:
    body = run_body("predictions")
    training: Training = unwrap(body, signed(body), SECRET, type=Training, now=NOW)
    assert type(training) is Training
    body = run_body("trainings")
    prediction: Prediction = unwrap(body, signed(body), SECRET, type=Prediction, now=NOW)
    assert type(prediction) is Prediction


def test_a_repeated_message_is_noticed_and_may_be_forgotten() -> None:
    dedupe = WebhookDedupe()
    first, second = signed(b"", id="msg_1"), signed(b"", id="msg_2")
    assert not dedupe.seen(first)
    assert not dedupe.seen(second)
    assert dedupe.seen({"Webhook-Id": "msg_1"})
    dedupe.forget(first)
    assert not dedupe.seen(first)
    assert dedupe.seen(second)
    dedupe.forget(signed(b"", id="never"))


def test_the_memory_of_ids_is_bounded_and_drops_the_oldest() -> None:
    dedupe = WebhookDedupe(max_ids=3)
    for number in range(10):
        assert not dedupe.seen({"webhook-id": f"{number}"})
        assert len(dedupe) <= 3
    assert all(dedupe.seen({"webhook-id": f"{number}"}) for number in (7, 8, 9))
    assert not dedupe.seen({"webhook-id": "6"})


def test_ids_are_forgotten_after_their_time() -> None:
    clock = [0.0]
    dedupe = WebhookDedupe(ttl=10, clock=lambda: clock[0])
    assert not dedupe.seen({"webhook-id": "a"})
    clock[0] = 9.9
    assert dedupe.seen({"webhook-id": "a"})
    assert not dedupe.seen({"webhook-id": "b"})
    clock[0] = 10
    assert not dedupe.seen({"webhook-id": "a"})
    assert len(dedupe) == 2


def test_a_message_without_an_id_cannot_be_remembered() -> None:
    dedupe = WebhookDedupe()
    for headers in ({}, {"webhook-id": ""}, {"webhook-id": "a", "Webhook-Id": "b"}):
        with pytest.raises(WebhookVerificationError) as caught:
            dedupe.seen(headers)
        assert caught.value.reason == "MissingHeader"


@pytest.mark.parametrize(("max_ids", "ttl"), [(0, 1), (1, 0), (1, float("nan"))])
def test_a_dedupe_without_room_is_refused(max_ids: int, ttl: float) -> None:
    with pytest.raises(InvalidArgumentError):
        WebhookDedupe(max_ids=max_ids, ttl=ttl)


@pytest.mark.parametrize("option", [{"tolerance": "300"}, {"tolerance": -1}, {"now": "1700000000"}])
def test_a_time_that_is_no_number_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{next(iter(option))}="):
        verify(b"{}", {}, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", **option)


@pytest.mark.parametrize("kind", [dict, str, "prediction"])
def test_a_webhook_is_a_prediction_or_a_training(kind: Any) -> None:
    body = run_body("prediction")

    with pytest.raises(InvalidArgumentError, match="must be Prediction, Training or None"):
        unwrap(body, signed(body), SECRET, type=kind, now=NOW)

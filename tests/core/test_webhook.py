from __future__ import annotations

import base64
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_async.core.webhook import Refusal, check, decode_secret, sign

KEY = bytes(range(24))
OTHER = bytes(range(1, 25))
NOW = 1_614_265_330
BODY = b'{"test": 2432232314}'


def judge(
    signature: str,
    *,
    keys: tuple[bytes, ...] = (KEY,),
    timestamp: str = str(NOW),
    now: float = NOW,
    tolerance: float | None = 300,
) -> Refusal | None:
    return check(
        BODY,
        id="msg_1",
        timestamp=timestamp,
        signature=signature,
        keys=keys,
        now=now,
        tolerance=tolerance,
    )


def test_the_published_signature_is_made() -> None:
    key = decode_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", NOW, BODY)
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.binary(min_size=1, max_size=64), st.text(max_size=20), st.binary(max_size=200))
def test_what_was_signed_is_accepted(key: bytes, id: str, body: bytes) -> None:
    refusal = check(
        body,
        id=id or "x",
        timestamp=str(NOW),
        signature=sign(key, id or "x", NOW, body),
        keys=[key],
        now=NOW,
        tolerance=0,
    )
    assert refusal is None


def test_one_good_signature_among_many_is_enough_wherever_it_stands() -> None:
    good, bad = sign(KEY, "msg_1", NOW, BODY), sign(OTHER, "msg_1", NOW, BODY)
    for place in range(5):
        entries = [bad, "v1,", "v2,AAAA", "nonsense"]
        entries.insert(place, good)
        assert judge(" ".join(entries)) is None
    assert judge(" ".join([bad] * 500 + [good])) is None


def test_any_of_several_keys_will_do() -> None:
    signature = sign(OTHER, "msg_1", NOW, BODY)
    assert judge(signature, keys=(KEY, OTHER)) is None
    assert judge(signature, keys=(OTHER, KEY)) is None
    assert judge(signature, keys=(KEY,)) is not None
    assert judge(signature, keys=()) is not None


def test_other_versions_and_spellings_of_a_right_signature_are_refused() -> None:
    value = sign(KEY, "msg_1", NOW, BODY).removeprefix("v1,")
    for signature in (
        f"v2,{value}",
        f"v1a,{value}",
        f"V1,{value}",
        f"v1 ,{value}",
        f"v1;{value}",
        f"v1={value}",
        value,
        f"v1,{value.rstrip('=')}",
        f"v1,{value}=",
        f"v1,{value},",
        f"v1,\u00e9{value}",
        f"v1,{value}\n",
        f",{value}",
        "v1",
        "v1,",
        " ",
    ):
        refusal = judge(signature)
        assert refusal is not None, signature
        assert refusal.reason == "InvalidSignature"


@pytest.mark.parametrize(
    "timestamp", ["", "1e9", "+1", "-1", "1.0", " 1", "1_0", "\u0661", "\u00b2"]
)
def test_only_plain_digits_are_a_timestamp(timestamp: str) -> None:
    refusal = judge("v1,x", timestamp=timestamp, tolerance=None)
    assert refusal is not None
    assert refusal.reason == ("InvalidTimestamp" if timestamp else "MissingHeader")


def test_a_timestamp_of_any_length_is_refused_not_an_error() -> None:
    refusal = judge("v1,x", timestamp="9" * 10_000)
    assert refusal is not None
    assert refusal.reason == "InvalidTimestamp"


@pytest.mark.parametrize(
    ("now", "tolerance", "accepted"),
    [
        (NOW + 300, 300, True),
        (NOW - 300, 300, True),
        (NOW + 300.5, 300, False),
        (NOW - 300.5, 300, False),
        (NOW, 0, True),
        (NOW + 1, 0, False),
        (NOW + 10**9, None, True),
        (NOW + 10**9, float("inf"), True),
        (NOW, float("nan"), False),
        (float("nan"), 300, False),
        (NOW, -1, False),
    ],
)
def test_the_tolerance_is_for_both_sides(
    now: float, tolerance: float | None, accepted: bool
) -> None:
    refusal = judge(sign(KEY, "msg_1", NOW, BODY), now=now, tolerance=tolerance)
    assert (refusal is None) is accepted
    assert refusal is None or refusal.reason == "InvalidTimestamp"


def test_a_clock_that_is_off_is_told_by_how_much() -> None:
    refusal = judge(sign(KEY, "msg_1", NOW, BODY), now=NOW - 4000)
    assert refusal is not None
    assert "4000 s in the future" in refusal.message


@pytest.mark.parametrize("missing", ["id", "timestamp", "signature"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_header_is_named(missing: str, value: str | None) -> None:
    given_: dict[str, str | None] = {"id": "msg_1", "timestamp": str(NOW), "signature": "v1,x"}
    given_[missing] = value
    refusal = check(
        BODY,
        id=given_["id"],
        timestamp=given_["timestamp"],
        signature=given_["signature"],
        keys=[KEY],
        now=NOW,
        tolerance=300,
    )
    assert refusal is not None
    assert refusal.reason == "MissingHeader"
    assert f"webhook-{missing} " in refusal.message


@given(st.binary(min_size=1, max_size=64))
def test_a_secret_is_decoded_with_and_without_prefix_and_padding(key: bytes) -> None:
    text = base64.b64encode(key).decode()
    for secret in (text, f"whsec_{text}", text.rstrip("="), f" whsec_{text}\n"):
        assert decode_secret(secret) == key


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_!!!!", "whsec_A", "====", "Zm9v\u00e9", "Zm9v Zm9v", "Zg==Zg=="]
)
def test_a_bad_secret_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="not base64"):
        decode_secret(secret)


def test_a_bad_secret_is_not_shown() -> None:
    with pytest.raises(ValueError, match="not base64") as caught:
        decode_secret("whsec_sentinel!")
    assert "sentinel" not in "".join(traceback.format_exception_only(caught.value)), (
        "the message shows the secret"
    )
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None

"""Standard Webhooks signatures: HMAC-SHA256 over `id.timestamp.body`, version `v1`."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

__all__ = ["Reason", "Refusal", "check", "decode_secret", "sign"]

Reason = Literal["InvalidSecret", "MissingHeader", "InvalidTimestamp", "InvalidSignature"]

_VERSION: Final = "v1"
_PREFIX: Final = "whsec_"
# Enough for any Unix time, and short of the length at which int() refuses.
_MAX_DIGITS: Final = 20


class Refusal(NamedTuple):
    """Why a request was not accepted."""

    reason: Reason
    message: str


def decode_secret(secret: str) -> bytes:
    """Decode a signing secret (base64, padded or not, with or without `whsec_`) to its key.

    Raises `ValueError`, which does not show the secret.
    """
    text = secret.strip().removeprefix(_PREFIX)
    key = b""
    # Raised below rather than from here: a context would take frames that hold the secret along.
    with contextlib.suppress(ValueError):
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    if not key:
        raise ValueError(
            "The webhook secret is empty or not base64; pass it as the API gives it "
            '("whsec_" and the base64 text), for example from client.webhooks.default.secret.get().'
        )
    return key


def sign(key: bytes, id: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` value ("v1," and base64) for a message."""
    return f"{_VERSION},{_digest(key, id, str(timestamp), body)}"


def check(
    body: bytes,
    *,
    id: str | None,
    timestamp: str | None,
    signature: str | None,
    keys: Sequence[bytes],
    now: float,
    tolerance: float | None,
) -> Refusal | None:
    """Return why a message must be refused, or None if one of *keys* signed it.

    *now* is Unix time; *tolerance* is how many seconds the timestamp may lie to either side of it,
    None for any age. Every signature is compared with every key, whether or not one matched.
    """
    headers = {"webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signature}
    missing = [name for name, value in headers.items() if not value]
    if not id or not timestamp or not signature:
        names = ", ".join(missing)
        return Refusal("MissingHeader", f"The request has no {names} header; it is not a webhook.")
    return _check_timestamp(timestamp, now, tolerance) or _check_signature(
        signature, [_digest(key, id, timestamp, body) for key in keys]
    )


def _check_timestamp(timestamp: str, now: float, tolerance: float | None) -> Refusal | None:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= _MAX_DIGITS):
        return Refusal("InvalidTimestamp", "The webhook-timestamp is not a Unix time in digits.")
    if tolerance is None:
        return None
    age = now - int(timestamp)
    # Asked this way round, a NaN refuses.
    if abs(age) <= tolerance:
        return None
    side = "in the past" if age > 0 else "in the future"
    return Refusal(
        "InvalidTimestamp",
        f"The webhook-timestamp is {abs(age):.0f} s {side}, more than the tolerance of "
        f"{tolerance:.0f} s: an old or repeated request, or this machine's clock is wrong.",
    )


def _check_signature(signature: str, expected: Sequence[str]) -> Refusal | None:
    wanted = [text.encode("ascii") for text in expected]
    offered = 0
    matched = False
    for entry in signature.split(" "):
        version, _, value = entry.partition(",")
        if version != _VERSION or not value.isascii():
            continue
        offered += 1
        for digest in wanted:
            matched |= hmac.compare_digest(value.encode("ascii"), digest)
    if matched:
        return None
    if not offered:
        return Refusal("InvalidSignature", "The webhook-signature has no v1 signature.")
    return Refusal(
        "InvalidSignature",
        "No v1 signature matches: check that the secret is the account's, and that the body is "
        "the raw bytes as received, not parsed and written again.",
    )


def _digest(key: bytes, id: str, timestamp: str, body: bytes) -> str:
    # A lone surrogate in a header must lead to a refusal, not to a UnicodeEncodeError.
    head = f"{id}.{timestamp}.".encode("utf-8", "surrogatepass")
    return base64.b64encode(hmac.digest(key, head + body, hashlib.sha256)).decode("ascii")

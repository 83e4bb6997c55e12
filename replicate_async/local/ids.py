"""IDs, tokens and secrets in the service's format."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import string
import uuid

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_RUN_BYTES = 17
"""Bytes that hold the number of a run's id, 26 digits of 5 bits."""
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


def _draw(alphabet: str, count: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(count))


def run_id() -> str:
    """Return the id of a prediction or training: 26 characters of lower-case Crockford base32."""
    return _draw(_CROCKFORD, 26)


def capability() -> str:
    """Return the secret part of a stream's or output file's URL: 52 characters of base32."""
    return _draw(_BASE32, 52)


def run_capability(id: str, key: bytes) -> str:
    """Return the secret part of the URL of a run's stream, an HMAC of its *id* with *key*."""
    number = 0
    for character in id:
        number = number * 32 + _CROCKFORD.index(character)
    return _signed(number.to_bytes(_RUN_BYTES, "big"), key)


def is_run_capability(text: str, key: bytes) -> bool:
    """Return whether `run_capability` made *text* with *key*."""
    try:
        raw = base64.b32decode(text.upper() + "====")
    except binascii.Error:
        return False
    return hmac.compare_digest(_signed(raw[:_RUN_BYTES], key), text)


def _signed(number: bytes, key: bytes) -> str:
    mark = hmac.digest(key, number, "sha256")[: 32 - _RUN_BYTES]
    return base64.b32encode(number + mark).decode().rstrip("=").lower()


def file_id() -> str:
    """Return the id of an uploaded file: a UUID in base64."""
    return base64.urlsafe_b64encode(str(uuid.uuid4()).encode()).decode()


def api_token() -> str:
    """Return an API token: `r8_` and 37 characters."""
    return "r8_" + _draw(string.ascii_letters + string.digits, 37)


def webhook_secret() -> str:
    """Return a webhook signing secret: `whsec_` and 24 bytes in base64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()


def message_id() -> str:
    """Return the id of a webhook message."""
    return "msg_" + _draw(string.ascii_letters + string.digits, 27)

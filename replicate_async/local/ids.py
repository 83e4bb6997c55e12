"""Identifiers in the forms that the service mints them."""

from __future__ import annotations

import base64
import secrets
import string
import uuid

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


def _draw(alphabet: str, count: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(count))


def run_id() -> str:
    """Return the id of a prediction or training: 26 characters of lower-case Crockford base32."""
    return _draw(_CROCKFORD, 26)


def capability() -> str:
    """Return the secret part of a stream's or output file's URL: 52 characters of base32."""
    return _draw(_BASE32, 52)


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

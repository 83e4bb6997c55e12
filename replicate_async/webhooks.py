"""Webhooks in a web application: verify them, decode them, and skip repeated deliveries."""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import Final, Protocol, TypeAlias, cast, overload, runtime_checkable

import msgspec

from replicate_async.arguments import check_count
from replicate_async.core import webhook
from replicate_async.core.endpoint import shorten
from replicate_async.core.numbers import is_number
from replicate_async.errors import DecodeError, InvalidArgumentError, WebhookVerificationError
from replicate_async.schemas import Prediction, Training, WebhookSecret, decode_leniently

__all__ = ["Headers", "Secret", "WebhookDedupe", "unwrap", "verify"]

_ID: Final = "webhook-id"
_TIMESTAMP: Final = "webhook-timestamp"
_SIGNATURE: Final = "webhook-signature"

_LARGEST_NUMBER: Final = 10**20

_Name: TypeAlias = str | bytes
_Value: TypeAlias = str | bytes | int | Sequence[str | bytes | int]


@runtime_checkable
class _HasItems(Protocol):
    """The header object of a web framework; not all of them are mappings."""

    def items(self) -> Iterable[tuple[_Name, _Value]]:
        """Return names and values, a name perhaps more than once."""
        ...


Headers: TypeAlias = Mapping[str, _Value] | _HasItems | Iterable[tuple[_Name, _Value]]
"""A mapping, the header object of a framework, or (name, value) pairs as in an ASGI scope.

A value is a string, bytes, a whole number, or a list of those.
"""
Secret: TypeAlias = str | WebhookSecret | Sequence[str | WebhookSecret]
"""What ``client.webhooks.default.secret.get()`` returns, its ``key``, or several of them."""

_Kind: TypeAlias = type[Prediction] | type[Training]


def verify(
    body: bytes | str,
    headers: Headers,
    secret: Secret,
    *,
    tolerance: float | None = 300,
    now: float | None = None,
) -> None:
    """Check that a webhook request is signed with the account's secret.

    A request that is delivered again within the tolerance passes: see `WebhookDedupe`.

    Example::

        secret = await client.webhooks.default.secret.get()  # once
        verify(await request.body(), request.headers, secret)

    Args:
        body: The raw body, as received.
        headers: The headers of the request, as the web framework gives them.
        secret: What ``client.webhooks.default.secret.get()`` returns, its ``key``, or several of
            them while secrets change.
        tolerance: The most seconds between the timestamp and *now*, 300 by default; None for any
            age.
        now: The Unix time; the clock of the system by default.

    Raises:
        WebhookVerificationError: The request is not signed so; ``reason`` is "InvalidSecret",
            "MissingHeader", "InvalidTimestamp" or "InvalidSignature".
    """
    _verify(_raw(body), headers, secret, tolerance, now)


@overload
def unwrap(
    body: bytes | str,
    headers: Headers,
    secret: Secret,
    *,
    type: None = None,
    tolerance: float | None = 300,
    now: float | None = None,
) -> Prediction | Training: ...
@overload
def unwrap(
    body: bytes | str,
    headers: Headers,
    secret: Secret,
    *,
    type: type[Prediction],
    tolerance: float | None = 300,
    now: float | None = None,
) -> Prediction: ...
@overload
def unwrap(
    body: bytes | str,
    headers: Headers,
    secret: Secret,
    *,
    type: type[Training],
    tolerance: float | None = 300,
    now: float | None = None,
) -> Training: ...
def unwrap(
    body: bytes | str,
    headers: Headers,
    secret: Secret,
    *,
    type: _Kind | None = None,
    tolerance: float | None = 300,
    now: float | None = None,
) -> Prediction | Training:
    """Verify a webhook request as `verify` does, and return the run in its body.

    No field or header tells predictions from trainings; ``urls`` and ``output`` do in most cases.
    A training that has not ended and whose URLs say "predictions" is returned as a `Prediction`.

    Example::

        run = unwrap(await request.body(), request.headers, secret)
        await client.predictions.handle_webhook(run)

    Args:
        body: The raw body, as received.
        headers: The headers of the request, as the web framework gives them.
        secret: The webhook secret, or several; see `verify`.
        type: `Prediction` or `Training`, if only one kind is sent to the URL.
        tolerance: Seconds; see `verify`.
        now: The Unix time; see `verify`.

    Raises:
        WebhookVerificationError: The request is not signed with the secret.
        DecodeError: The body is signed, but is not a run.
    """
    if type not in {None, Prediction, Training}:
        raise InvalidArgumentError(f"type={shorten(type)} must be Prediction, Training or None.")
    raw = _raw(body)
    _verify(raw, headers, secret, tolerance, now)
    kind = type or (Training if _is_training(raw) else Prediction)
    problem = ""
    try:
        return _decode(raw, kind)
    except (ValueError, RecursionError) as error:
        problem = str(error)
    raise DecodeError(
        f"The webhook is signed, but its body is not a {kind.__name__.lower()}: {problem}",
        content_type="application/json",
        snippet=raw[:200].decode("utf-8", "replace"),
    )


class WebhookDedupe:
    """A bounded memory of webhook ids, to handle each message once; call `seen` after `verify`.

    A message that is delivered again, as a retry or as a replay, has the same ``webhook-id``. The
    ids are kept in this process: where several processes receive webhooks, keep the ids in a
    database.

    Args:
        max_ids: The most ids, 10,000 by default; the oldest are dropped first.
        ttl: Seconds for which an id is kept; 660 by default, which is the tolerance of `verify` on
            both sides, and a minute.
        clock: The clock, in seconds.
    """

    def __init__(
        self,
        *,
        max_ids: int = 10_000,
        ttl: float = 660,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_count("max_ids", max_ids, 1, sys.maxsize, optional=False)
        if not (is_number(ttl, 0, math.inf) and ttl):
            raise InvalidArgumentError(f"ttl={shorten(ttl)} must be a number of seconds above 0.")
        self._max_ids = max_ids
        self._ttl = ttl
        self._clock = clock
        self._expiry: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._expiry)

    def seen(self, headers: Headers) -> bool:
        """Return whether this message was seen before, and remember it.

        Args:
            headers: The headers of the request.

        Raises:
            WebhookVerificationError: There is no ``webhook-id``.
        """
        webhook_id = self._id(headers)
        now = self._clock()
        self._drop_expired(now)
        if webhook_id in self._expiry:
            return True
        if len(self._expiry) >= self._max_ids:
            del self._expiry[next(iter(self._expiry))]
        self._expiry[webhook_id] = now + self._ttl
        return False

    def forget(self, headers: Headers) -> None:
        """Forget a message whose handling failed, so that its next delivery is handled.

        Args:
            headers: The headers of the request.

        Raises:
            WebhookVerificationError: There is no ``webhook-id``.
        """
        self._expiry.pop(self._id(headers), None)

    def _drop_expired(self, now: float) -> None:
        # The ids expire in the order of the dict.
        while self._expiry and self._expiry[oldest := next(iter(self._expiry))] <= now:
            del self._expiry[oldest]

    @staticmethod
    def _id(headers: Headers) -> str:
        ids = _select(headers)[_ID]
        if len(ids) != 1 or not ids[0]:
            raise WebhookVerificationError(
                "The request has no single webhook-id header; verify it first.",
                reason="MissingHeader",
            )
        return ids[0]


def _verify(
    body: bytes, headers: Headers, secret: object, tolerance: float | None, now: float | None
) -> None:
    keys = _keys(secret)
    if tolerance is not None and not is_number(tolerance, 0, math.inf):
        raise InvalidArgumentError(
            f"tolerance={shorten(tolerance)} must be a number of seconds, 0 or more, or None for "
            "any age."
        )
    if now is not None and not is_number(now):
        raise InvalidArgumentError(f"now={shorten(now)} must be a Unix time, in seconds.")
    values = _select(headers)
    for name in (_ID, _TIMESTAMP):
        # The application could read another one than the verified one.
        if len(values[name]) > 1:
            raise WebhookVerificationError(
                f"The request has more than one {name} header.", reason="MissingHeader"
            )
    refusal = webhook.check(
        body,
        id="".join(values[_ID]),
        timestamp="".join(values[_TIMESTAMP]),
        signature=" ".join(values[_SIGNATURE]),
        keys=keys,
        now=time.time() if now is None else now,
        tolerance=tolerance,
    )
    if refusal is not None:
        raise WebhookVerificationError(refusal.message, reason=refusal.reason)


def _keys(secret: object) -> list[bytes]:
    secrets = [secret] if isinstance(secret, str | WebhookSecret) else secret
    problem = (
        "There is no webhook secret; pass the result of await client.webhooks.default.secret.get()."
    )
    if isinstance(secrets, Iterable) and not isinstance(secrets, bytes | Mapping):
        keys: list[bytes] = []
        try:
            for one in cast("Iterable[object]", secrets):
                text = one.key if isinstance(one, WebhookSecret) else one
                if not isinstance(text, str):
                    problem = "A webhook secret must be a str or a WebhookSecret."
                    break
                keys.append(webhook.decode_secret(text))
            else:
                if keys:
                    return keys
        except ValueError as error:
            problem = str(error)
    raise WebhookVerificationError(problem, reason="InvalidSecret")


def _raw(body: object) -> bytes:
    if isinstance(body, str):
        return body.encode("utf-8", "surrogatepass")
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(cast("bytes", body))
    raise InvalidArgumentError(
        "The body must be the raw bytes or text as received, because the signature covers those; "
        'it must not be parsed first (use "await request.body()" or its like in your framework).'
    )


def _select(headers: Headers) -> dict[str, list[str]]:
    """Return the values of the three headers; a value of None counts as absent."""
    found: dict[str, list[str]] = {_ID: [], _TIMESTAMP: [], _SIGNATURE: []}
    for given, value in _pairs(headers):
        name = _text(given)
        if name is not None and (values := found.get(name.lower())) is not None:
            values += _texts(name.lower(), value)
    return found


def _texts(name: str, value: object) -> list[str]:
    """Return the values of a header; gateways give lists, and some parsers give numbers."""
    if value is None:
        return []
    text = _text(value)
    if text is not None:
        return [text]
    kind: type = type(value)
    if kind is not bool and issubclass(kind, Integral):
        number = int(cast("int", value))  # any integer class, such as NumPy's
        return [str(number)] if abs(number) < _LARGEST_NUMBER else []
    if isinstance(value, list | tuple):
        items = cast("Sequence[object]", value)
        return [text for item in items for text in _texts(name, item)]
    raise InvalidArgumentError(
        f"The {name} header is a {type(value).__name__}; pass the request's headers as they were "
        "received: each value a str, bytes, a whole number, or a list of those."
    )


def _pairs(headers: object) -> list[tuple[object, object]]:
    given = headers.items() if isinstance(headers, _HasItems) else headers
    try:
        return [(name, value) for name, value in cast("Iterable[tuple[object, object]]", given)]
    except (TypeError, ValueError):
        raise InvalidArgumentError(
            f"The headers are a {type(headers).__name__}; pass the request's headers as its "
            "framework has them, a mapping, or (name, value) pairs."
        ) from None


def _text(value: object) -> str | None:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(cast("bytes", value)).decode("latin-1")
    return value if isinstance(value, str) else None


def _decode(raw: bytes, kind: _Kind) -> Prediction | Training:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeError):
        return decode_leniently(raw, kind)


class _Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that tell a training from a prediction."""

    urls: dict[str, str | None] = {}
    output: msgspec.Raw = msgspec.Raw(b"null")


class _TrainedOutput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: str
    weights: str | None = None


_TRAINING_URL: Final = re.compile(r"/trainings/[^/?#]+(?:/cancel)?\Z")
_NEW_VERSION: Final = re.compile(r"[^/:]+/[^/:]+:[0-9a-f]{64}")


def _is_training(raw: bytes) -> bool:
    try:
        shape = msgspec.json.decode(raw, type=_Shape)
        # trainings.get answers with /trainings/ URLs. The answers to create and cancel have
        # /predictions/ URLs; there only the output of a training that has ended differs.
        urls = (shape.urls.get("get"), shape.urls.get("cancel"))
        if any(url and _TRAINING_URL.search(url) for url in urls):
            return True
        output = msgspec.json.decode(shape.output, type=_TrainedOutput)
    except (ValueError, RecursionError):
        return False
    return _NEW_VERSION.fullmatch(output.version) is not None

"""Webhooks as a web application receives them: verify, decode, notice repeats."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import Final, Protocol, TypeAlias, cast, overload, runtime_checkable

import msgspec

from replicate_async.core import webhook
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
    """Header objects of web frameworks, not all of which are mappings."""

    def items(self) -> Iterable[tuple[_Name, _Value]]: ...


Headers: TypeAlias = Mapping[str, _Value] | _HasItems | Iterable[tuple[_Name, _Value]]
"""A mapping, any framework's header object, or (name, value) pairs, as in an ASGI scope.

A value is a text, bytes, a whole number, or a list of those.
"""
Secret: TypeAlias = str | WebhookSecret | Sequence[str | WebhookSecret]
"""What `webhooks.default.secret.get` returns, its ``key``, or several while secrets change."""

_Kind: TypeAlias = type[Prediction] | type[Training]


def verify(
    body: bytes | str,
    headers: Headers,
    secret: Secret,
    *,
    tolerance: float | None = 300,
    now: float | None = None,
) -> None:
    """Check that a webhook request was signed with the account's secret, or raise.

    *body* is the raw body as received; *secret* is what `webhooks.default.secret.get` returned, or
    its `key`, or several while secrets are exchanged. The timestamp may lie *tolerance* seconds
    (300) to either side of *now* (Unix time, the system's clock unless given); None takes any age.

    Raises `WebhookVerificationError`, whose `reason` is "InvalidSecret", "MissingHeader",
    "InvalidTimestamp" or "InvalidSignature". A request repeated within the tolerance passes: see
    `WebhookDedupe`.
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
    """Verify a webhook request as `verify` does and decode its body.

    No field or header says whether a run is a prediction or a training, so it is told from
    `urls` and, where those leave it open, from `output`. A training that has not ended and whose
    URLs say "predictions" comes out as a `Prediction`: pass *type* where only one kind is sent.

    Raises `WebhookVerificationError`, or `DecodeError` if the body is signed but not a run.
    """
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
    """A bounded memory of webhook ids, to handle each message once.

    A message that is delivered again, by the API's retry or by somebody who recorded it, has the
    same `webhook-id`. Ask `seen` after `verify`. At most *max_ids* (10,000) are remembered, each
    for *ttl* seconds (660: what the usual tolerance lets pass on both sides, and a minute); the
    oldest go first. The memory is this process's own: where several receive webhooks, keep the
    ids in a database they share.
    """

    def __init__(
        self,
        *,
        max_ids: int = 10_000,
        ttl: float = 660,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_ids < 1 or not ttl > 0:
            raise InvalidArgumentError("max_ids must be at least 1 and ttl more than 0 seconds.")
        self._max_ids = max_ids
        self._ttl = ttl
        self._clock = clock
        self._expiry: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._expiry)

    def seen(self, headers: Headers) -> bool:
        """Tell whether this message was seen before, and remember it.

        Raises `WebhookVerificationError` if there is no `webhook-id`.
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

        Raises `WebhookVerificationError` if there is no `webhook-id`.
        """
        self._expiry.pop(self._id(headers), None)

    def _drop_expired(self, now: float) -> None:
        # All live equally long, so the dict's order is that of expiry.
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
    values = _select(headers)
    for name in (_ID, _TIMESTAMP):
        # The application may read another of them than the one that was verified.
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
        "There is no webhook secret; pass what client.webhooks.default.secret.get() returns (it "
        "must be awaited)."
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
        'it may not be parsed first (use "await request.body()" or what your framework has).'
    )


def _select(headers: Headers) -> dict[str, list[str]]:
    """Collect the values of the three headers; None is as good as absent."""
    found: dict[str, list[str]] = {_ID: [], _TIMESTAMP: [], _SIGNATURE: []}
    for given, value in _pairs(headers):
        name = _text(given)
        if name is not None and (values := found.get(name.lower())) is not None:
            values += _texts(name.lower(), value)
    return found


def _texts(name: str, value: object) -> list[str]:
    """Return the values of a header, of which gateways make lists and parsers make numbers."""
    if value is None:
        return []
    text = _text(value)
    if text is not None:
        return [text]
    kind: type = type(value)
    if kind is not bool and issubclass(kind, Integral):
        number = int(cast("int", value))  # of any class, such as NumPy's
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
    """What tells a training from a prediction."""

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
        # trainings.get answers with /trainings/ URLs, the answers to create and cancel with
        # /predictions/ ones; in those, only the output of a training that ended tells.
        urls = (shape.urls.get("get"), shape.urls.get("cancel"))
        if any(url and _TRAINING_URL.search(url) for url in urls):
            return True
        output = msgspec.json.decode(shape.output, type=_TrainedOutput)
    except (ValueError, RecursionError):
        return False
    return _NEW_VERSION.fullmatch(output.version) is not None

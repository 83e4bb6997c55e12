"""The settings of an embedded server, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias, get_type_hints

import msgspec

from replicate_async.core.endpoint import shorten
from replicate_async.errors import InvalidArgumentError

LOOPBACK = ("127.0.0.1", "::1", "localhost")

Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]
Size: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]


def _check_fields(settings: object) -> None:
    """Raise `InvalidArgumentError` for a field of *settings* that is not of its type."""
    kind = type(settings)
    for name, hint in get_type_hints(kind, include_extras=True).items():
        value: object = getattr(settings, name)
        try:
            msgspec.convert(value, hint)
        except msgspec.ValidationError as error:
            raise InvalidArgumentError(
                f"{kind.__name__}({name}={shorten(value)}): {error}."
            ) from None


@dataclass(frozen=True)
class RateLimits:
    """Requests a minute, by bucket; zero is no limit.

    Args:
        create: Creates of predictions; 600.
        get: Calls of ``predictions.get``; 60,000.
        other: Other calls; 3,000.
    """

    create: Size = 600
    get: Size = 60_000
    other: Size = 3_000

    def __post_init__(self) -> None:
        _check_fields(self)

    @classmethod
    def off(cls) -> RateLimits:
        """Return no limits, for load tests."""
        return cls(create=0, get=0, other=0)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How an embedded server behaves; times are in seconds, sizes in bytes."""

    rate_limits: RateLimits = RateLimits()
    """Requests a minute, beyond which the answer is a 429."""
    concurrency: Count = 100
    """Predictions of one version at once, and trainings; further ones stay ``starting``."""
    run_timeout: Seconds = 1800.0
    """How long a run may take before it fails."""
    data_retention: Seconds = 3600.0
    """How long input, output, output files and logs of a finished run are kept."""
    file_expiry: Seconds = 24 * 3600.0
    """How long an upload is kept."""
    sync_wait_cap: Seconds = 60.0
    """The longest that ``Prefer: wait`` holds a request open."""
    sync_answer: Literal["succeeded", "processing"] = "succeeded"
    """Status of a run that ended within the wait: the service has answered with either."""
    head_timeout: Seconds = 10.0
    """How long the head of a request may take before its connection is closed."""
    cancel_after_minimum: Seconds = 5.0
    """The shortest ``Cancel-After`` that is accepted."""
    cancel_after_maximum: Seconds = 24 * 3600.0
    """The longest ``Cancel-After`` that is accepted."""
    empty_output: Literal["nulls", "absent"] = "nulls"
    """Whether a fresh run shows an empty output as null, or leaves the key out as in 2023."""
    timestamp_digits: Size | None = None
    """Fractional digits of every timestamp; None for 3 or 6, as the service's two halves differ."""
    stream_logs: bool = False
    """Whether streams carry ``logs`` events, which clients accept but the API does not document."""
    stream_idle_timeout: Seconds = 300.0
    """How long a stream may be silent before it is closed with nchan's 408 comment."""
    stream_linger: Seconds = 1.0
    """How long a stream stays open after its ``done``."""
    webhook_throttle: Seconds = 0.5
    """How long after a webhook for output or logs the next one is held back."""
    webhook_timeout: Seconds = 5.0
    """How long the receiver of a webhook may take to answer."""
    webhook_retry_span: Seconds = 60.0
    """How long after completion the terminal webhook is still tried."""
    allow_hosts: tuple[str, ...] = LOOPBACK
    """Hosts that webhooks and file inputs may reach; "*" adds every public address."""
    host_names: tuple[str, ...] = ()
    """Further names by which clients may address the server in ``Host``."""
    max_body: Size = 20 * 1024 * 1024
    """The largest body of a request that is not an upload."""
    max_file: Size = 100 * 1000 * 1000
    """The size from which uploads, and file inputs from other hosts, are too large."""
    max_models: Size = 1000
    """How many models clients may create."""
    stored_files: Size = 2 * 1000 * 1000 * 1000
    """Bytes of uploads, and of output files, that are kept; then the oldest is dropped."""
    page_size: Count = 100
    """Items on a page of a listing."""
    model_page_size: Count = 25
    """Items on a page of the listing of models."""

    def __post_init__(self) -> None:
        _check_fields(self)

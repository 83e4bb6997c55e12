"""What the resources, runs and files of one client share.

`Replicate` makes one `ClientContext` and hands it to its resources; a copy of the client with other
options is a copy of the context.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeVar

import msgspec

from replicate_async.core.endpoint import Endpoint, SegmentError, encode_headers, shorten
from replicate_async.core.hooks import RequestHooks
from replicate_async.core.latest_versions import LatestVersions
from replicate_async.core.listing_plan import pages_per_second
from replicate_async.core.multipart import Multipart
from replicate_async.core.origin import Base
from replicate_async.core.usage import Price, UsageCounter
from replicate_async.errors import InvalidArgumentError
from replicate_async.files.find import Shape, output_shape
from replicate_async.refs import ModelRef, VersionRef
from replicate_async.runs.waiting.tracker import RunTracker
from replicate_async.schemas import Prediction, Version, WebhookSecret
from replicate_async.tracing import NO_SPAN, RunSpan
from replicate_async.transport import fetch
from replicate_async.transport.sender import Request, RequestSender

if TYPE_CHECKING:
    from replicate_async.runs.batch.scheduler import BatchScheduler
    from replicate_async.transport.byte_stream import ByteStream

__all__ = ["NO_PATH", "ClientContext", "ModelCache", "WebhookSecretCache", "context_of"]

R = TypeVar("R")

NO_PATH: Final[Mapping[str, str]] = MappingProxyType({})

_RENEWAL_INTERVAL: Final = 60.0
"""Seconds between two fetches of the webhook secret that wrong signatures can cause."""


class ModelCache:
    """What the client has looked up about models: latest versions, and shapes of outputs."""

    __slots__ = ("latest_versions", "output_shapes")

    def __init__(self) -> None:
        self.latest_versions: LatestVersions = LatestVersions()
        self.output_shapes: dict[str, Shape] = {}

    def learn(self, version: Version) -> None:
        """Keep where the output of *version* has files."""
        shape = output_shape(version.openapi_schema)
        if shape is not None:
            self.output_shapes[version.id] = shape

    def learn_latest(self, model: ModelRef, version: Version) -> None:
        """Keep *version* as the latest of *model*, for 5 minutes."""
        self.latest_versions.put(str(model), version.id)
        self.learn(version)

    def shape_of(self, prediction: Prediction) -> Shape | None:
        """Return where the output of *prediction* has files, None if its version is unknown."""
        return self.output_shapes.get(prediction.version or "")


class WebhookSecretCache:
    """The account's webhook secret, fetched when it is first needed."""

    __slots__ = ("_clock", "_lock", "_loop", "_renewed_at", "_reveal")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # A closure: vars(), debuggers and error reporters print attributes.
        self._reveal: Callable[[], str] | None = None
        self._renewed_at: float | None = None
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return "<WebhookSecretCache hidden>"

    async def get(self, fetch: Callable[[], Awaitable[WebhookSecret]]) -> Callable[[], str]:
        """Return a function that gives the secret; *fetch* is called the first time."""
        async with self._locked():
            return self._reveal or await self._fetch(fetch)

    async def renewed(
        self, fetch: Callable[[], Awaitable[WebhookSecret]], old: Callable[[], str]
    ) -> Callable[[], str] | None:
        """Return a function that gives the secret which replaced *old*; None if *old* still holds.

        Calls *fetch* at most once a minute, so that forged webhooks cannot cause more requests.
        """
        async with self._locked():
            now = self._clock()
            if self._reveal is old:
                if self._renewed_at is not None and now - self._renewed_at < _RENEWAL_INTERVAL:
                    return None
                self._renewed_at = now
                await self._fetch(fetch)
            new = self._reveal
            return None if new is None or new() == old() else new

    async def _fetch(self, fetch: Callable[[], Awaitable[WebhookSecret]]) -> Callable[[], str]:
        found = await fetch()
        reveal = self._reveal = lambda: found.key
        return reveal

    def _locked(self) -> asyncio.Lock:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._lock = loop, asyncio.Lock()
        return self._lock


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ClientContext:
    """What the resources, runs and files of one client share."""

    sender: RequestSender
    tracker: RunTracker
    models: ModelCache = field(default_factory=ModelCache)
    webhook_secret: WebhookSecretCache = field(default_factory=WebhookSecretCache)
    batches: set[BatchScheduler] = field(default_factory=lambda: set())  # noqa: PLW0108 - BatchScheduler is a name for types only
    """The running batches; `Replicate.aclose` ends them."""

    @classmethod
    def of(cls, sender: RequestSender, prices: Mapping[str, Price]) -> Self:
        """Return the context of a new client that sends with *sender*."""
        return cls(sender, _tracker(sender, prices))

    def with_sender(self, sender: RequestSender) -> ClientContext:
        """Return a copy that sends with *sender*; another token has its own runs and secret."""
        if sender.token is self.sender.token:
            return replace(self, sender=sender)
        return replace(
            self,
            sender=sender,
            tracker=_tracker(sender, self.tracker.usage.prices),
            webhook_secret=WebhookSecretCache(),
        )

    @property
    def base(self) -> Base:
        """Where the API is."""
        return self.sender.base

    @property
    def requests_sent(self) -> int:
        """How many requests have left over the client's connections."""
        return self.sender.transport.sent

    def redact(self, text: str) -> str:
        """Return *text*, which came from elsewhere, without the API token."""
        return self.sender.token.redact(text)

    def call(
        self,
        endpoint: Endpoint[R],
        path: Mapping[str, str] = NO_PATH,
        *,
        query: msgspec.Struct | str | None = None,
        headers: msgspec.Struct | None = None,
        body: object = None,
        hold: float = 0.0,
        is_poll: bool = False,
        hooks: RequestHooks | None = None,
    ) -> Coroutine[Any, Any, R]:
        """Return a coroutine that sends a request for *endpoint* and returns the decoded answer.

        *query*, *headers* and *body* are the endpoint's structs. *hold* is how many seconds beyond
        the read timeout the API may keep silent. A poll is sent once. *hooks* are called around
        each attempt.

        Raises `InvalidArgumentError` at once for an argument that cannot be sent. The coroutine
        raises `APIStatusError`, `APIConnectionError`, `AmbiguousCreateError`, `RedirectError` or
        `DecodeError`.
        """
        # Not a coroutine function: each coroutine on the way to the transport is 2 % of a request.
        try:
            target = endpoint.target(path, query)
            encoded: bytes | Multipart | None = None
            if body is not None:
                encoded = body if isinstance(body, Multipart) else endpoint.encode(body)
        except SegmentError as error:
            raise InvalidArgumentError(f"{error}; give it as the API shows it.") from None
        except UnicodeEncodeError as error:
            text = shorten(error.object)
            raise InvalidArgumentError(
                f"{text} is not valid Unicode ({error.reason}); decode it with the right encoding."
            ) from None
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InvalidArgumentError(
                f"an argument cannot be sent as JSON: {error}; pass plain values."
            ) from error
        request = Request(
            endpoint,
            target,
            {} if headers is None else encode_headers(headers),
            encoded,
            hold,
            is_poll,
            hooks,
        )
        return self.sender.send(request)

    def start_span(self, ref: VersionRef | None, *, is_stream: bool = False) -> RunSpan:
        """Begin the span of a run of *ref*, if it is known; without tracing it does nothing."""
        hooks = self.sender.hooks
        if hooks is None:
            return NO_SPAN
        model = None if ref is None else self.redact(str(ref))
        return hooks.tracing.run(model, self.base.url, is_stream=is_stream, redact=self.redact)

    def open_stream(self, url: str, last_event_id: str = "") -> Coroutine[Any, Any, ByteStream]:
        """Open an event stream, as `transport.fetch.open_stream` does."""
        return fetch.open_stream(self.sender, url, last_event_id)

    def open_file(
        self, url: str, start: int = 0, validator: str = ""
    ) -> Coroutine[Any, Any, ByteStream]:
        """Open a file, as `transport.fetch.open_file` does."""
        return fetch.open_file(self.sender, url, start=start, validator=validator)


def _tracker(sender: RequestSender, prices: Mapping[str, Price]) -> RunTracker:
    pages = pages_per_second(sender.rate_limiters.limits)
    return RunTracker(pages_per_second=pages, usage=UsageCounter(prices))


class _HasContext(Protocol):
    """A client."""

    _context: ClientContext


def context_of(client: _HasContext) -> ClientContext:
    """Return the context of *client*, for the parts of this package that get a whole client."""
    return client._context  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - the one door

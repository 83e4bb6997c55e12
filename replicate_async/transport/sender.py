"""One request, sent until it is answered for good: the pace, the repeats, the redirects.

`RequestSender.send` keeps the pace, hands over to the transport, decides what is repeated
(`core/retry.py` says how) and decodes what came of it: one loop, since each coroutine on the way
takes 2 % of a request. The token is attached here, to requests whose URL is built from the
configured base and to streams on its very origin.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

import msgspec

from replicate_async.core import problem as problems
from replicate_async.core.api_clock import ApiClock, moment
from replicate_async.core.endpoint import Endpoint, shorten
from replicate_async.core.hooks import RequestHooks
from replicate_async.core.limits import BucketName, Limiter, RateLimiters
from replicate_async.core.missing import missing
from replicate_async.core.multipart import Multipart
from replicate_async.core.origin import Base, resolve
from replicate_async.core.retry import Failure, Retry, RetryBudget, phase_of_status
from replicate_async.core.timeout import Timeout
from replicate_async.core.token import Token
from replicate_async.errors import (
    AmbiguousCreateError,
    AmbiguousDecodeError,
    AmbiguousRedirectError,
    APIConnectionError,
    APIStatusError,
    DecodeError,
    RedirectError,
    ReplicateError,
    TLSError,
    UntrustedURLError,
    ambiguous_connection_error,
    status_error,
)
from replicate_async.schemas import decode_leniently

if TYPE_CHECKING:
    from replicate_async.transport.byte_stream import ByteStream
    from replicate_async.transport.headers import SecretHeaders
    from replicate_async.transport.transport import Response, Transport

R = TypeVar("R")

_MOST_REDIRECTS: Final = 3
_MOST_FILE_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

_SNIPPET: Final = 200
"""Characters of an answer that are shown when it cannot be read."""

_EXAMINED: Final = 1 << 20
"""Bytes of an answer that are looked at when it is an error, or cannot be read."""

_log = logging.getLogger("replicate_async")


class _Open(Protocol):
    """How one URL is opened; *own* says whether it is a request of ours."""

    async def __call__(self, url: str, *, first_party: bool) -> ByteStream: ...


class Request(msgspec.Struct, Generic[R], frozen=True, gc=False):
    """A request, ready to be sent any number of times."""

    endpoint: Endpoint[R]
    target: str
    """Path below the base URL, and query."""
    headers: dict[str, str]
    body: bytes | Multipart | None
    hold: float
    """Seconds that the API may keep silent, beyond the read timeout."""
    attempts: int | None = None
    """Tries at most, where that is fewer than `Retry` allows."""
    hooks: RequestHooks | None = None
    """What is done around each attempt."""

    @property
    def operation(self) -> str:
        """Method and path template, for messages; ids and queries stay out of them."""
        return f"{self.endpoint.method} {self.endpoint.path}"

    @property
    def replayable(self) -> bool:
        """Whether its body can be sent a second time."""
        return not isinstance(self.body, Multipart) or self.body.replayable


@dataclass(frozen=True, slots=True)
class RequestSender:
    """What sending needs: where to, as whom, how patiently, over what."""

    base: Base
    token: Token
    user_agent: str
    timeout: Timeout
    retry: Retry
    budget: RetryBudget
    rate_limiters: RateLimiters
    limiter: Limiter | None
    transport: Transport
    clock: ApiClock = field(default_factory=ApiClock, repr=False, compare=False)
    """What answers have told of the API's clock."""
    _prepared: dict[tuple[str, str, bool], SecretHeaders] = field(
        default_factory=lambda: {},  # noqa: PIE807 - dict alone leaves its types open
        init=False,
        repr=False,
        compare=False,
    )

    async def send(self, request: Request[R]) -> R:  # noqa: C901, PLR0912 - see above
        """Send *request* until it is answered for good, and return what a success says.

        Raises `APIStatusError`, `APIConnectionError`, `AmbiguousCreateError`, `RedirectError` or
        `DecodeError`.
        """
        endpoint = request.endpoint
        home = url = f"{self.base.url}{request.target}"
        headers = self._headers(request)
        attempt = redirects = 0
        paid: Failure | None = None
        while True:
            fault: ReplicateError
            bucket = self.rate_limiters.bucket(endpoint.bucket)
            begun = monotonic()
            if attempt or self.limiter is not None:
                await self._turn(endpoint.bucket)
                begun = monotonic()
            elif bucket.reserve(begun) > 0:
                await bucket.turn(bucket.place, monotonic, asyncio.sleep)
                begun = monotonic()
            if request.hooks is not None:
                await request.hooks.begin()
            sent_at = time()
            try:
                response = await self.transport.send(
                    endpoint.method,
                    url,
                    headers=headers,
                    body=request.body,
                    timeout=self.timeout,
                    hold=request.hold,
                )
            except (APIConnectionError, DecodeError) as error:
                fault, failure = self._broken(request, error)
            else:
                now = monotonic()
                if now >= self.clock.due:
                    self.clock.observe(response.headers, begun, moment())
                if response.status != 429 and self.limiter is None:
                    bucket.observed(now, *_allowance(response.headers))
                if response.status < 300:
                    if request.hooks is not None:
                        request.hooks.answered(response.headers)
                    self.budget.refund(paid)
                    return self._decoded(request, response, sent_at)
                if response.status < 400:
                    url = self._redirected(request, response, url, redirects, sent_at)
                    redirects += 1
                    continue
                fault, failure = self._refusal(request, response)
            if request.hooks is not None and not isinstance(fault, AmbiguousCreateError):
                await request.hooks.refused()
            attempt += 1
            if not await self._may_repeat(request, attempt, fault, failure):
                raise _dated(fault, sent_at)
            # What a redirect led to may be elsewhere by now.
            url, redirects, paid = home, 0, failure

    def _decoded(self, request: Request[R], response: Response, sent_at: float) -> R:
        """Return what *response* says; raises `DecodeError`."""
        try:
            try:
                return request.endpoint.decode(response.body)
            except (msgspec.DecodeError, UnicodeError):
                return decode_leniently(response.body, request.endpoint.returns)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            reason = str(error)
        covered = self.token.covered_in
        reason, content_type = covered(reason), covered(response.headers.get("Content-Type", ""))
        text = covered(response.body[:_EXAMINED].decode(errors="replace"))[:_SNIPPET]
        snippet = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        cls = DecodeError if request.endpoint.repeatable else AmbiguousDecodeError
        fault = cls(
            f"{request.operation} answered {response.status} with "
            f"{content_type or 'no content type'}, which is not what the API documents ({reason}): "
            f"{snippet!r}. Is base_url the API, or a proxy's own page?",
            status=response.status,
            content_type=content_type or None,
            snippet=snippet,
        )
        # Out here, so that what was decoded is not even in the context of what is raised.
        raise _dated(fault, sent_at)

    async def _may_repeat(
        self, request: Request[Any], attempt: int, fault: ReplicateError, failure: Failure | None
    ) -> bool:
        """Say whether *request* is to be sent again, when it is time to."""
        if failure is None or isinstance(fault, TLSError) or not request.replayable:
            return False
        if request.attempts is not None and attempt >= request.attempts:
            return False
        jitter = random.random()  # noqa: S311 - jitter is no secret
        repeatable = request.endpoint.repeatable
        delay = self.retry.delay(attempt, failure, repeatable=repeatable, jitter=jitter)
        if delay is None or not self.budget.spend(failure):
            return False
        _log.debug("%s: %s; again in %.2f s", request.operation, type(fault).__name__, delay)
        try:
            await asyncio.sleep(delay)
        except asyncio.CancelledError:
            self.budget.refund(failure)
            raise
        return True

    def _headers(self, request: Request[Any]) -> SecretHeaders:
        """Return the headers of *request*; but for its own, few requests differ in them."""
        accept = request.endpoint.accept
        media = request.endpoint.media if isinstance(request.body, bytes) else ""
        no_cache = request.endpoint.no_cache
        headers = self._prepared.get((accept, media, no_cache))
        if headers is None:
            fields = {"User-Agent": self.user_agent, "Accept": accept}
            if media:
                fields["Content-Type"] = media
            if no_cache:
                fields["Cache-Control"] = "no-cache"
            headers = self.transport.headers(fields, self.token, attached=True)
            self._prepared[accept, media, no_cache] = headers
        return headers.plus(request.headers) if request.headers else headers

    def _broken(
        self, request: Request[Any], error: APIConnectionError | DecodeError
    ) -> tuple[ReplicateError, Failure | None]:
        """Return what to raise for *error*, which came instead of an answer."""
        if isinstance(error, APIConnectionError):
            if error.phase == "not_sent" or request.endpoint.repeatable:
                return error, Failure(error.phase)
            return ambiguous_connection_error(error, request.operation), Failure("ambiguous")
        if error.content_type is not None:
            error.content_type = self.token.covered_in(error.content_type)
        if request.endpoint.repeatable:
            return error, None
        unread = AmbiguousDecodeError(
            f"{request.operation}: {error}", status=error.status, content_type=error.content_type
        )
        return unread, None

    async def _turn(self, kind: BucketName) -> None:
        """Wait for the turn of a request that is repeated, or for that of a limiter."""
        if self.limiter is not None:
            await self.limiter.acquire(kind)
            return
        bucket = self.rate_limiters.bucket(kind)
        place, wait = bucket.reserve_front(monotonic())
        if wait > 0:
            await bucket.turn(place, monotonic, asyncio.sleep)

    def _redirected(
        self, request: Request[Any], response: Response, url: str, before: int, sent_at: float
    ) -> str:
        """Return the URL on our own origin that *response*, which came from *url*, leads to."""
        location = response.headers.get("Location", "")
        target = self.base.same_origin_target(resolve(url, location)) if location else None
        location = self.token.covered_in(location)
        if target is None or request.endpoint.method != "GET" or before >= _MOST_REDIRECTS:
            # 307 and 308 say that nothing was done yet; the others may follow what was done.
            undone = request.endpoint.repeatable or response.status in {307, 308}
            cls = RedirectError if undone else AmbiguousRedirectError
            fault = cls(
                f"{request.operation} was redirected ({response.status}) to {shorten(location)}; "
                f"only a GET is followed, only on the origin of base_url, {_MOST_REDIRECTS} times "
                "at most. Check base_url.",
                status=response.status,
                location=location,
            )
            raise _dated(fault, sent_at)
        return f"{self.base.origin}{target}"

    def _refusal(
        self, request: Request[Any], response: Response
    ) -> tuple[APIStatusError, Failure | None]:
        """Return the error for a *response* that is no success, and how it bears on repeating.

        The failure is None when asking again would bring the same answer.
        """
        # Escapes of what is no ASCII survive, since the token has none.
        body = self.token.covered_in(response.body[:_EXAMINED].decode("latin-1"))
        problem = problems.parse(
            response.status, response.headers.get("Content-Type", ""), body.encode("latin-1")
        )
        after = problems.retry_after(response.headers, problem, now=time())
        phase = phase_of_status(response.status)
        error = status_error(
            problem,
            operation=request.operation,
            retry_after=after,
            ambiguous=phase == "ambiguous" and not request.endpoint.repeatable,
            missing=missing(request.endpoint.path, request.target),
        )
        if phase is None:
            return error, None
        if phase == "refused":
            self._throttled(request.endpoint.bucket, after, problems.named_rate(problem))
        return error, Failure(phase, retry_after=after, throttled=response.status == 429)

    def _throttled(self, kind: BucketName, after: float | None, rate: problems.Rate | None) -> None:
        """Hold back everybody who is counted with a request that was refused."""
        per_minute, burst = rate or (None, None)
        if self.limiter is None:
            self.rate_limiters.bucket(kind).throttled(monotonic(), after, per_minute, burst)
        else:
            self.limiter.on_rate_limited(
                kind, self.retry.throttle_base if after is None else after, per_minute
            )

    async def open_stream(self, url: str, last_event_id: str = "") -> ByteStream:
        """Open the event stream at *url*; the token goes along only to our own origin.

        Raises `UntrustedURLError` for a URL that is not fit to be fetched, without fetching it.
        """

        async def once(url: str, *, first_party: bool) -> ByteStream:
            return await self._open_once(url, last_event_id, first_party=first_party)

        return await self._followed("stream", url, once, most=_MOST_REDIRECTS)

    async def _followed(
        self, what: str, url: str, once: _Open, *, most: int, any_port: bool = False
    ) -> ByteStream:
        """Open *url* with *once*, and whatever it redirects to; each hop is judged by itself."""
        first_party = True
        await self.transport.turn()
        redirects = 0
        while True:
            if not self.base.may_fetch(url, any_port=any_port):
                shown = self.token.covered_in(url)
                raise UntrustedURLError(
                    f"The {what} is said to be at {shorten(shown)}, which is no public https URL; "
                    "it was not asked for.",
                    url=shown,
                )
            # Once a stranger has chosen the path, it is no request of ours any more.
            first_party = first_party and self.base.owns(url)
            stream = await once(url, first_party=first_party)
            if stream.status not in _REDIRECTS:
                return stream
            stream.close()
            location = stream.headers.get("Location", "")
            if not location or redirects == most:
                location = self.token.covered_in(location)
                raise RedirectError(
                    f"The {what} was redirected ({stream.status}) to {shorten(location)}; "
                    f"{most} redirects at most are followed.",
                    status=stream.status,
                    location=location,
                )
            redirects += 1
            url = resolve(url, location)

    async def _open_once(self, url: str, last_event_id: str, *, first_party: bool) -> ByteStream:
        transport = self.transport if first_party else self.transport.public_transport(self.base)
        key = "text/event-stream", "", first_party
        headers = self._prepared.get(key)
        if headers is None:
            fields = {
                "Accept": key[0],
                "Cache-Control": "no-store",
                # An encoder would hold events back until it has enough of them to write.
                "Accept-Encoding": "identity",
                "User-Agent": self.user_agent,
            }
            headers = self.transport.headers(fields, self.token, attached=first_party)
            self._prepared[key] = headers
        if last_event_id:
            headers = headers.plus({"Last-Event-ID": last_event_id})
        return await transport.open(url, headers=headers, timeout=self.timeout)

    async def open_file(self, url: str, *, start: int = 0, validator: str = "") -> ByteStream:
        """Open the file at *url*, from byte *start* on if it is still the one with *validator*.

        Repeated until it is answered for good, whatever the status. The token goes along only to
        the API's own uploads. Raises `UntrustedURLError` for a URL that is not fit to be fetched.
        """
        attempt = 0
        while True:
            attempt += 1
            answer, failure = await self._try_file(url, start, validator)
            if failure is None or isinstance(answer, TLSError):
                break
            jitter = random.random()  # noqa: S311 - jitter is no secret
            delay = self.retry.delay(attempt, failure, repeatable=True, jitter=jitter)
            if delay is None or not self.budget.spend(failure):
                break
            if not isinstance(answer, APIConnectionError):
                answer.close()
            await asyncio.sleep(delay)
        if isinstance(answer, APIConnectionError):
            raise answer
        return answer

    async def _try_file(
        self, url: str, start: int, validator: str
    ) -> tuple[ByteStream | APIConnectionError, Failure | None]:
        async def once(url: str, *, first_party: bool) -> ByteStream:
            return await self._open_file_once(url, start, validator, first_party=first_party)

        try:
            stream = await self._followed(
                "file", url, once, most=_MOST_FILE_REDIRECTS, any_port=True
            )
        except APIConnectionError as error:
            return error, Failure(error.phase)
        return stream, self._file_failure(stream)

    @staticmethod
    def _file_failure(stream: ByteStream) -> Failure | None:
        phase = phase_of_status(stream.status)
        if phase is None:
            return None
        said = problems.parse(stream.status, "", b"")
        after = problems.retry_after(stream.headers, said, now=time())
        return Failure(phase, retry_after=after, throttled=stream.status == 429)

    async def _open_file_once(
        self, url: str, start: int, validator: str, *, first_party: bool
    ) -> ByteStream:
        # As few headers as there can be: whoever delivers the file is a stranger.
        fields = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": self.user_agent}
        if start:
            fields["Range"] = f"bytes={start}-"
            fields["If-Range"] = validator
        upload = first_party and (self.base.target(url) or "").startswith("/files/")
        transport = self.transport if upload else self.transport.public_transport(self.base)
        headers = self.transport.headers(fields, self.token, attached=upload)
        return await transport.open(
            url,
            headers=headers,
            timeout=self.timeout,
            silence=self.timeout.read,
        )


def _dated(fault: ReplicateError, sent_at: float) -> ReplicateError:
    """Return *fault*; one that leaves open whether something was created says when it was sent."""
    if isinstance(fault, AmbiguousCreateError):
        fault.sent_at = datetime.fromtimestamp(sent_at, UTC)
    return fault


def _allowance(headers: Mapping[str, str]) -> tuple[int | None, float]:
    """Return how many more requests the API would take now, and in how many seconds more again."""
    remaining = _number(headers.get("ratelimit-remaining"))
    reset = _number(headers.get("ratelimit-reset")) if remaining == 0 else None
    return remaining, float(reset or 0)


def _number(header: str | None) -> int | None:
    return int(header) if header and len(header) < 10 and header.isdecimal() else None

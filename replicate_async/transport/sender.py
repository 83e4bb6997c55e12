"""API requests: from a request value to a decoded answer, with retries and redirects.

`RequestSender.send` is the loop of attempts, and `_attempt` one of them: permit, hooks, exchange,
redirects, decoding. `core.retry` decides what is repeated, `core.bucket` how fast requests leave.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import msgspec

from replicate_async.core import problem as problems
from replicate_async.core.api_clock import ApiClock, moment
from replicate_async.core.endpoint import Endpoint, SegmentError, segment, shorten
from replicate_async.core.hooks import RequestHooks
from replicate_async.core.limits import BucketName, Limiter, RateLimiters
from replicate_async.core.missing import missing
from replicate_async.core.multipart import Multipart
from replicate_async.core.origin import Base
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
    RequestDetails,
    TLSError,
    ambiguous_connection_error,
    status_error,
)
from replicate_async.hooks import Hooks
from replicate_async.schemas import File, Prediction, Training, decode_leniently
from replicate_async.schemas.redaction import QUIET_STATUSES, redact_id, redact_run
from replicate_async.transport.observation import (
    Observation,
    is_observed,
    request_id,
    tell_retry,
    whole_number,
)
from replicate_async.transport.redirects import follow_redirects

if TYPE_CHECKING:
    from replicate_async.transport.transport import Response, Transport

E = TypeVar("E", bound=RequestDetails)
R = TypeVar("R")
T = TypeVar("T")

_MOST_REDIRECTS: Final = 3

_SNIPPET: Final = 200
"""Characters of an unreadable answer that an error shows."""

_EXAMINED: Final = 1 << 20
"""Bytes that are read of an answer that is an error, or unreadable."""

_PLAIN_ID: Final = re.compile(r"[0-9A-Za-z]{1,512}").fullmatch
"""Whether an id can stand in a URL; one that does not match is examined further."""

_log = logging.getLogger("replicate_async")


class Request(msgspec.Struct, Generic[R], frozen=True, gc=False):
    """A request, ready to be sent any number of times."""

    endpoint: Endpoint[R]
    target: str
    """Path below the base URL, and query."""
    headers: dict[str, str]
    body: bytes | Multipart | None
    hold: float
    """Seconds that the API may be silent, beyond the read timeout."""
    is_poll: bool = False
    """Whether it is a poll, which is sent once: waits repeat their polls themselves."""
    hooks: RequestHooks | None = None
    """Called around each attempt."""

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
    """Sends requests of one account to one API."""

    base: Base
    token: Token
    user_agent: str
    timeout: Timeout
    retry: Retry
    budget: RetryBudget
    rate_limiters: RateLimiters
    limiter: Limiter | None
    """Keeps the rate in place of *rate_limiters*, for several processes together."""
    transport: Transport
    hooks: Hooks | None = None
    clock: ApiClock = field(default_factory=ApiClock, repr=False, compare=False)
    """The estimate of the API's clock."""
    is_cloudflare: bool = field(init=False)
    """Whether Cloudflare's AI Gateway is between, by the base URL or by a header for it."""

    def __post_init__(self) -> None:
        headers = self.token.header_names
        found = self.base.is_cloudflare or any(name.startswith("cf-aig-") for name in headers)
        object.__setattr__(self, "is_cloudflare", found)

    def send(self, request: Request[R]) -> Coroutine[Any, Any, R]:
        """Send *request*, with retries and redirects; return the decoded body.

        Raises `APIStatusError`, `APIConnectionError`, `AmbiguousCreateError`, `RedirectError` or
        `DecodeError`.
        """
        attempt = self._observed_attempt if is_observed(self.hooks) else self._attempt
        if request.is_poll:
            return attempt(request, 1)
        return self.repeat(partial(attempt, request), request)

    async def repeat(
        self, attempt: Callable[[int], Awaitable[T]], request: Request[Any] | None = None
    ) -> T:
        """Await *attempt* with its number, from 1, until it succeeds or its error is final.

        It is for *request*, or for a GET that may be repeated at any time.
        """
        number = 0
        paid: Failure | None = None
        fault: ReplicateError
        while True:
            number += 1
            try:
                result = await attempt(number)
            except ReplicateError as error:
                fault = error
            else:
                self.budget.refund(paid)
                return result
            failure = _failure_of(fault)
            pause = None if failure is None else self._pause(number, failure, request)
            if failure is None or pause is None:
                break
            operation = "GET" if request is None else request.operation
            _log.debug("%s: %s; again in %.2f s", operation, type(fault).__name__, pause)
            await tell_retry(self.hooks, operation, number + 1, pause, fault)
            try:
                await asyncio.sleep(pause)
            except asyncio.CancelledError:
                self.budget.refund(failure)
                raise
            paid = failure
        if isinstance(fault, RequestDetails):
            fault.attempts = number
        try:
            raise fault
        finally:
            del fault  # it refers to this frame

    def _pause(self, number: int, failure: Failure, request: Request[Any] | None) -> float | None:
        """Pay for another attempt; return the seconds until it, or None if there is to be none."""
        if request is not None and not request.replayable:
            return None
        repeatable = request is None or request.endpoint.repeatable
        jitter = random.random()  # noqa: S311 - jitter is no secret
        pause = self.retry.delay(number, failure, repeatable=repeatable, jitter=jitter)
        return pause if pause is not None and self.budget.spend(failure) else None

    async def _observed_attempt(self, request: Request[R], number: int) -> R:
        """Make one attempt, and tell hooks, captures and the log of it."""
        seen = Observation(
            *(self.transport, self.hooks, request.operation, number),
            redact=self.token.redact,
            url=f"{self.base.url}{request.target.partition('?')[0]}",
            is_poll=request.is_poll,
            inner=request.hooks,
        )
        async with seen:
            return await self._attempt(msgspec.structs.replace(request, hooks=seen), number)

    async def _attempt(self, request: Request[R], number: int) -> R:
        """Make one attempt: permit, hooks, exchange, redirects and decoding."""
        url, hooks = f"{self.base.url}{request.target}", request.hooks
        begun = monotonic()
        if (turn := self._permit(request.endpoint.bucket, begun, first=number == 1)) is not None:
            await turn
            begun = monotonic()
        if hooks is not None:
            await hooks.begin()
        sent_at = time()
        try:
            try:
                response = await self._exchange(request, url)
                if 300 <= response.status < 400:
                    response = await self._follow(request, url, response)
            except (APIConnectionError, DecodeError) as error:
                fault = self._lost(request, error)
            else:
                return self._answered(request, response, begun)
            raise fault
        except AmbiguousCreateError as error:
            error.sent_at = datetime.fromtimestamp(sent_at, UTC)
            raise
        except (APIConnectionError, APIStatusError):
            if hooks is not None:
                await hooks.refused()
            raise

    def _permit(self, kind: BucketName, now: float, *, first: bool) -> Awaitable[None] | None:
        """Return a wait until one more request of this *kind* may be sent; None: it may *now*."""
        if self.limiter is not None:
            return self.limiter.acquire(kind)
        bucket = self.rate_limiters.buckets[kind]
        if first:
            wait, place = bucket.reserve(now), bucket.place
        else:
            place, wait = bucket.reserve_front(now)
        return bucket.turn(place, monotonic, asyncio.sleep) if wait > 0 else None

    def _exchange(self, request: Request[Any], url: str) -> Awaitable[Response]:
        """Send *request* to *url*; the result is the answer, of any status."""
        return self.transport.send(
            request.endpoint.method,
            url,
            fields=self._fields(request),
            token=self.token,
            body=request.body,
            timeout=self.timeout,
            hold=request.hold,
        )

    async def _follow(self, request: Request[Any], url: str, response: Response) -> Response:
        """Follow redirects of a GET on the API's own origin."""

        async def hop(url: str, redirect: Response) -> Response:
            target = self.base.same_origin_target(url)
            del url  # a server may echo the token, and tracebacks may show locals
            if target is None or request.endpoint.method != "GET":
                raise self._redirect_refused(request, redirect)
            return await self._exchange(request, f"{self.base.origin}{target}")

        def refused(redirect: Response) -> RedirectError:
            return self._redirect_refused(request, redirect)

        response = await follow_redirects(
            response, url, hop=hop, refused=refused, most=_MOST_REDIRECTS
        )
        if 300 <= response.status < 400:
            raise refused(response)
        return response

    def _fields(self, request: Request[Any]) -> dict[str, str]:
        """Return the header fields of *request*, but for the token."""
        endpoint = request.endpoint
        fields = {"User-Agent": self.user_agent, "Accept": endpoint.accept, **request.headers}
        # aiohttp adds that of a form, which names its boundary.
        if request.body is not None and endpoint.media != "multipart/form-data":
            fields["Content-Type"] = endpoint.media
        if endpoint.no_cache:
            fields["Cache-Control"] = "no-cache"
        if self.is_cloudflare:
            if endpoint.no_cache:
                fields["cf-aig-skip-cache"] = "true"
            if not endpoint.repeatable:
                fields["cf-aig-max-attempts"] = "1"  # its retries would create twice
        return fields if self.hooks is None else {**self.hooks.tracing.headers(), **fields}

    def _answered(self, request: Request[R], response: Response, begun: float) -> R:
        """Learn from *response*, whose request left after *begun*, and return its decoded body."""
        now, kind = monotonic(), request.endpoint.bucket
        if now >= self.clock.due:
            self.clock.observe(response.headers, begun, moment())
        if response.status != 429 and self.limiter is None:
            self.rate_limiters.buckets[kind].observed(now, *_allowance(response.headers))
        if response.status >= 400:
            raise self._refused(request, response)
        if request.hooks is not None:
            request.hooks.answered(response.status, response.headers)
        return self._decoded(request, response)

    def _decoded(self, request: Request[R], response: Response) -> R:
        """Return the decoded body of *response*; raises `DecodeError`."""
        try:
            try:
                answer = request.endpoint.decode(response.body)
            except (msgspec.DecodeError, UnicodeError):
                answer = decode_leniently(response.body, request.endpoint.returns)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            reason = str(error)
        else:
            # Checked inline, since most answers need no redaction and a call takes time.
            returns: object = request.endpoint.returns
            if returns is Prediction or returns is Training:
                run: Any = answer
                if run.error or run.status not in QUIET_STATUSES:
                    answer = redact_run(run, self.token.redact)
            if request.endpoint.method == "POST" and not _PLAIN_ID(getattr(answer, "id", "none")):
                run = answer = redact_id(answer, self.token.redact)
                self._check_id(request, response, answer)
            return answer
        redact = self.token.redact
        reason, content_type = redact(reason), redact(response.headers.get("Content-Type", ""))
        text = redact(response.body[:_EXAMINED].decode(errors="replace"))[:_SNIPPET]
        snippet = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        cls = DecodeError if request.endpoint.repeatable else AmbiguousDecodeError
        # Outside of `except`, so that no context of the error holds what was decoded.
        fault = cls(
            f"{request.operation} answered {response.status} with "
            f"{content_type or 'no content type'}, which is not what the API documents ({reason}): "
            f"{snippet!r}. Is base_url the API, or a proxy's own page?",
            status=response.status,
            content_type=content_type or None,
            snippet=snippet,
        )
        raise self._with_details(fault, response)

    def _check_id(self, request: Request[Any], response: Response, created: object) -> None:
        """Raise `AmbiguousDecodeError` if the id of *created* cannot stand in a URL.

        A run that has ended passes: no further request needs its id.
        """
        if request.endpoint.repeatable or not isinstance(created, Prediction | Training | File):
            return
        if not isinstance(created, File) and created.done:
            return
        try:
            segment("id", created.id)
        except SegmentError as error:
            problem = error.problem
        else:
            return
        fault = AmbiguousDecodeError(
            f"{request.operation} answered {response.status} with the id "
            f"{shorten(created.id)}, which {problem}. It was created, but no "
            "request can name it: do not create it again, and look for it on the website. Is "
            "base_url the API?",
            status=response.status,
        )
        if isinstance(created, Prediction):
            fault.prediction = created
        raise self._with_details(fault, response)

    def _lost(
        self, request: Request[Any], error: APIConnectionError | DecodeError
    ) -> ReplicateError:
        """Return the error to raise for *error*, which came in place of an answer."""
        if isinstance(error, APIConnectionError):
            if error.phase == "not_sent" or request.endpoint.repeatable:
                return error
            return ambiguous_connection_error(error, request.operation)
        if error.content_type is not None:
            error.content_type = self.token.redact(error.content_type)
        if request.endpoint.repeatable:
            return error
        return AmbiguousDecodeError(
            f"{request.operation}: {error}", status=error.status, content_type=error.content_type
        )

    def _redirect_refused(self, request: Request[Any], response: Response) -> RedirectError:
        """Return the error for a redirect that is not followed."""
        location = self.token.redact(response.headers.get("Location", ""))
        # 307 and 308 say that nothing was done yet; the others may follow what was done.
        undone = request.endpoint.repeatable or response.status in {307, 308}
        cls = RedirectError if undone else AmbiguousRedirectError
        fault = cls(
            f"{request.operation} was redirected ({response.status}) to {shorten(location)}; "
            f"only a GET is followed, only on the origin of base_url, {_MOST_REDIRECTS} times at "
            "most. Check base_url.",
            status=response.status,
            location=location,
        )
        return self._with_details(fault, response)

    def _refused(self, request: Request[Any], response: Response) -> APIStatusError:
        """Return the error for an error status; after a 429, hold requests back."""
        # Latin-1 keeps every byte, and the token is ASCII.
        body = self.token.redact(response.body[:_EXAMINED].decode("latin-1"))
        problem = problems.parse(
            response.status, response.headers.get("Content-Type", ""), body.encode("latin-1")
        )
        after = problems.retry_after(response.headers, problem, now=time())
        phase = phase_of_status(response.status)
        if phase == "refused":
            self._on_rate_limited(request.endpoint.bucket, after, problems.named_rate(problem))
        hint = ""
        if response.status == 404 and not self.is_cloudflare and not self.base.url.endswith("/v1"):
            hint = f" If the API is not at {self.base.url}, add /v1 to base_url."
        fault = status_error(
            problem,
            operation=request.operation,
            retry_after=after,
            ambiguous=phase == "ambiguous" and not request.endpoint.repeatable,
            missing=missing(request.endpoint.path, request.target),
            hint=hint,
        )
        return self._with_details(fault, response)

    def _with_details(self, fault: E, response: Response) -> E:
        """Give *fault* the headers of *response*, in lower case, without cookies and the token."""
        fault.headers = {
            name.lower(): self.token.redact(value)
            for name, value in response.headers.items()
            if name.lower() != "set-cookie"
        }
        fault.request_id = request_id(fault.headers)
        return fault

    def _on_rate_limited(
        self, kind: BucketName, after: float | None, rate: problems.Rate | None
    ) -> None:
        """Hold back all requests of this *kind* for *after* seconds, then go at *rate*."""
        per_minute, burst = rate or (None, None)
        if self.limiter is None:
            self.rate_limiters.buckets[kind].throttled(monotonic(), after, per_minute, burst)
        else:
            pause = self.retry.throttle_base if after is None else after
            self.limiter.on_rate_limited(kind, pause, per_minute)


def _failure_of(error: ReplicateError) -> Failure | None:
    """Return how an attempt failed, or None if another would fail in the same way."""
    if isinstance(error, APIConnectionError) and not isinstance(error, TLSError):
        return Failure(error.phase)
    if isinstance(error, APIStatusError) and (phase := phase_of_status(error.status)) is not None:
        return Failure(phase, error.retry_after, throttled=error.status == 429)
    return None


def _allowance(headers: Mapping[str, str]) -> tuple[int | None, float]:
    """Return the requests that the API would take now, and the seconds until it takes more."""
    remaining = whole_number(headers.get("ratelimit-remaining"))
    reset = whole_number(headers.get("ratelimit-reset")) if remaining == 0 else None
    return remaining, float(reset or 0)

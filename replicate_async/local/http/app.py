"""The aiohttp application: routes made from the endpoints, authentication, limits and errors."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from replicate_async.core.endpoint import Endpoint
from replicate_async.local.http import openapi
from replicate_async.local.http.context import (
    Handler,
    RequestContext,
    origin_of,
    read_body,
    read_query,
    segment_problem,
)
from replicate_async.local.http.errors import Problem, django, not_found, problem, unauthenticated
from replicate_async.local.http.fault_injection import answer_with_fault, fault_response, hang_up
from replicate_async.local.http.file_response import output_response
from replicate_async.local.http.head_timeout import HeadTimeout
from replicate_async.local.http.rate_limit import RateLimiter
from replicate_async.local.http.responses import django_response, problem_response
from replicate_async.local.http.sse import EventSender
from replicate_async.local.services import Services
from replicate_async.local.settings import LOOPBACK
from replicate_async.local.store.files import OUTPUTS
from replicate_async.local.store.records import Account
from replicate_async.resources import ENDPOINTS

logger: logging.Logger = logging.getLogger("replicate_async.local")
http_logger: logging.Logger = logging.getLogger("replicate_async.local.http")


def _is_worth_logging(record: logging.LogRecord) -> bool:
    """Drop the parser's errors: they repeat the line, which may hold a token."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


http_logger.addFilter(_is_worth_logging)

# Documented with `security: []`.
OPEN = frozenset({"search"})
# Operations that read their query themselves and refuse it in their own words.
_OWN_QUERY = frozenset({"search", "files.download"})
_EDGE = frozenset({"predictions.create", "predictions.get", "trainings.create"})
_SCHEMES = frozenset({"bearer", "token"})

WebHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api:
    """The application that answers requests with *handlers*."""

    def __init__(
        self, services: Services, handlers: Mapping[str, Handler], names: frozenset[str]
    ) -> None:
        self._services = services
        self._handlers = handlers
        self._names = names | frozenset(LOOPBACK) | frozenset(services.settings.host_names)
        self._limiter = RateLimiter(services.settings.rate_limits, services.clock)
        self._events = EventSender(services.store.streams, services.settings, services.clock)
        self.app: web.Application = web.Application(middlewares=[self._guarded])
        self._add_routes()

    def _add_routes(self) -> None:
        add = partial(self.app.router.add_route, expect_handler=_expect)
        # Ahead of files.get, whose paths these look like.
        for path in ("/v1/files/{token:bcwr-[a-z2-7]{52}}", "/v1/streams/{token}"):
            add("GET", path, self._stream)
        for method in ("GET", "HEAD"):
            add(method, OUTPUTS + "/{token}/{name:[^/]+}", self._deliver)
        add("GET", "/v1/openapi.json", self._describe)
        allowed = _allowed()
        for operation, endpoint in ENDPOINTS.items():
            allow = allowed[endpoint.path]
            answer = self._answering(operation, endpoint, self._handlers[operation], allow)
            add(endpoint.method, f"/v1{endpoint.path}", answer)
            if endpoint.method == "GET":
                add("HEAD", f"/v1{endpoint.path}", answer)
        for path, allow in allowed.items():
            add("OPTIONS", f"/v1{path}", _options(path, allow))

    @web.middleware
    async def _guarded(self, request: web.Request, handler: WebHandler) -> web.StreamResponse:
        """Answer every exception in the API's own form."""
        answered = _note_head(request)
        try:
            self._check_host(request)
            response = await handler(request)
        except Problem as refusal:
            response = problem_response(refusal)
        except web.HTTPException as error:
            response = problem_response(_translated(request, error))
        except ConnectionError:
            raise  # the client has gone
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            defect = problem(500, "The embedded server has a defect; see its log")
            response = problem_response(defect)
        finally:
            answered()
        if not response.prepared:
            response.headers.setdefault("X-Content-Type-Options", "nosniff")
        return response

    def _check_host(self, request: web.Request) -> None:
        """Refuse names that are not the server's, against DNS rebinding."""
        try:
            host = URL(f"http://{request.headers.get('Host', '')}").host or ""
        except ValueError:
            host = ""
        if host in self._names or _is_address(host):
            return
        raise problem(421, "This server does not answer for the host that was asked for")

    def _answering(
        self, operation: str, endpoint: Endpoint[Any], handler: Handler, allow: str
    ) -> WebHandler:
        """Return the aiohttp handler of *operation*."""
        services = self._services
        shows_limit = not operation.startswith("files.")

        async def perform(request: web.Request) -> web.Response:
            account = self._authenticate(request, operation)
            limits = self._limiter.take(account.username, endpoint.bucket)
            try:
                segment_problem(request)
                query = None if operation in _OWN_QUERY else read_query(request, endpoint)
                body = await read_body(request, endpoint, services.settings.max_body)
                context = RequestContext(services, request, account, body, query)
                response = await handler(context)
            except Problem as refusal:
                response = problem_response(refusal)
            if shows_limit:
                response.headers.update(limits)
            if shows_limit and operation not in _EDGE:
                response.headers["Allow"] = allow
            return response

        async def answer(request: web.Request) -> web.StreamResponse:
            fault = services.faults.take(operation)
            if fault is None:
                return await perform(request)
            return await answer_with_fault(request, perform, fault)

        return answer

    def _authenticate(self, request: web.Request, operation: str) -> Account:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip()
        account = None
        if scheme.lower() in _SCHEMES and token:
            account = self._services.store.account_of(token)
        if account is None and operation in OPEN:
            return _ANONYMOUS
        if account is None:
            raise unauthenticated(given=bool(token))
        return account

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        fault = self._services.faults.take("streams")
        if fault is None:
            return await self._events.subscribe(request)
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.replaces:
            return fault_response(fault)
        response = await self._events.subscribe(request, fault)
        hang_up(request, reset=fault.reset)
        return response

    async def _deliver(self, request: web.Request) -> web.StreamResponse:
        async def perform(request: web.Request) -> web.Response:
            return output_response(request, self._services.store.files.outputs.get(request.path))

        fault = self._services.faults.take("delivery")
        if fault is None:
            return await perform(request)
        return await answer_with_fault(request, perform, fault)

    async def _describe(self, request: web.Request) -> web.Response:
        return web.Response(
            body=openapi.document(origin_of(request)), content_type="application/json"
        )


_ANONYMOUS = Account(username="", name="")


def _allowed() -> dict[str, str]:
    """Return the `Allow` header of every path, in the service's order."""
    methods: dict[str, list[str]] = {}
    for endpoint in ENDPOINTS.values():
        methods.setdefault(endpoint.path, []).append(endpoint.method)
    order = ["GET", "POST", "PATCH", "DELETE", "QUERY"]
    allowed: dict[str, str] = {}
    for path, found in methods.items():
        names = sorted(found, key=order.index)
        if "GET" in names:
            names.append("HEAD")
        allowed[path] = ", ".join([*names, "OPTIONS"])
    return allowed


def _options(path: str, allow: str) -> WebHandler:
    async def answer(_request: web.Request) -> web.Response:
        response = django_response(
            {
                "name": path.rpartition("/")[2].strip("{}").replace("_", " ").title(),
                "description": "",
                "renders": ["application/json"],
                "parses": ["application/json"],
            }
        )
        response.headers["Allow"] = allow
        return response

    return answer


async def _expect(request: web.Request) -> None:
    """Answer `Expect`; aiohttp's own handler repeats an unknown value in its error."""
    if request.version < HttpVersion11:
        return
    if request.headers.get("Expect", "").lower() != "100-continue":
        raise web.HTTPExpectationFailed
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # for aiohttp, the answer has not begun


def _note_head(request: web.Request) -> Callable[[], None]:
    """Stop the head timeout of *request*; returns the call that ends the request."""
    protocol = None if request.transport is None else request.transport.get_protocol()
    if not isinstance(protocol, HeadTimeout):
        return lambda: None
    chunked = "Transfer-Encoding" in request.headers
    return protocol.received(None if chunked else request.content_length or 0)


def _translated(request: web.Request, error: web.HTTPException) -> Problem:
    """Return the API's error for an exception of aiohttp."""
    if isinstance(error, web.HTTPNotFound):
        return not_found()
    if isinstance(error, web.HTTPMethodNotAllowed):
        allow = ", ".join(sorted(error.allowed_methods))
        return django(405, f'Method "{request.method}" not allowed.', Allow=allow)
    return problem(error.status, error.reason)


def _is_address(host: str) -> bool:
    """Return whether *host* is an IP literal, which DNS cannot rebind."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

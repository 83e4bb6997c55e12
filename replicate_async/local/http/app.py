"""The HTTP side: routes made from the endpoints, and what every request goes through."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from replicate_async.core.endpoint import Endpoint
from replicate_async.local.http import fault_injection, openapi
from replicate_async.local.http.context import Call, base_of, read_body, read_query, segment_problem
from replicate_async.local.http.errors import Problem, django, not_found, problem, unauthenticated
from replicate_async.local.http.fault_injection import Fault
from replicate_async.local.http.file_response import answer_delivery
from replicate_async.local.http.head_timeout import HeadTimeout
from replicate_async.local.http.responses import Handler, django_answer
from replicate_async.local.operations.routes import HANDLERS
from replicate_async.local.services import Backend
from replicate_async.local.settings import LOOPBACK
from replicate_async.local.store.files import OUTPUTS
from replicate_async.local.store.store import Account
from replicate_async.resources import ENDPOINTS

logger: logging.Logger = logging.getLogger("replicate_async.local")
http_logger: logging.Logger = logging.getLogger("replicate_async.local.http")


def _is_worth_logging(record: logging.LogRecord) -> bool:
    """Leave out what the parser says of garbage: it repeats the line, and so perhaps a token."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


http_logger.addFilter(_is_worth_logging)

# Documented with `security: []`.
OPEN = frozenset({"search"})
# Their answers show no rate limit, and their parameters are refused in words of their own.
_OWN_QUERY = frozenset({"search", "files.download"})
_EDGE = frozenset({"predictions.create", "predictions.get", "trainings.create"})
_SCHEMES = frozenset({"bearer", "token"})

WebHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api:
    """The application that answers for a backend."""

    def __init__(self, backend: Backend, names: frozenset[str]) -> None:
        self._backend = backend
        self._names = names | frozenset(LOOPBACK) | frozenset(backend.settings.host_names)
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
            answer = self._answering(operation, endpoint, HANDLERS[operation], allow)
            add(endpoint.method, f"/v1{endpoint.path}", answer)
            if endpoint.method == "GET":
                add("HEAD", f"/v1{endpoint.path}", answer)
        for path, allow in allowed.items():
            add("OPTIONS", f"/v1{path}", _options(path, allow))

    @web.middleware
    async def _guarded(self, request: web.Request, handler: WebHandler) -> web.StreamResponse:
        """Turn whatever goes wrong into an answer of the API's own form."""
        answered = _note_head(request)
        try:
            self._check_host(request)
            response = await handler(request)
        except Problem as refusal:
            response = refusal.response()
        except web.HTTPException as error:
            response = _translated(request, error).response()
        except ConnectionError:
            raise  # the client has gone
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            response = problem(500, "The embedded server has a defect; see its log").response()
        finally:
            answered()
        if not response.prepared:
            response.headers.setdefault("X-Content-Type-Options", "nosniff")
        return response

    def _check_host(self, request: web.Request) -> None:
        """Refuse names that are not the server's: a page elsewhere may have bound one to us."""
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
        """Return what answers *operation*."""
        backend = self._backend
        shows_limit = not operation.startswith("files.")

        async def perform(request: web.Request) -> web.Response:
            account = self._authenticate(request, operation)
            limits = backend.limiter.take(account.username, endpoint.bucket)
            try:
                segment_problem(request)
                query = None if operation in _OWN_QUERY else read_query(request, endpoint)
                body = await read_body(request, endpoint, backend.settings.max_body)
                call = Call(backend, request, operation, endpoint, account, body, query)
                response = await handler(call)
            except Problem as refusal:
                response = refusal.response()
            if shows_limit:
                response.headers.update(limits)
            if shows_limit and operation not in _EDGE:
                response.headers["Allow"] = allow
            return response

        async def answer(request: web.Request) -> web.StreamResponse:
            fault = backend.faults.take(operation)
            if fault is None:
                return await perform(request)
            return await _spoiled(request, perform, fault)

        return answer

    def _authenticate(self, request: web.Request, operation: str) -> Account:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip()
        account = None
        if scheme.lower() in _SCHEMES and token:
            account = self._backend.state.account_of(token)
        if account is None and operation in OPEN:
            return _ANYBODY
        if account is None:
            raise unauthenticated(given=bool(token))
        return account

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        fault = self._backend.faults.take("streams")
        if fault is None:
            return await self._backend.streams.subscribe(request)
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.replaces:
            return fault.answer()
        response = await self._backend.streams.subscribe(request, fault)
        fault_injection.hang_up(request, reset=fault.reset)
        return response

    async def _deliver(self, request: web.Request) -> web.StreamResponse:
        async def perform(request: web.Request) -> web.Response:
            return answer_delivery(request, self._backend.files.deliveries.get(request.path))

        fault = self._backend.faults.take("delivery")
        if fault is None:
            return await perform(request)
        return await _spoiled(request, perform, fault)

    async def _describe(self, request: web.Request) -> web.Response:
        return web.Response(
            body=openapi.document(base_of(request)), content_type="application/json"
        )


_ANYBODY = Account(username="", name="")


async def _spoiled(
    request: web.Request,
    perform: Callable[[web.Request], Awaitable[web.Response]],
    fault: Fault,
) -> web.StreamResponse:
    """Answer as *fault* says."""
    if fault.delay:
        await asyncio.sleep(fault.delay)
    response: web.Response | None = None
    if fault.perform:
        try:
            response = await perform(request)
        except Problem as refusal:
            response = refusal.response()
    if fault.replaces or response is None:
        response = fault.answer()
    response.headers.update(fault.mark)
    response.headers.update(fault.headers)
    await fault_injection.deliver(request, response, fault)
    return response


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
        response = django_answer(
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
    """Meet the one expectation there is; aiohttp's own handler repeats any other, bytes and all."""
    if request.version < HttpVersion11:
        return
    if request.headers.get("Expect", "").lower() != "100-continue":
        raise web.HTTPExpectationFailed
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # which tells aiohttp that nothing of the answer was sent


def _note_head(request: web.Request) -> Callable[[], None]:
    """Tell the connection of *request* that its head is there; returns what ends the request."""
    protocol = None if request.transport is None else request.transport.get_protocol()
    if not isinstance(protocol, HeadTimeout):
        return lambda: None
    chunked = "Transfer-Encoding" in request.headers
    return protocol.received(None if chunked else request.content_length or 0)


def _translated(request: web.Request, error: web.HTTPException) -> Problem:
    """Return the problem that stands for an exception of aiohttp's."""
    if isinstance(error, web.HTTPNotFound):
        return not_found()
    if isinstance(error, web.HTTPMethodNotAllowed):
        allow = ", ".join(sorted(error.allowed_methods))
        return django(405, f'Method "{request.method}" not allowed.', Allow=allow)
    return problem(error.status, error.reason)


def _is_address(host: str) -> bool:
    """Return whether *host* is an address: no name, so nobody can have bound it to another."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

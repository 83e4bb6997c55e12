"""A gateway in front of the embedded server, which behaves as Cloudflare's AI Gateway does."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol, Self

import aiohttp
import anyio
import msgspec
from aiohttp import web
from yarl import URL

from replicate_async.local.store.files import OUTPUTS

_SERVICE: Final = "https://api.replicate.com/v1/"
_FORWARDED: Final = frozenset(
    {"accept", "authorization", "content-type", "prefer", "cancel-after", "user-agent"}
)
_DROPPED: Final = frozenset(
    {"connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding"}
)


class Server(Protocol):
    """The embedded server, as far as a gateway needs it."""

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        ...

    api_token: str


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class LocalGateway:
    """A gateway in front of a started `LocalReplicate`, as an async context manager.

    It takes the place of the API's base URL, asks for a header of its own, leaves links in answers
    as the service writes them, answers a GET from its cache, and repeats what failed with a 5xx,
    unless a request forbids it.

    Example::

        async with LocalReplicate() as server, LocalGateway(server) as gateway:
            token, headers = server.api_token, gateway.headers
            client = Replicate(token, base_url=gateway.url, headers=headers)

    Args:
        server: The embedded server.
        prefix: The path that takes the place of ``/v1``.
        header: The name of the header that it asks for.
        stored_token: Whether it adds the API token itself, in place of the client's.
        attempts: How often a request is sent at most.
    """

    def __init__(
        self,
        server: Server,
        *,
        prefix: str = "/v1/account/gateway/replicate",
        header: str = "cf-aig-authorization",
        stored_token: bool = False,
        attempts: int = 3,
    ) -> None:
        self.headers: Mapping[str, str] = {header: f"Bearer {secrets.token_urlsafe(24)}"}
        self.requests: list[Mapping[str, str]] = []
        """The headers of the requests that it took, their names in lower case."""
        self.repeated: int = 0
        """How many requests were sent to the server once more."""
        self._server = server
        self._prefix = prefix
        self._stored_token = stored_token
        self._attempts = attempts
        self._cache: dict[str, _Answer] = {}
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """The base URL to give to a client."""
        return f"http://127.0.0.1:{self._port}{self._prefix}"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._respond)
        self._session = aiohttp.ClientSession()
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.25)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        with anyio.CancelScope(shield=True):
            if self._runner is not None:
                await self._runner.cleanup()
            await self._session.close()

    async def _respond(self, request: web.Request) -> web.Response:
        answer = await self._answer(request)
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)

    async def _answer(self, request: web.Request) -> _Answer:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(headers)
        if request.raw_path.startswith(f"{OUTPUTS}/"):
            return await self._forward(request, request.raw_path, headers)
        if not request.raw_path.startswith(f"{self._prefix}/"):
            return _refusal(404, "No route for that URI")
        if any(headers.get(name) != value for name, value in self.headers.items()):
            return _refusal(401, "Unauthorized")
        cached = self._cache.get(request.raw_path)
        if cached is not None and "cf-aig-skip-cache" not in headers:
            return cached
        path = f"/v1{request.raw_path.removeprefix(self._prefix)}"
        answer = await self._forward(request, path, headers)
        if request.method == "GET" and answer.status == 200:
            self._cache[request.raw_path] = answer
        return answer

    async def _forward(
        self, request: web.Request, path: str, headers: Mapping[str, str]
    ) -> _Answer:
        """Send *request* to the server, again after a 5xx, and return its last answer."""
        own, service = f"{self._server.origin}/v1/".encode(), _SERVICE.encode()
        sent = {name: value for name, value in headers.items() if name in _FORWARDED}
        if self._stored_token:
            sent["authorization"] = f"Bearer {self._server.api_token}"
        body = (await request.read()).replace(service, own)
        left = min(int(headers.get("cf-aig-max-attempts", self._attempts)), self._attempts)
        while True:
            left -= 1
            try:
                async with self._session.request(
                    request.method,
                    URL(self._server.origin + path, encoded=True),
                    headers=sent,
                    data=body or None,
                    allow_redirects=False,
                ) as response:
                    answer = _Answer(
                        response.status,
                        _kept(response.headers),
                        self._relinked(await response.read(), own),
                    )
            except aiohttp.ClientError:
                answer = _refusal(502, "The provider did not answer")
            if answer.status < 500 or left <= 0:
                return answer
            self.repeated += 1

    def _relinked(self, body: bytes, own: bytes) -> bytes:
        """Return *body* with the service's links, and with files at this gateway."""
        if not body.startswith((b"{", b"[")):
            return body
        body = re.sub(re.escape(own) + rb"(?!streams/|files/bcwr-)", _SERVICE.encode(), body)
        outputs = f"{self._server.origin}{OUTPUTS}/".encode()
        return body.replace(outputs, f"http://127.0.0.1:{self._port}{OUTPUTS}/".encode())


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _DROPPED}


def _refusal(status: int, message: str) -> _Answer:
    error = {"success": False, "error": [{"code": 2001, "message": message}]}
    return _Answer(status, {"Content-Type": "application/json"}, msgspec.json.encode(error))

"""One request: its account, path, query and body, validated as the service validates them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, TypeVar

import msgspec
from aiohttp import web
from yarl import URL

from replicate_async.core.endpoint import Endpoint
from replicate_async.interface.validation import check, detail_text
from replicate_async.local.clock import Clock
from replicate_async.local.http.errors import django, invalid, not_found, problem
from replicate_async.local.http.json_schema import JSONSchema, schema_components
from replicate_async.local.http.pagination import paginate
from replicate_async.local.http.responses import Response
from replicate_async.local.serializers import Serializers
from replicate_async.local.services import Services
from replicate_async.local.settings import Settings
from replicate_async.local.store.records import Account, Model
from replicate_async.local.store.store import Store

T = TypeVar("T")

_SCHEMAS: dict[type[Any], tuple[JSONSchema, dict[str, JSONSchema]]] = {}
_JSON = re.compile(r"application/(?:[\w.+-]+\+)?json", re.IGNORECASE | re.ASCII)


class RequestContext:
    """A request of one operation by one account, and the services that answer it."""

    def __init__(
        self, services: Services, request: web.Request, account: Account, body: Any, query: Any
    ) -> None:
        self.services = services
        self.store: Store = services.store
        self.clock: Clock = services.clock
        self.settings: Settings = services.settings
        self.serialize: Serializers = services.serializers
        self.request = request
        self.account = account
        self.body = body
        self.query = query
        self.path: Mapping[str, str] = request.match_info
        self.origin: str = origin_of(request)

    @property
    def url(self) -> URL:
        """The URL of the request, as this client sent it."""
        return URL(self.origin + self.request.raw_path, encoded=True)

    def page(
        self,
        items: Sequence[T],
        view: Callable[[T], Any],
        *,
        position: Callable[[T], float] = attrgetter("created"),
        size: int | None = None,
        ascending: bool = False,
    ) -> dict[str, Any]:
        """Return the page of *items* that the request names; see `paginate`."""
        size = size or self.settings.page_size
        return paginate(
            items, self.url, size=size, position=position, view=view, ascending=ascending
        )

    @property
    def model_ref(self) -> str:
        """The model that the path names."""
        return f"{self.path['model_owner']}/{self.path['model_name']}"

    def model(self) -> Model:
        """Return the model that the path names; raises the 404 `Problem`."""
        model = self.store.model(self.model_ref, self.account)
        if model is None:
            raise not_found()
        return model


Handler = Callable[[RequestContext], Awaitable[Response]]


def origin_of(request: web.Request) -> str:
    """Return scheme and host by which *request* reached the server."""
    scheme = request.headers.get("X-Forwarded-Proto", "http")
    return f"{scheme if scheme in {'http', 'https'} else 'http'}://{request.host}"


async def read_body(request: web.Request, endpoint: Endpoint[Any], limit: int) -> Any:
    """Return the body as an `endpoint.takes`; raises `Problem` if it is invalid."""
    if endpoint.takes is None or endpoint.media == "multipart/form-data":
        return None
    raw = await read_limited(request, limit)
    if endpoint.takes is str:
        if not raw:
            raise problem(400, "The body is empty; send what to search for")
        return _text(raw)
    if not _JSON.fullmatch(request.content_type) and raw:
        raise django(415, f'Unsupported media type "{request.content_type}" in request.')
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise problem(400, f"JSON parse error - {error}") from None
    return convert(value, endpoint.takes)


def convert(value: Any, kind: type[Any]) -> Any:
    """Return *value* as a *kind*; raises the 422 `Problem` if its schema forbids it."""
    schema, components = _schema(kind)
    fields = check(value, schema, components, root="")
    if fields:
        raise invalid(detail_text(fields), fields)
    try:
        # JSON Schema calls 3.0 an integer.
        return msgspec.convert(value, kind, strict=False)
    except (msgspec.ValidationError, RecursionError) as error:
        raise problem(422, str(error), title="Input validation failed") from None


def read_query(request: web.Request, endpoint: Endpoint[Any]) -> Any:
    """Return the query as an `endpoint.query`; raises the 400 `Problem` if it is invalid."""
    kind = endpoint.query
    if kind is None:
        return None
    names = {field.encode_name for field in msgspec.structs.fields(kind)}
    given = {name: value for name, value in request.query.items() if name in names}
    for name, value in given.items():
        if len(request.query.getall(name)) > 1:
            raise django(400, f"The query parameter {name} may be given once only.")
        if value.lower() == "null":  # msgspec would read it as null
            raise django(400, f"The query parameter {name} cannot be null.")
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise django(400, f"Invalid query parameter: {error}") from None


async def read_limited(request: web.Request, limit: int) -> bytes:
    """Return the body; raises the 413 `Problem` if it is longer than *limit* bytes."""
    body = bytearray()
    try:
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > limit:
                raise problem(413, f"Request bodies must be at most {limit} bytes long")
    except web.RequestPayloadError:
        raise problem(400, "The body is not in the encoding that its header names") from None
    return bytes(body)


def segment_problem(request: web.Request) -> None:
    """Refuse path parameters that no record can have as a name."""
    if any(len(value) > 512 or not value.isprintable() for value in request.match_info.values()):
        raise not_found()


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise problem(400, "The body is not UTF-8") from None


def _schema(kind: type[Any]) -> tuple[JSONSchema, dict[str, JSONSchema]]:
    if kind not in _SCHEMAS:
        (schema,), components = schema_components([kind])
        _SCHEMAS[kind] = schema, components
    return _SCHEMAS[kind]

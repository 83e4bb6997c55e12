"""The server's own OpenAPI document, made of the endpoints and their structs."""

from __future__ import annotations

from functools import cache
from typing import Any, cast, get_origin

import msgspec

from replicate_async.core.endpoint import Endpoint
from replicate_async.local.http.errors import JSON, PROBLEM_JSON
from replicate_async.local.http.json_schema import JSONSchema, parameters, schema_components
from replicate_async.resources import ENDPOINTS
from replicate_async.schemas import Page, Problem

# What each status is for; the first media type is the usual one.
_ERRORS = {
    400: "The request is malformed, or the thing is not in a state for it",
    401: "The API token is missing or not valid",
    404: "There is no such thing, or it is not yours to see",
    413: "The body is too large",
    415: "The body is of a media type that the operation does not take",
    422: "The body or the input breaks its schema",
    429: "One request too many; see Retry-After",
}
_OPEN = frozenset({"search"})
_REFUSES = frozenset(
    {
        "deployments.create",
        "deployments.delete",
        "deployments.update",
        "files.create",
        "models.create",
        "models.delete",
        "models.versions.delete",
        "search",
    }
)
"""Operations that answer 400 for other reasons than their body or query."""


def document(base: str) -> bytes:
    """Return the document as JSON, for a server that is reached at *base*."""
    return msgspec.json.encode({**_document(), "servers": [{"url": f"{base}/v1"}]})


@cache
def _document() -> JSONSchema:
    types = [Problem, *_types()]
    schemas, components = schema_components(types)
    known = {id(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    paths: dict[str, JSONSchema] = {}
    for operation, endpoint in ENDPOINTS.items():
        described = _operation(operation, endpoint, known)
        # OpenAPI 3.1 does not know QUERY; the service's own document says "query", as 3.2 does.
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Replicate HTTP API, embedded",
            "version": "1.0.0-a1",
            "description": "What this embedded server answers, for tests and for the curious.",
        },
        "security": [{"bearerAuth": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearerAuth": {"type": "http", "scheme": "bearer"}},
        },
    }


def _types() -> list[Any]:
    found: dict[int, Any] = {}
    for endpoint in ENDPOINTS.values():
        for kind in (endpoint.takes, endpoint.returns):
            if kind not in {None, str, bytes, type(None)}:
                found[id(kind)] = kind
    return list(found.values())


def _operation(operation: str, endpoint: Endpoint[Any], known: dict[int, JSONSchema]) -> JSONSchema:
    described: JSONSchema = {
        "operationId": operation,
        "parameters": _parameters(endpoint),
        "responses": _responses(operation, endpoint, known),
    }
    if operation in _OPEN:
        described["security"] = []
    if endpoint.takes is not None:
        schema = {"type": "string"} if endpoint.takes is str else known[id(endpoint.takes)]
        described["requestBody"] = {
            "required": True,
            "content": {endpoint.media: {"schema": schema}},
        }
    return described


def _parameters(endpoint: Endpoint[Any]) -> list[JSONSchema]:
    found: list[JSONSchema] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in endpoint.parameters
    ]
    if endpoint.query is not None:
        found += parameters(endpoint.query, "query")
    if endpoint.headers is not None:
        found += parameters(endpoint.headers, "header")
    if _is_page(endpoint) and endpoint.method == "GET":
        found.append(
            {"name": "cursor", "in": "query", "required": False, "schema": {"type": "string"}}
        )
    return found


def _responses(
    operation: str, endpoint: Endpoint[Any], known: dict[int, JSONSchema]
) -> dict[str, JSONSchema]:
    answers: dict[str, JSONSchema] = {}
    for status in endpoint.status:
        content = _content(endpoint, known)
        described: JSONSchema = {"description": "Success"}
        answers[str(status)] = described | ({"content": content} if content else {})
    problem = {"schema": known[id(Problem)]}
    for status in _statuses(operation, endpoint):
        answers[str(status)] = {
            "description": _ERRORS[status],
            "content": {PROBLEM_JSON: problem, JSON: problem},
        }
    return answers


def _content(endpoint: Endpoint[Any], known: dict[int, JSONSchema]) -> JSONSchema:
    if endpoint.returns is type(None):
        return {}
    if endpoint.returns is bytes:
        return {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    if endpoint.returns is str:
        return {"text/plain": {"schema": {"type": "string"}}}
    return {JSON: {"schema": known[id(endpoint.returns)]}}


def _statuses(operation: str, endpoint: Endpoint[Any]) -> list[int]:
    """Return the statuses with which the server may refuse an operation."""
    found = {429}
    if operation not in _OPEN:
        found.add(401)
    if endpoint.parameters or _is_page(endpoint):
        found.add(404)
    if endpoint.query is not None or operation in _REFUSES:
        found.add(400)
    if endpoint.takes is not None:
        found |= {400, 413}
        found |= set() if endpoint.takes is str else {415}
    if endpoint.takes not in {None, str} and endpoint.media == JSON:
        found.add(422)
    return sorted(found)


def _is_page(endpoint: Endpoint[Any]) -> bool:
    return cast("Any", get_origin(endpoint.returns)) is Page

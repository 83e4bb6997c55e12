"""JSON Schemas of the structs, as the OpenAPI document has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias, cast

import msgspec

from replicate_async.schemas.account import Account
from replicate_async.schemas.collections import Collection, CollectionItem
from replicate_async.schemas.files import File
from replicate_async.schemas.page import Page
from replicate_async.schemas.predictions import Prediction, PredictionURLs
from replicate_async.schemas.search import (
    SearchCollection,
    SearchModel,
    SearchPage,
    SearchResults,
)

JSONSchema: TypeAlias = dict[str, Any]

REF_TEMPLATE: Final = "#/components/schemas/{name}"

PROMISED: Final[Mapping[type[msgspec.Struct], tuple[str, ...]]] = {
    Account: ("type", "username"),
    Collection: ("name", "slug", "description", "models"),
    CollectionItem: ("name", "slug", "description"),
    File: (
        "id",
        "urls",
        "content_type",
        "size",
        "checksums",
        "metadata",
        "created_at",
        "expires_at",
    ),
    Page: ("next", "previous", "results"),
    Prediction: (
        "id",
        "model",
        "version",
        "input",
        "output",
        "data_removed",
        "error",
        "status",
        "created_at",
        "urls",
    ),
    PredictionURLs: ("web", "get", "cancel"),
    SearchCollection: ("name", "slug", "description"),
    SearchModel: ("model", "metadata"),
    SearchPage: ("name", "href"),
    SearchResults: ("query", "models", "collections", "pages"),
}
"""Fields that the API's document promises, though a client can do without some of them."""


def schema_components(
    types: Iterable[Any], *, ref_template: str = REF_TEMPLATE
) -> tuple[tuple[JSONSchema, ...], dict[str, JSONSchema]]:
    """Return a schema for each of *types*, and the components that they refer to.

    Like `msgspec.json.schema_components`, but with the fields that responses promise among the
    required ones and with enums that are closed, as a server that fills them sees both.
    """
    schemas, components = msgspec.json.schema_components(types, ref_template=ref_template)
    promised = {struct.__name__: fields for struct, fields in PROMISED.items()}
    for name, component in components.items():
        fields = promised.get(name.partition("_")[0])
        if fields is not None:
            component["required"] = sorted({*component["required"], *fields})
    return (
        tuple(cast(JSONSchema, _plain(schema)) for schema in schemas),
        {name: cast(JSONSchema, _plain(component)) for name, component in components.items()},
    )


def parameters(
    struct: type[msgspec.Struct], location: Literal["query", "header"]
) -> list[JSONSchema]:
    """Return the OpenAPI parameters that the fields of *struct* are."""
    _, components = schema_components([struct])
    component = components[struct.__name__]
    return [
        {
            "name": name,
            "in": location,
            "required": name in component["required"],
            "schema": _without_null(schema),
        }
        for name, schema in component["properties"].items()
    ]


def _without_null(schema: JSONSchema) -> JSONSchema:
    # A parameter cannot be null, only left out.
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    return cast(JSONSchema, choices[0]) if len(choices) == 1 else schema


def _plain(schema: object) -> object:
    """Return *schema* as the API's document has it: enums closed and typed, files not base64."""
    if isinstance(schema, list):
        return [_plain(item) for item in cast("list[object]", schema)]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _plain(value) for key, value in cast(JSONSchema, schema).items()}
    if "enum" in plain:
        plain.pop("anyOf", None)
        plain.setdefault("type", "string")
    if plain.get("format") == "binary":
        plain.pop("contentEncoding", None)
    return plain

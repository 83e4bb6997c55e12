"""OpenAPI documents: operations, parameters, bodies, answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

Schema: TypeAlias = Mapping[str, Any]

DATA: Final = Path(__file__).parents[1] / "data"
# Keywords that constrain a value; the rest of a schema is prose and examples.
_WORDS: Final = ("type", "format", "enum", "default", "minimum", "maximum", "maxLength")


class Field(NamedTuple):
    """One field of a body or an answer, by its path from the top."""

    path: str
    required: bool
    said: Mapping[str, object]


class Document:
    """A document, with its operations by operationId."""

    def __init__(self, content: Schema) -> None:
        self.content = content
        self.operations: dict[str, Schema] = {}
        self.routes: dict[str, tuple[str, str]] = {}
        for path, methods in content["paths"].items():
            for method, operation in methods.items():
                name = operation["operationId"]
                self.operations[name] = operation
                self.routes[name] = (method.upper(), path)

    @classmethod
    def read(cls, name: str) -> Document:
        return cls(json.loads((DATA / name).read_text("utf-8")))

    def resolve(self, schema: Schema) -> Schema:
        """Follow a reference, and look through the ways of saying "or null"."""
        while True:
            if "$ref" in schema:
                found: Schema = self.content
                for step in schema["$ref"].removeprefix("#/").split("/"):
                    found = found[step]
                schema = found
                continue
            choices = [
                choice
                for word in ("anyOf", "oneOf", "allOf")
                for choice in schema.get(word, ())
                if choice != {"type": "null"}
            ]
            if not choices:
                return schema
            schema = choices[0]

    def parameters(self, operation: str) -> dict[str, tuple[str, bool, Mapping[str, object]]]:
        """Return the place of each parameter, whether it is required, and its schema."""
        found = [self.resolve(item) for item in self.operations[operation].get("parameters", ())]
        return {
            item["name"]: (item["in"], item.get("required", False), _words(item["schema"]))
            for item in found
        }

    def request(self, operation: str) -> tuple[str, Schema] | None:
        """Return media type and schema of the body, if there is one."""
        body = self.operations[operation].get("requestBody")
        if body is None:
            return None
        ((media, content),) = body["content"].items()
        return media, self.resolve(content["schema"])

    def statuses(self, operation: str) -> set[int]:
        return {int(status) for status in self.operations[operation]["responses"]}

    def answer(self, operation: str, status: int) -> tuple[str, Schema] | None:
        """Return media type and schema of an answer that has a body."""
        content = self.operations[operation]["responses"][str(status)].get("content", {})
        for media, described in content.items():
            return media, self.resolve(described["schema"])
        return None

    def fields(self, schema: Schema, path: str = "") -> Iterator[Field]:
        """Walk over the fields of *schema*, those of objects and arrays within it too."""
        schema = self.resolve(schema)
        if "items" in schema:
            yield from self.fields(schema["items"], f"{path}[]")
        required = schema.get("required", ())
        for name, inner in schema.get("properties", {}).items():
            place = f"{path}.{name}" if path else name
            resolved = self.resolve(inner)
            yield Field(place, name in required, _words(resolved))
            yield from self.fields(resolved, place)


def _words(schema: Schema) -> dict[str, object]:
    said = {word: schema[word] for word in _WORDS if word in schema}
    if "enum" in said:
        said["enum"] = sorted(schema["enum"])
    return said

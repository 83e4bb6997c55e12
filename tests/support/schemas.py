"""Schemas of models: published ones, small ones for one thing, and adversarial ones."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from replicate_async.interface.validation import validate

SCHEMAS = sorted((Path(__file__).parent.parent / "data" / "schemas").glob("*.json"))
"""Published schemas, with blanked descriptions; every feature is among them."""
BROKEN = (
    *(
        '"',
        "'",
        "\\",
        "\n",
        "\r",
        "\t",
        '"""',
        "'''",
        '\\"',
        "\\'",
        "\\\n",
        "\\N{DASH}",
        "{x}",
        "%s",
    ),
    *(
        "\u202e",
        "\u2066",
        "\u200b",
        "\u2028",
        "\x00",
        "\x07",
        "\x85",
        "é",
        "日本",
        "ﬁ",
        "²",
        "ª",
        "℘",
    ),
    *("# type: ignore", "import os", '__import__("os")', '"""; import os; """', "lambda", "class"),
    *("def", "None", "Input", "list", "field", " ", "a", "-", "_", "0", "x" * 30),
)
"""Texts that code must not be made of."""
NUMBERS = (0, 1, -1, 0.5, 1e300, 1e-7, 2**53 + 1, 2**63, -(2**70), 5.0, 10**18, True, float("inf"))


@contextmanager
def case(path: Path) -> Generator[None]:
    """Name the schema in an error; a test of its own for each would cost more than what it does."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"the schema is {path.stem}")
        raise


def document(
    properties: dict[str, Any] | None = None,
    *,
    output: dict[str, Any] | None = None,
    required: tuple[str, ...] = (),
    **components: Any,
) -> dict[str, Any]:
    """Return the schema of a version with these inputs."""
    schema = {"type": "object", "properties": properties or {}, "required": list(required)}
    schemas = {"Input": schema, "Output": output or {"type": "string"}, **components}
    return {"components": {"schemas": schemas}}


def load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    return loaded


def example(schema: dict[str, Any], components: dict[str, Any]) -> Any:
    """Return a value that *schema* accepts."""
    if "$ref" in schema:
        return example(components[schema["$ref"].rpartition("/")[2]], components)
    for keyword in ("allOf", "anyOf"):
        if keyword in schema:
            return example(schema[keyword][0], components)
    if "enum" in schema:
        return schema["enum"][0]
    low = schema.get("minimum", schema.get("ge"))
    high = schema.get("maximum", schema.get("le"))
    values: dict[str, Any] = {
        "string": "x" * max(1, schema.get("minLength", 1)),
        "integer": int(next((bound for bound in (low, high) if bound is not None), 0)),
        "number": next((bound for bound in (low, high) if bound is not None), 0.5),
        "boolean": True,
        "array": [],
        "object": {"a": 1},
    }
    if schema.get("format") == "uri":
        return "https://example.com/a.png"
    return values.get(schema.get("type", "string"))


def valid_input(schema: dict[str, Any]) -> dict[str, Any]:
    """Return an input that has all that is required and all that can be given."""
    components = schema["components"]["schemas"]
    properties = components["Input"].get("properties", {})
    given = {name: example(part, components) for name, part in properties.items()}
    wrong = {field.field.split(".")[1] for field in validate(given, schema) if "." in field.field}
    return {name: value for name, value in given.items() if name not in wrong}


class Adversary:
    """Makes schemas of texts that try to leave their quotes; the same seed makes the same."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def text(self) -> str:
        longest = 40 if self.chance(0.2) else 4
        return "".join(self.random.choice(BROKEN) for _ in range(self.random.randint(0, longest)))

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def value(self, depth: int = 0) -> Any:
        kind = self.random.randint(0, 8)
        if kind < 3:
            return self.text()
        if kind < 5:
            return self.random.choice(NUMBERS)
        if kind == 5 or depth > 3:
            return msgspec.json.decode(self.random.choice(("null", "true", "[]", "{}")))
        if kind < 8:
            return [self.value(depth + 1) for _ in range(self.random.randint(0, 4))]
        return {self.text(): self.value(depth + 1) for _ in range(3)}

    def schema(self, depth: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for word, make in (
            ("title", self.text),
            ("description", self.text),
            ("default", self.value),
        ):
            if self.chance(0.5):
                found[word] = make()
        kinds = [self._text, self._number, self._choices, self._other]
        if depth < 4:
            kinds += [self._nested, self._combined]
        return found | self.random.choice(kinds)(depth)

    def properties(self, depth: int = 0) -> dict[str, Any]:
        found = {self.text(): self.schema(depth) for _ in range(self.random.randint(0, 6))}
        required = [name for name in found if self.chance(0.4)]
        return {"title": self.text(), "type": "object", "properties": found, "required": required}

    def document(self) -> dict[str, Any]:
        schemas = {name: self.schema() for name in ("A", "B", "C", "Output")}
        schemas |= {"Input": self.properties(), "TrainingInput": self.properties()}
        if self.chance(0.5):
            schemas["Output"] = self.properties()
        return {"components": {"schemas": schemas}}

    def _text(self, _: int, /) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "string"}
        for word in ("minLength", "maxLength"):
            if self.chance(0.3):
                found[word] = self.random.choice((3, 0, -1, 2**64, "x"))
        if self.chance(0.3):
            found["pattern"] = self.text()
        if self.chance(0.4):
            found["format"] = self.random.choice(["uri", "password", "date-time", self.text()])
        return found

    def _number(self, _: int, /) -> dict[str, Any]:
        words = ("minimum", "maximum", "ge", "le", "exclusiveMinimum", "exclusiveMaximum")
        found = {word: self.random.choice(NUMBERS) for word in words if self.chance(0.3)}
        return {"type": self.random.choice(("integer", "number")), **found}

    def _choices(self, _: int, /) -> dict[str, Any]:
        choices = [self.value() if self.chance(0.1) else self.text() for _ in range(6)]
        return {"enum": choices, "default": self.random.choice(choices)}

    def _nested(self, depth: int, /) -> dict[str, Any]:
        if self.chance(0.5):
            return {"type": "array", "items": self.schema(depth + 1)}
        return self.properties(depth + 1) | {"additionalProperties": self.schema(depth + 1)}

    def _combined(self, depth: int, /) -> dict[str, Any]:
        parts = [self.schema(depth + 1), self.schema(depth + 1), {"type": "null"}]
        return {self.random.choice(("anyOf", "oneOf", "allOf")): parts[self.random.randint(0, 1) :]}

    def _other(self, _: int, /) -> dict[str, Any]:
        names = ["A", "B", "C", "Input", "Output", self.text()]
        return self.random.choice(
            [
                {"$ref": f"#/components/schemas/{self.random.choice(names)}"},
                {"type": ["string", "null"]},
                {"type": ["integer", "string"]},
                {"type": self.text()},
                {"type": "boolean"},
                {},
            ]
        )

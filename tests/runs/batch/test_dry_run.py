"""Validation of inputs by the schema of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from replicate_async.runs.batch.dry_run import validate

SCHEMA: dict[str, Any] = {
    "components": {
        "schemas": {
            "Input": {
                "required": ["text"],
                "properties": {
                    "text": {"type": "string"},
                    "count": {"type": "integer", "minimum": 1, "maximum": 4},
                    "style": {"allOf": [{"$ref": "#/components/schemas/style"}]},
                    "loud": {"type": "boolean"},
                    "list": {"type": "array"},
                },
            },
            "style": {"type": "string", "enum": ["a", "b"]},
        }
    }
}


@pytest.mark.parametrize(
    ("given_input", "says"),
    [
        ({"text": "x"}, None),
        ({"text": "x", "count": 4, "style": "a", "loud": True, "list": (1,)}, None),
        ({"text": Path("a"), "unknown": 1}, None),
        ({"count": 1}, "text is required and missing."),
        ({"text": 3}, "text=3 is no string."),
        ({"text": "x", "count": 0}, "count=0 is less than 1."),
        ({"text": "x", "count": 5}, "count=5 is more than 4."),
        ({"text": "x", "count": 1.5}, "count=1.5 is no integer."),
        ({"text": "x", "count": True}, "count=True is no integer."),
        ({"text": "x", "loud": 1}, "loud=1 is no boolean."),
        ({"text": "x", "style": "c"}, "style='c' is none of 'a', 'b'."),
        ({"text": "x", "list": "abc"}, "list='abc' is no array."),
    ],
)
def test_a_dry_run_compares_inputs_with_the_schema(
    given_input: dict[str, object], says: str | None
) -> None:
    assert validate(given_input, SCHEMA) == says

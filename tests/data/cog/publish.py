"""Writes what Cog publishes for each model here, with Cog's own description of its inputs.

Cog's command line reads the source in Go (`pkg/schema/openapi_spec.go`), with the same rules as its
Python package; this follows `buildInputSchema` there: `python tests/data/cog/publish.py`.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import cog
from cog._adt import Repetition
from cog._inspector import create_predictor

HERE = Path(__file__).parent


def title(name: str) -> str:
    return " ".join(part[:1].upper() + part[1:] for part in name.split("_"))


def publish(name: str) -> dict[str, Any]:
    info = create_predictor(name, "Runner")
    signature = inspect.signature(importlib.import_module(name).Runner.run)
    properties: dict[str, Any] = {}
    required: list[str] = []
    enums: dict[str, Any] = {}
    for key, field in info.inputs.items():
        prop: dict[str, Any] = {"x-order": field.order}
        schema = field.type.json_type()
        nullable = field.type.repetition in {Repetition.OPTIONAL, Repetition.OPTIONAL_REPEATED}
        if field.choices:
            kind = field.type.primitive.json_type()["type"]
            enums[key] = {
                "title": key,
                "description": "An enumeration.",
                "enum": field.choices,
                "type": kind,
            }
            prop["allOf"] = [{"$ref": f"#/components/schemas/{key}"}]
        else:
            prop |= {"title": title(key), **schema}
            if nullable and "anyOf" in prop:
                prop["anyOf"] = [{**part, "nullable": True} for part in prop["anyOf"]]
        if field.default is not None or nullable:
            prop["default"] = field.default
        else:
            required.append(key)
        given = signature.parameters[key].default
        extra = {
            "nullable": nullable or None,
            "description": field.description,
            "minimum": field.ge,
            "maximum": field.le,
            "minLength": field.min_length,
            "maxLength": field.max_length,
            "pattern": field.regex,
            "deprecated": field.deprecated,
            "x-cog-accept": given.accept,
        }
        prop |= {keyword: value for keyword, value in extra.items() if value is not None}
        properties[key] = dict(sorted(prop.items()))
    inputs: dict[str, Any] = {"title": "Input", "type": "object", "properties": properties}
    if required:
        inputs["required"] = required
    return {
        "openapi": "3.0.2",
        "info": {"title": "Cog", "version": cog.__version__},
        "components": {"schemas": {"Input": inputs, "Output": info.output.json_type(), **enums}},
    }


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    for source in sorted(HERE.glob("*.py")):
        if source.name != "publish.py":
            text = json.dumps(publish(source.stem), indent=1)
            source.with_suffix(".json").write_text(f"{text}\n", encoding="utf-8")

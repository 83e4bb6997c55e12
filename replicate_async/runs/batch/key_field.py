"""The key field of inputs; sent only to a model that has such an input."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from replicate_async.errors import NotFoundError
from replicate_async.files.inputs import without_field
from replicate_async.runs.batch.results import ItemInput


class KeyField:
    """Removes the field *name* from inputs if the model's schema has no such input.

    *schema* is called once, before the first create. Without a schema the field is sent: models
    ignore inputs that they do not know.
    """

    def __init__(
        self, name: str, schema: Callable[[], Awaitable[Mapping[str, Any] | None]]
    ) -> None:
        self._name = name
        self._schema = schema
        self._looked_up = False
        self._turn = asyncio.Lock()
        self._left_out = False

    async def look_up(self) -> None:
        """Look up whether the model has it; raises what the request for the schema raises."""
        async with self._turn:
            if not self._looked_up:
                await self._look_up()

    async def _look_up(self) -> None:
        try:
            schema = await self._schema()
        except NotFoundError:
            schema = None  # the create has a better error
        taken = _inputs(schema)
        self._left_out = taken is not None and self._name not in taken
        self._looked_up = True

    def as_sent(self, given: ItemInput) -> ItemInput:
        """Return *given* as the model gets it."""
        if not self._left_out:
            return given
        return without_field(given, self._name)


def _inputs(schema: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the inputs in a version's OpenAPI document, None if it has none."""
    found: object = schema
    for key in ("components", "schemas", "Input", "properties"):
        found = _mapping(found).get(key)
    return cast("Mapping[str, Any]", found) if isinstance(found, Mapping) else None


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}

"""Dry runs: which inputs would be created, and which are invalid; nothing is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from replicate_async.errors import InvalidArgumentError
from replicate_async.files.inputs import canonical_input
from replicate_async.interface.read import Interface
from replicate_async.runs.batch.inputs import Item
from replicate_async.runs.batch.results import ItemInput


class DryCheck:
    """The check of inputs in a dry run, by a version's ``openapi_schema`` if given."""

    def __init__(
        self, schema: Mapping[str, Any] | None, check: Callable[[ItemInput], None] | None
    ) -> None:
        from replicate_async.interface.input_check import InputCheck  # noqa: PLC0415 - dry runs only

        self._schema_check = InputCheck(Interface.read("", schema))
        self._check = check

    def error(self, item: Item) -> InvalidArgumentError | None:
        """Return what is wrong with the input of *item*, None if it is valid."""
        try:
            if self._check is not None:
                self._check(item.input)
            # A model ignores names that it does not have.
            refusal = self._schema_check.refusal(canonical_input(item.input), unknown=False)
        except InvalidArgumentError as error:
            return error
        if refusal is None:
            return None
        problem = " ".join(refusal.lines)
        return InvalidArgumentError(f"input {item.index} ({item.key}): {problem}")

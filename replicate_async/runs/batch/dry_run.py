"""Dry runs: which inputs would be created, and which are invalid; nothing is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from replicate_async.errors import InvalidArgumentError
from replicate_async.files.inputs import canonical_input
from replicate_async.runs.batch.inputs import Item
from replicate_async.runs.batch.result_codec import replay
from replicate_async.runs.batch.results import BatchResult, ItemInput


class DryRunner:
    """Checks items in place of the `ItemRunner`, by a version's ``openapi_schema`` if given."""

    def __init__(
        self,
        schema: Mapping[str, Any] | None,
        check: Callable[[ItemInput], None] | None = None,
    ) -> None:
        from replicate_async.interface.input_check import InputCheck  # noqa: PLC0415 - dry runs only
        from replicate_async.interface.read import Interface  # noqa: PLC0415 - as above

        self._schema_check = InputCheck(Interface.read("", schema))
        self._check = check

    async def run(self, item: Item, _: ExitStack) -> BatchResult[Any]:
        """Return what the journal has of *item*, or whether its input is valid."""
        item.replayed = item.resumed
        if item.entry.result is not None:
            kept = replay(item.entry.result)
            output = None if kept.prediction is None or kept.error else kept.prediction.output
            return item.result(
                prediction=kept.prediction, output=output, error=kept.error, files=kept.files
            )
        if item.resumed:
            return item.result()
        try:
            if self._check is not None:
                self._check(item.input)
            # A model ignores names that it does not have.
            refusal = self._schema_check.refusal(canonical_input(item.input), unknown=False)
        except InvalidArgumentError as error:
            return item.result(error=error)
        if refusal is None:
            return item.result()
        problem = " ".join(refusal.lines)
        return item.result(
            error=InvalidArgumentError(f"input {item.index} ({item.key}): {problem}")
        )

"""Collecting the results of a batch and its error."""

from __future__ import annotations

from typing import Any

from replicate_async import Batch, BatchResult


async def results_and_error(
    batch: Batch[Any],
) -> tuple[list[BatchResult[Any]], Exception | None]:
    """Return the results of *batch*, and the error that it ended with if there was one."""
    results: list[BatchResult[Any]] = []
    try:
        async for result in batch:
            results.append(result)  # noqa: PERF401 - those before the error count
    except Exception as error:  # noqa: BLE001 - it is looked at by the test
        return results, error
    return results, None

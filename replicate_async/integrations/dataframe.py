"""Data frames of polars, pandas and pyarrow: a batch takes them, and its results go back into one.

    results = [result async for result in client.batch("owner/name", frame)]
    frame = with_results(frame, results)

Needs the extra: ``pip install 'replicate-async[dataframe]'`` (narwhals).
"""

from __future__ import annotations

from replicate_async.runs.batch.dataframes import rows, with_results

__all__ = ["rows", "with_results"]

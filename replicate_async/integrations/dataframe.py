"""Data frames of polars, pandas and pyarrow: a batch takes them, and its results go back into one.

    results = [result async for result in client.batch("owner/name", frame)]
    frame = with_results(frame, results)

Needs the extra: ``pip install 'replicate-async[dataframe]'`` (narwhals).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeVar, cast

from replicate_async.errors import InvalidArgumentError
from replicate_async.resources._dataframe import eager, rows
from replicate_async.runs.batch.cells import as_text

__all__ = ["rows", "with_results"]

FrameT = TypeVar("FrameT")


class Outcome(Protocol):
    """The result of a row; a `BatchResult` is one."""

    @property
    def index(self) -> int:
        """The row, from 0."""
        ...

    @property
    def output(self) -> Any:
        """What the model gave, None if nothing."""
        ...

    @property
    def error(self) -> Exception | None:
        """Why there is no output."""
        ...


def with_results(
    frame: FrameT, results: Iterable[Outcome], *, output: str = "output", error: str = "error"
) -> FrameT:
    """Return *frame* with the columns *output* and *error* of text, for each row its result.

    An output that is no text is JSON, a list of strings too, unless the model's schema says that it
    is one text in chunks (``result.is_text``): give ``client.batch`` ``type=str`` to have the text
    of a model whose schema was not looked up. Rows without a result have neither.

    Args:
        frame: The data frame that the batch ran over; a lazy one comes back collected.
        results: The results of the batch, in any order.
        output: The name of the column with the outputs.
        error: The name of the column with the errors.

    Raises:
        InvalidArgumentError: *frame* has such a column already.
    """
    import narwhals as nw  # noqa: PLC0415 - an extra

    table = eager(frame)
    taken = [name for name in (output, error) if name in table.columns]
    if taken:
        raise InvalidArgumentError(
            f"The data frame has a column {taken[0]!r} already; name the new ones with output= "
            "and error=."
        )
    outputs: list[str | None] = [None] * len(table)
    errors: list[str | None] = [None] * len(table)
    for result in results:
        if result.error is None:
            joined: bool = getattr(result, "is_text", False)
            outputs[result.index] = as_text(result.output, joined=joined)
        else:
            errors[result.index] = str(result.error) or type(result.error).__name__
    native = table.with_columns(
        *(
            nw.new_series(name, values, dtype=nw.String, backend=table.implementation)
            for name, values in ((output, outputs), (error, errors))
        )
    ).to_native()
    return cast("FrameT", native)

"""Lists and single records of the API, as tables, cards or JSON."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Annotated, Final, Protocol, TypeVar

import msgspec
from cyclopts import App, Parameter

from replicate_async import NotFoundError, Prediction, Replicate, Training
from replicate_async.cli.console import clock, note, write, write_card, write_json, write_table
from replicate_async.cli.errors import CommandError
from replicate_async.cli.inputs import shown
from replicate_async.cli.options import DEFAULTS, Limit, Options, connect

T = TypeVar("T")
R_co = TypeVar("R_co", bound=Prediction | Training, covariant=True)

RunId = Annotated[str, Parameter(name="id", help="The id that the API gave it.")]
_RUN_HEADER: Final = ("id", "model", "status", "created")


class _Runs(Protocol[R_co]):
    """The predictions or the trainings of a client."""

    def list(self) -> AsyncIterable[R_co]: ...
    async def get(self, id: str, /) -> R_co: ...
    async def cancel(self, id: str, /) -> R_co: ...


async def show_list(
    options: Options,
    listing: Callable[[Replicate], AsyncIterable[T]],
    limit: int,
    header: Sequence[str],
    row: Callable[[T], Sequence[str]],
) -> None:
    """Print the first *limit* records of *listing*."""
    found: list[T] = []
    async with connect(options) as client:
        async for item in listing(client):
            found.append(item)
            if len(found) == limit:
                break
    write_json(found) if options.json else write_table(header, [row(item) for item in found])


async def show_record(
    options: Options,
    name: str,
    call: Callable[[Replicate], Awaitable[T]],
    show: Callable[[T], object],
) -> None:
    """Print the record that *call* returns; *name*, such as "file abc", is for an error."""
    async with connect(options) as client:
        try:
            found = await call(client)
        except NotFoundError:
            raise CommandError(f"There is no {name}, or the token may not see it.") from None
    write_json(found) if options.json else show(found)


def add_run_commands(
    app: App, kind: str, example: str, runs: Callable[[Replicate], _Runs[R_co]]
) -> None:
    """Add the commands that list, show and cancel *runs*; *example* is an id."""

    async def list_runs(*, limit: Limit = 20, options: Options = DEFAULTS) -> None:
        await show_list(options, lambda client: runs(client).list(), limit, _RUN_HEADER, _run_row)

    async def get_run(id: RunId, /, *, options: Options = DEFAULTS) -> None:
        await show_record(options, f"{kind} {id}", lambda client: runs(client).get(id), _show_run)

    async def cancel_run(id: RunId, /, *, options: Options = DEFAULTS) -> None:
        await show_record(
            options, f"{kind} {id}", lambda client: runs(client).cancel(id), _show_canceled
        )

    program = f"$ replicate-async {kind}s"
    newest = f"List the {kind}s of the account, newest first.\n\n{program} list --limit 5"
    app.command(list_runs, name="list", help=newest)
    app.command(get_run, name="get", help=f"Show a {kind}.\n\n{program} get {example}")
    app.command(cancel_run, name="cancel", help=f"Cancel a {kind}.\n\n{program} cancel {example}")


def _show_run(run: Prediction | Training) -> None:
    """Print a prediction or a training as a card."""
    took = (run.metrics or {}).get("predict_time")
    write_card(
        {
            "id": run.id,
            "model": run.model,
            "version": run.version,
            "status": run.status,
            "error": run.error,
            "created": clock(run.created_at),
            "took": f"{took:.2f} s" if isinstance(took, int | float) else None,
            "page": run.urls.web,
        },
        *(("input", f"{key}={shown(value)}") for key, value in (run.input or {}).items()),
        ("output", None if run.output is None else shown(_joined(run))),
    )


def _run_row(run: Prediction | Training) -> Sequence[str]:
    """Return the cells of a prediction or a training, under `_RUN_HEADER`."""
    return run.id, run.model or run.version or "", run.status, clock(run.created_at)


def _show_canceled(run: Prediction | Training) -> None:
    """Print that a run was canceled, or how it had ended before."""
    said = outcome_of_cancel(run)
    write(f"{said}\n") if said.startswith("canceled") else note(said)


def outcome_of_cancel(run: Prediction | Training) -> str:
    """Return what a cancel has done to the run that it returned."""
    kind = "training" if isinstance(run, Training) else "prediction"
    if run.done and run.status != "canceled":
        return f"{kind} {run.id} had {run.status} already"
    return f"canceled {kind} {run.id}"


def _joined(run: Prediction | Training) -> object:
    if isinstance(run, Prediction):
        with suppress(msgspec.ValidationError):
            return run.output_as(str)
    return run.output

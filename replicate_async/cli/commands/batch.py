"""``batch``: a model over the rows of a file, resumed by the same command."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Annotated, Final, Literal, cast

import msgspec
from cyclopts import Parameter

from replicate_async import JournalLostError, Limits, ReplicateError
from replicate_async.cli.batch_display import Display
from replicate_async.cli.commands.run import Inputs as Constants
from replicate_async.cli.commands.run import Ref
from replicate_async.cli.console import note, write_json, write_table
from replicate_async.cli.errors import CommandError, UsageError
from replicate_async.cli.input_rows import Rows
from replicate_async.cli.inputs import read_inputs
from replicate_async.cli.options import DEFAULTS, Options, connect, describe
from replicate_async.cli.result_file import ResultFile
from replicate_async.cli.row_inputs import Inputs, KeyedInput, read_map
from replicate_async.runs.batch.batch import Batch
from replicate_async.runs.batch.journal.entry import State
from replicate_async.runs.batch.journal.export import Format, export
from replicate_async.runs.batch.journal.reader import status
from replicate_async.runs.batch.journal.resolve import resolve_absent

_MOST_SHOWN: Final = 20
_PER: dict[str, float] = {"s": 60, "min": 1, "h": 1 / 60}


async def batch(
    ref: Ref,
    /,
    *inputs: Constants,
    input: Annotated[
        Path,
        Parameter(
            name=["--input", "-i"],
            help="Rows: .jsonl, .csv or .parquet; - is JSON lines on stdin.",
            allow_leading_hyphen=True,
        ),
    ],
    output: Annotated[
        Path, Parameter(name=["--output", "-o"], help="Results: .jsonl or .csv, a row each.")
    ],
    map: Annotated[
        tuple[str, ...],
        Parameter(
            help="input=column: the column that an input is read from; given once for each. "
            "Without it, every column is the input of its name."
        ),
    ] = (),
    key: Annotated[
        str | None,
        Parameter(
            help="The input or the column that names a row; its content unless given. A column "
            "that is no input is not sent.",
            show_default=False,
        ),
    ] = None,
    match: Annotated[
        Literal["input", "key"],
        Parameter(help="key: --key alone names a row, whose values may differ at each run."),
    ] = "input",
    concurrency: Annotated[
        int | None, Parameter(help="Predictions at a time.", show_default=False)
    ] = None,
    rate: Annotated[
        str | None,
        Parameter(help="Creations, such as 600/min or 10/s; 600/min unless given."),
    ] = None,
    journal: Annotated[
        Path | None,
        Parameter(help="What makes it resume; OUTPUT.journal unless given.", show_default=False),
    ] = None,
    save_files: Annotated[
        Path | None, Parameter(help="A folder for output files.", show_default=False)
    ] = None,
    retries: Annotated[int, Parameter(help="For runs that failed by chance.")] = 0,
    retry_failed: Annotated[
        bool, Parameter(help="Run again what failed before.", show_default=False)
    ] = False,
    max_seconds: Annotated[
        float | None, Parameter(help="Stop creating after that long.", show_default=False)
    ] = None,
    max_predictions: Annotated[
        int | None, Parameter(help="Stop creating after so many.", show_default=False)
    ] = None,
    limit: Annotated[
        int | None, Parameter(help="Read the first rows only.", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, Parameter(help="Check the inputs and count; create nothing.", show_default=False)
    ] = False,
    on_interrupt: Annotated[
        Literal["drain", "cancel"],
        Parameter(help="What the first Ctrl-C does with the predictions that run."),
    ] = "drain",
    options: Options = DEFAULTS,
) -> None:
    """Run a model for every row of a file.

    The same command goes on where it left off: nothing is run, or paid for, twice. The first
    Ctrl-C stops creating, the second ends it at once.
    """
    rows = Rows(input)
    results = None if dry_run else ResultFile(output)
    columns = read_map(map)
    where = journal or output.with_name(f"{output.name}.journal")
    limits = Limits() if rate is None else Limits(creates=_per_minute(rate))
    async with connect(options, limits=limits) as client:
        interface = await describe(client, ref, local=options.local)
        fixed = read_inputs(inputs, interface)
        rows_in = Inputs(rows, interface, columns=columns, fixed=fixed, limit=limit, key=key)
        given = await asyncio.to_thread(rows_in.checked)
        with Display(limits.creates) as display:
            running = client.batch(
                ref,
                given,
                concurrency=concurrency,
                journal=where,
                key=None if key is None else _key_of,
                match=match,
                retries=retries,
                retry_failed=retry_failed,
                save_files=save_files,
                max_seconds=max_seconds,
                max_predictions=max_predictions,
                dry_run=dry_run,
                on_progress=display.show,
            )
            collected = _Collected(running, results, joined=interface.is_text)
            try:
                with _interrupts(collected, display, drain=on_interrupt == "drain") as received:
                    await collected.run()
            except JournalLostError:
                if results is not None and results.rows:
                    note(
                        f"Keep a copy of {results.part}: the next run replaces it, and without "
                        "the journal nothing else holds these results."
                    )
                raise
            finally:
                display.close()
                collected.tell()
    if options.json:
        write_json(msgspec.to_builtins(running.summary))
    if received:
        raise CommandError("interrupted", code=128 + received[0])
    collected.judge(where, dry_run=dry_run)


class _Collected:
    """The results of a batch on their way to a file, None in a dry run.

    *joined* is whether a list of strings in an output is one text.
    """

    def __init__(self, batch: Batch[object], file: ResultFile | None, *, joined: bool) -> None:
        self.batch = batch
        self._file = file
        self._joined = joined
        self._first_error: ReplicateError | None = None

    async def run(self) -> None:
        """Take all; the file gets its place if nobody interrupted them."""
        file = self._file
        async with self.batch:
            with file or nullcontext():
                async for result in self.batch:
                    self._first_error = self._first_error or result.error
                    if file is not None:
                        await asyncio.to_thread(file.write, result, joined=self._joined)
                if file is not None and self.batch.summary.stopped != "stop":
                    await asyncio.to_thread(file.finish)

    def tell(self) -> None:
        """Say what it came to, where the results are, and how to go on if this was not all."""
        summary = self.batch.summary
        if summary.done or summary.planned:
            note(str(summary))
            note(self.where())
        if summary.stopped not in (None, "error"):
            note(_resume())

    def where(self) -> str:
        """Say where the results are."""
        file, total = self._file, self.batch.summary.total
        if file is None:
            return "Nothing was created."
        if file.whole:
            of = "" if total in (None, file.rows) else f" of {total:,}"
            return f"{file.rows:,}{of} rows in {file.path}"
        return f"{file.rows:,} rows so far in {file.part}; {file.path} is written at the end."

    def judge(self, journal: Path, *, dry_run: bool) -> None:
        """Say what went wrong; raises `CommandError` for items that failed."""
        summary = self.batch.summary
        if summary.uncertain:
            note(
                f"{summary.uncertain:,} may or may not have been created; they are in the results "
                "with their error, and were not repeated. The same command looks once more; 'batch "
                f"resolve {journal} KEY' records what you found out about one."
            )
        if summary.failed and not dry_run:
            raise CommandError(
                f"{summary.failed:,} of {summary.done:,} failed; the results say why. "
                f"--retry-failed runs them again. The journal is {journal}. "
                f"The first error: {self._first_error}"
            )


def _key_of(given: object) -> str:
    return cast("KeyedInput", given).key


def _per_minute(rate: str) -> float:
    number, _, per = rate.partition("/")
    try:
        return float(number) * _PER[per.strip() or "min"]
    except (KeyError, ValueError):
        raise UsageError(f"--rate {rate!r} is no rate; write 600/min, 10/s or 600.") from None


@contextmanager
def _interrupts(
    collected: _Collected, display: Display, *, drain: bool
) -> Generator[Sequence[int]]:
    """Stop the batch at the first Ctrl-C, and end the process at the second.

    Yields the signals that came.
    """
    loop = asyncio.get_running_loop()
    received: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        if received:
            display.close()
            os.write(2, f"\n{collected.where()}\n{_resume()}\n".encode())
            os._exit(128 + number)
        received.append(number)
        loop.call_soon_threadsafe(begin)

    def begin() -> None:
        collected.batch.stop(drain=drain)
        what = "waiting for those that run" if drain else "cancelling those that run"
        display.say(f"No more predictions are created; {what}. Ctrl-C again ends it at once.")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _resume() -> str:
    return f"To go on: {shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])}"


JournalPath = Annotated[Path, Parameter(name="journal", help="The journal of a batch.")]


async def batch_status(journal: JournalPath, /, *, options: Options = DEFAULTS) -> None:
    """Show how far a batch is, also while it runs."""
    found = await asyncio.to_thread(status, journal)
    if options.json:
        write_json(found)
        return
    rows = [
        ["model", found.header.model],
        ["succeeded", f"{found.succeeded:,}"],
        ["failed", f"{found.failed:,}"],
        *(
            [state, f"{count:,}"]
            for state, count in found.counts.items()
            if state is not State.DONE and (count or state is not State.FINISHED)
        ),
        ["predict seconds", f"{found.predict_seconds:,.1f}"],
    ]
    if found.per_second is not None:
        rows.append(["per second", f"{found.per_second:.1f}"])
    write_table(["", str(journal)], rows)
    if found.undecided:
        note(_undecided(journal, found.undecided))


def _undecided(journal: Path, keys: Sequence[str]) -> str:
    """Name the items that are uncertain, and the command that decides about them."""
    shown = ", ".join(map(shlex.quote, keys[:_MOST_SHOWN]))
    more = f" and {len(keys) - _MOST_SHOWN:,} more" if len(keys) > _MOST_SHOWN else ""
    command = shlex.join(["replicate-async", "batch", "resolve", str(journal)])
    return (
        f"Uncertain: {shown}{more}. The next run looks for each once more. To decide about one, "
        f"look for it on the website, then: {command} KEY --prediction ID, or --absent if there is "
        "none."
    )


async def batch_resolve(
    journal: JournalPath,
    key: Annotated[
        str, Parameter(name="key", help="What names the item: in the results, and in batch status.")
    ],
    /,
    *,
    prediction: Annotated[
        str | None,
        Parameter(help="The prediction that was created for it.", show_default=False),
    ] = None,
    absent: Annotated[
        bool, Parameter(help="None was created: the next run creates it.", show_default=False)
    ] = False,
    options: Options = DEFAULTS,
) -> None:
    """Decide about an item that may or may not have been created.

    The next run of the batch waits for the prediction that you name, which must be there, or
    creates the item.
    """
    if (prediction is None) is not absent:
        raise UsageError("Give either --prediction ID or --absent.")
    if prediction is None:
        await resolve_absent(journal, key)
        note(f"{key}: the next run creates it.")
        return
    async with connect(options) as client:
        await client.resolve_batch_item(journal, key, prediction=prediction)
    note(f"{key}: the next run waits for prediction {prediction}.")


async def batch_export(
    journal: JournalPath,
    /,
    *,
    output: Annotated[
        Path, Parameter(name=["--output", "-o"], help="Where to: .jsonl, .csv or .parquet.")
    ],
) -> None:
    """Write what a journal has as a table, also while its batch runs."""
    formats: dict[str, Format] = {".jsonl": "jsonl", ".csv": "csv", ".parquet": "parquet"}
    wanted = formats.get(output.suffix.lower())
    if wanted is None:
        raise UsageError(f"{output} ends in none of {', '.join(formats)}.")
    count = await asyncio.to_thread(export, journal, output, wanted)
    note(f"{count:,} rows in {output}")

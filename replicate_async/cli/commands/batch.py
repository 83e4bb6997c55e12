"""``batch``: a model over the rows of a file, resumed by the same command."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from cyclopts import App, Parameter, types

from replicate_async import InvalidArgumentError, JournalLostError, Limits, ReplicateError
from replicate_async.cli import config
from replicate_async.cli.console import note, terminal_width, wrapped, write_json, write_table
from replicate_async.cli.errors import CommandError, UsageError
from replicate_async.cli.input_rows import InputRows, read_map
from replicate_async.cli.inputs import read_inputs
from replicate_async.cli.options import (
    DEFAULTS,
    PARAMETER,
    AnyPath,
    ExistingFile,
    FilePath,
    FolderPath,
    InputArgument,
    Model,
    Options,
    OutputPath,
    connect,
    describe,
)
from replicate_async.cli.progress import BatchProgressLine
from replicate_async.cli.result_file import ResultFile, part_of
from replicate_async.cli.signals import SIGNALS
from replicate_async.cli.tables import Rows
from replicate_async.core.usage import cost_text
from replicate_async.refs import parse_version
from replicate_async.runs.batch.batch import Batch
from replicate_async.runs.batch.journal.entry import State
from replicate_async.runs.batch.journal.export import Format, export
from replicate_async.runs.batch.journal.reader import status
from replicate_async.runs.batch.journal.resolve import resolve

app: App = App(name="batch", default_parameter=PARAMETER)

JournalPath = Annotated[ExistingFile, Parameter(name="journal", help="The journal of a batch.")]

_MOST_SHOWN: Final = 20
_PER: Final[dict[str, float]] = {"s": 60, "min": 1, "h": 1 / 60}
_FORMATS: Final[dict[str, Format]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
}


@app.default
async def batch(
    model: Model,
    /,
    *inputs: InputArgument,
    input: Annotated[AnyPath, Parameter(name=("--input", "-i"), allow_leading_hyphen=True)],
    output: OutputPath,
    map: tuple[str, ...] = (),
    key: str | None = None,
    match: Literal["input", "key"] = "input",
    concurrency: types.PositiveInt | None = None,
    rate: str | None = None,
    journal: FilePath | None = None,
    save_files: FolderPath | None = None,
    retries: types.NonNegativeInt = 0,
    retry_failed: bool = False,
    max_seconds: types.NonNegativeFloat | None = None,
    max_predictions: types.NonNegativeInt | None = None,
    max_cost: types.NonNegativeFloat | None = None,
    limit: types.NonNegativeInt | None = None,
    dry_run: bool = False,
    on_interrupt: Literal["drain", "cancel"] = "drain",
    options: Options = DEFAULTS,
) -> int:
    """Run a model for every row of a file; the same command resumes.

    Nothing is run, or paid for, twice.
    The first Ctrl-C stops creating, the second ends the command at once.

    $ replicate-async batch owner/name -i inputs.csv -o results.jsonl --map prompt=text seed=1

    Args:
        input: Rows: .jsonl, .csv or .parquet; - is JSON lines on stdin.
        output: Results: .jsonl or .csv, a row each.
        map: input=column, once for each; by default, a column is the input of its name.
        key: The input or the column that names a row; by default, its content does.
        match: key: --key alone names a row, whose values may differ at each run.
        concurrency: Predictions at a time.
        rate: Creates, such as 300/min or 10/s; by default 600/min.
        journal: The file to resume from; by default OUTPUT.journal.
        save_files: A folder for output files.
        retries: How often a run that failed by chance is repeated.
        retry_failed: Run again what failed in an earlier run.
        max_seconds: Stop creating after so many seconds.
        max_predictions: Stop creating after so many.
        max_cost: Stop creating before all runs together cost more, by the prices in the file of
            defaults.
        limit: Read the first rows only.
        dry_run: Check the inputs and count; create nothing.
        on_interrupt: Whether the first Ctrl-C waits for running predictions or cancels them.
    """
    rows = Rows(input)
    results = None if dry_run else ResultFile(output)
    columns = read_map(map)
    where = journal or output.with_name(f"{output.name}.journal")
    # Each of them is written while or after another is read.
    _refuse_one_file({"--input": input, "--output": output, "--journal": where})
    _refuse_one_file({"--input": input, "--journal": where, "the results so far": part_of(output)})
    limits = Limits() if rate is None else _limits(rate)
    prices = config.prices()
    if max_cost is not None and str(parse_version(model).model) not in prices:
        raise UsageError(
            f"--max-cost needs the price of {model}: write it in {config.path()}, such as "
            '[prices."owner/name"] and predict_time = 0.000225 below it.'
        )
    async with connect(options, limits=limits, prices=prices) as client:
        interface = await describe(client, model, options)
        fixed = read_inputs(inputs, interface)
        given = InputRows(rows, interface, columns=columns, fixed=fixed, limit=limit, key=key)
        checked = await asyncio.to_thread(given.checked)
        with BatchProgressLine(limits.creates) as progress:
            progress.update(figures="starting")
            running = client.batch(
                model,
                checked,
                concurrency=concurrency,
                journal=where,
                key=None if key is None else attrgetter("key"),
                match=match,
                retries=retries,
                retry_failed=retry_failed,
                save_files=save_files,
                max_seconds=max_seconds,
                max_predictions=max_predictions,
                max_cost=max_cost,
                dry_run=dry_run,
                on_progress=progress.show,
            )
            collector = _Collector(running, results, joined=interface.is_text)
            try:
                await _collect(collector, progress, drain=on_interrupt == "drain")
            finally:
                progress.clear()
                collector.note_outcome()
    if options.json:
        write_json(msgspec.to_builtins(running.summary))
    if code := SIGNALS.get().code:
        return code
    collector.raise_for_failures(where, dry_run=dry_run)
    return 0


@dataclass
class _Collector:
    """Writes the results of a batch to a file; *file* is None in a dry run."""

    batch: Batch[object]
    file: ResultFile | None
    joined: bool
    """Whether a list of strings in an output is one text."""
    first_error: ReplicateError | None = None

    async def run(self) -> None:
        """Write all results; the file gets its name unless the batch was interrupted."""
        file = self.file
        async with self.batch:
            with file or nullcontext():
                async for result in self.batch:
                    self.first_error = self.first_error or result.error
                    if file is not None:
                        await asyncio.to_thread(file.write, result, joined=self.joined)
                if file is not None and self.batch.summary.stopped != "stop":
                    await asyncio.to_thread(file.finish)

    def note_outcome(self) -> None:
        """Print the counts, where the results are, and how to resume a batch that has not ended."""
        summary = self.batch.summary
        if summary.done or summary.planned:
            note(str(summary))
            note(self.where())
        if summary.stopped == "max_cost":
            note("To go on, give more: --max-cost counts what earlier runs have spent.")
        elif summary.stopped not in (None, "error"):
            note(_resume(), wrap=False)  # to be pasted

    def where(self) -> str:
        """Return where the results are."""
        file, total = self.file, self.batch.summary.total
        if file is None:
            return "Nothing was created."
        if file.whole:
            of = "" if total in (None, file.rows) else f" of {total:,}"
            return f"{file.rows:,}{of} rows in {file.path}"
        return f"{file.rows:,} rows so far in {file.part}; {file.path} is written at the end."

    def raise_for_failures(self, journal: Path, *, dry_run: bool) -> None:
        """Name the items that are uncertain; raises `CommandError` for items that failed."""
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
                f"The first error: {self.first_error}"
            )


async def _collect(collector: _Collector, progress: BatchProgressLine, *, drain: bool) -> None:
    """Run the batch; the first signal stops it, the second ends the process."""

    def stop() -> None:
        collector.batch.stop(drain=drain)
        what = "running ones are awaited" if drain else "running ones are canceled"
        progress.note(f"No more predictions are created; {what}. Ctrl-C again ends it at once.")

    def last_words() -> str:
        where = wrapped(collector.where(), terminal_width(sys.stderr))
        return "\n".join(["", *where, _resume(), ""])

    try:
        with SIGNALS.get().stopping(stop, last_words):
            await collector.run()
    except JournalLostError:
        file = collector.file
        if file is not None and file.rows:
            progress.clear()
            note(
                f"Keep a copy of {file.part}: the next run replaces it, and without the journal "
                "nothing else holds these results."
            )
        raise


def _refuse_one_file(files: Mapping[str, Path]) -> None:
    """Raise `UsageError` if two of *files*, by their options, are the same file."""
    names: dict[str, str] = {}
    for name, path in files.items():
        if (other := names.setdefault(os.path.realpath(path), name)) != name:
            raise UsageError(f"{other} and {name} are both {path}; give each a file of its own.")


def _limits(rate: str) -> Limits:
    number, _, per = rate.partition("/")
    try:
        return Limits(creates=float(number) * _PER[per.strip() or "min"])
    except (KeyError, ValueError):
        raise UsageError(f"--rate {rate!r} is not a rate; write 600/min, 10/s or 600.") from None


def _resume() -> str:
    return f"To resume: {shlex.join(['replicate-async', *sys.argv[1:]])}"


@app.command(name="status")
async def batch_status(journal: JournalPath, /, *, options: Options = DEFAULTS) -> None:
    """Show how far a batch is, also while it runs.

    $ replicate-async batch status results.jsonl.journal
    """
    found = await asyncio.to_thread(status, journal, config.prices())
    if options.json:
        write_json(found)
        return
    ended = [("succeeded", found.succeeded), ("failed", found.failed)]
    left_out = {State.DONE} if found.counts.get(State.FINISHED) else {State.DONE, State.FINISHED}
    names = ("input_tokens", "output_tokens", "images")
    used = {name: getattr(found.usage, name) for name in names}
    rows = [
        ["model", found.header.model],
        *([name, f"{count:,}"] for name, count in ended),
        *([name, f"{count:,}"] for name, count in found.counts.items() if name not in left_out),
        ["predict_seconds", f"{found.usage.predict_seconds:,.1f}"],
        *([name, f"{amount:,}"] for name, amount in used.items() if amount),
    ]
    if cost := found.usage.cost:
        rows.append(["cost", cost_text(cost)])
    if found.per_second is not None:
        rows.append(["per_second", f"{found.per_second:.1f}"])
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


@app.command(name="resolve")
async def batch_resolve(
    journal: JournalPath,
    key: str,
    /,
    *,
    prediction: str | None = None,
    absent: bool = False,
    options: Options = DEFAULTS,
) -> None:
    """Decide about an item that may or may not have been created.

    The next run of the batch waits for the prediction that you name, or creates the item.

    $ replicate-async batch resolve results.jsonl.journal KEY --absent

    Args:
        key: The key of the item, in the results and in batch status.
        prediction: The prediction that was created for it.
        absent: No prediction was created: the next run creates it.
    """
    if (prediction is None) is not absent:
        raise UsageError("Give either --prediction ID or --absent.")
    try:
        if prediction is None:
            await resolve(journal, key, None)
            note(f"{key}: the next run creates it.")
            return
        async with connect(options) as client:
            await client.resolve_batch_item(journal, key, prediction=prediction)
    except InvalidArgumentError as error:  # the journal or the API does not have what is named
        raise CommandError(str(error)) from None
    note(f"{key}: the next run waits for prediction {prediction}.")


@app.command(name="export")
async def batch_export(journal: JournalPath, /, *, output: OutputPath) -> None:
    """Export a journal as a table, also while its batch runs.

    $ replicate-async batch export results.jsonl.journal --output results.parquet

    Args:
        output: The table: .jsonl, .csv or .parquet.
    """
    wanted = _FORMATS.get(output.suffix.lower())
    if wanted is None:
        raise UsageError(f"{output} ends in none of {', '.join(_FORMATS)}.")
    count = await asyncio.to_thread(export, journal, output, wanted)
    note(f"{count:,} rows in {output}")

"""``run`` and ``stream``: one prediction, canceled when the command ends before it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec
from cyclopts import Parameter, types

from replicate_async import (
    FileOutput,
    Prediction,
    PredictionError,
    Replicate,
    UnprocessableEntityError,
)
from replicate_async.cli import config
from replicate_async.cli.console import (
    is_url,
    note,
    write,
    write_json,
    write_output,
)
from replicate_async.cli.inputs import input_error, read_inputs, refusal_of
from replicate_async.cli.options import (
    DEFAULTS,
    InputArgument,
    Model,
    Options,
    OutputText,
    connect,
    describe,
)
from replicate_async.cli.output_files import Saver
from replicate_async.cli.progress import RunProgress
from replicate_async.cli.records import outcome_of_cancel
from replicate_async.context import context_of
from replicate_async.errors import ReplicateError, prediction_error
from replicate_async.files.save_all import files_in
from replicate_async.interface.input_check import InputCheck
from replicate_async.interface.read import Interface
from replicate_async.refs import parse_version
from replicate_async.resources._prediction_calls import PredictionCalls
from replicate_async.resources._prediction_request import PredictionRequest
from replicate_async.runs.repeats import check_retries, repeated
from replicate_async.runs.run import create_or_cancel, give_up
from replicate_async.runs.streaming.events import LogsEvent, OutputEvent, StreamEvent


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of ``run`` and ``stream``."""

    logs: bool = False
    """Print the logs of the model, on stderr."""
    output: OutputText | None = None
    """Save files here: a folder, or a name with {index}, {name}, {stem}, {ext} or {id}."""
    force: bool = False
    """With --output: replace existing files."""
    cancel_after: str | None = None
    """When the API cancels the prediction: seconds, or such as 5m or 1h30m; 5s to 24h."""
    webhook: str | None = None
    """An https URL that the API calls at each output and at the end."""

    def saver(self) -> Saver | None:
        """Return what saves the files of the output; None without --output."""
        return None if self.output is None else Saver(self.output, force=self.force)


_DEFAULTS: Final = RunOptions()


async def run(
    model: Model,
    /,
    *inputs: InputArgument,
    retries: types.NonNegativeInt = 0,
    run_options: RunOptions = _DEFAULTS,
    options: Options = DEFAULTS,
) -> None:
    """Run a model to its end and print its output.

    Ctrl-C cancels the prediction. The token is read from REPLICATE_API_TOKEN.

    $ replicate-async run replicate/hello-world text=Alice --local

    Args:
        retries: How often a run that failed by chance is repeated; each repeat is paid for.
    """
    check_retries(retries)
    saver = run_options.saver()
    async with _connected(options) as client:
        async with _prepared(client, model, inputs, run_options, options) as prepared:
            try:
                attempt = partial(_run_once, prepared, logs=run_options.logs)
                prediction = await repeated(attempt, retries, _note_repeat)
            except PredictionError as error:
                if options.json:
                    write_json(error.prediction)
                raise
            if options.json and saver is None:
                write_json(prediction)
        interface = prepared.interface
        if saver is not None:
            result = PredictionCalls(context_of(client)).files.output(prediction, interface.shape)
            if options.json:
                saved = await saver.save(list(files_in(result)), prediction.id)
                write_json(msgspec.to_builtins(prediction) | {"saved": list(map(str, saved))})
            else:
                await saver.save_output(result, prediction.id, joined=interface.is_text)
        elif not options.json:
            write_output(prediction.output, joined=interface.is_text)
            _warn_of_loss(interface, options)


async def _run_once(prepared: _Prepared, *, logs: bool) -> Prediction:
    """Create the prediction, show how far it is, and return it as it ended."""
    printed = _Logs(prepared.progress)

    def show(seen: Prediction) -> None:
        if logs:
            printed.write(seen)
        prepared.progress.show(seen)

    async with prepared.started() as created:
        prediction = await prepared.client.predictions.wait(created, on_update=show)
        show(prediction)
        prepared.progress.clear()
        return prediction


def _note_repeat(failed: Prediction) -> None:
    note(f"{prediction_error(failed)}; it is repeated")


async def stream(
    model: Model,
    /,
    *inputs: InputArgument,
    run_options: RunOptions = _DEFAULTS,
    options: Options = DEFAULTS,
) -> None:
    """Run a model and print its output as it is made.

    Ctrl-C cancels the prediction. The token is read from REPLICATE_API_TOKEN.

    $ replicate-async stream local/storyteller prompt="Once upon a time" --local
    """
    saver = run_options.saver()
    async with (
        _connected(options) as client,
        _prepared(client, model, inputs, run_options, options) as prepared,
        prepared.started() as prediction,
    ):
        progress = prepared.progress
        printer = _Printer(progress, prepared.interface)
        try:
            async with client.predictions.stream(prediction) as events:
                async for event in events:
                    path = await _saved(event, saver, prepared, prediction.id)
                    if options.json:
                        progress.clear()
                        write_json(_as_json(event) | path, line=True)
                    elif path:
                        printer.end_line()
                        write(f"{path['path']}\n")
                    else:
                        printer.show(event, logs=run_options.logs)
                if progress.shown:
                    with suppress(ReplicateError):
                        await events.final()  # it has the metrics, which no event has
            if run_options.logs and not printer.logged and not options.json:
                # The API does not say that streams have logs, and most have none.
                _Logs(progress).write(await client.predictions.get(prediction.id))
        finally:
            printer.end_line()
        if not options.json and saver is None:
            _warn_of_loss(prepared.interface, options)


@asynccontextmanager
async def _connected(options: Options) -> AsyncGenerator[Replicate]:
    """Open the client; print in the end what the run used where there is a terminal."""
    async with connect(options, prices=config.prices()) as client:
        try:
            yield client
        finally:
            used = client.usage.total
            if used.predictions and sys.stderr.isatty():
                note(str(used))


@dataclass
class _Prepared:
    """A prediction that can be created, once or more: its input is read and its files are sent."""

    client: Replicate
    create: Callable[[], Awaitable[Prediction]]
    interface: Interface
    progress: RunProgress
    say: Callable[[str], object] = note

    @asynccontextmanager
    async def started(self) -> AsyncGenerator[Prediction]:
        """Create the prediction; cancel it, and say so, if the block is left before its end."""
        try:
            prediction = await create_or_cancel(self.create(), self._cancel)
        except UnprocessableEntityError as error:
            raise _with_inputs(error, self.interface) from None
        self.progress.show(prediction)
        try:
            yield prediction
        except PredictionError:
            raise
        except BaseException as reason:
            if isinstance(reason, BrokenPipeError):
                self.say = str  # the user of a pipe that is closed wants to hear nothing
            await give_up(self._cancel, prediction.id, reason)
            raise

    async def _cancel(self, prediction_id: str) -> Prediction:
        self.progress.clear()
        try:
            canceled = await self.client.predictions.cancel(prediction_id)
        except (ReplicateError, asyncio.CancelledError):
            self.say(f"could not cancel prediction {prediction_id}; it may still run")
            raise
        self.say(outcome_of_cancel(canceled))
        return canceled


@asynccontextmanager
async def _prepared(
    client: Replicate,
    model: str,
    arguments: Sequence[str],
    run_options: RunOptions,
    options: Options,
) -> AsyncGenerator[_Prepared]:
    """Read the schema of the model and the input, and send the files of the input."""
    with RunProgress() as progress:
        progress.update(description=model)
        interface = await describe(client, model, options)
        inputs = read_inputs(arguments, interface)
        if (refusal := refusal_of(inputs, InputCheck(interface))) is not None:
            raise input_error(" ".join(refusal.lines), interface)
        context = context_of(client)
        request = PredictionRequest(
            context,
            input=inputs,
            cancel_after=run_options.cancel_after,
            webhook=run_options.webhook,
        )
        try:
            # Before the create, which is not interrupted: its answer is needed to cancel the run.
            await request.input.send()
        except UnprocessableEntityError as error:
            raise _with_inputs(error, interface) from None
        create = partial(PredictionCalls(context).create, parse_version(model), request)
        yield _Prepared(client, create, interface, progress)


def _with_inputs(error: UnprocessableEntityError, interface: Interface) -> Exception:
    """Return *error* with the list of the model's inputs, if it names inputs."""
    said: list[str] = []
    for field in error.invalid_fields:
        name = ".".join(field.field.split(".")[1:])
        said.append(f"{name}: {field.description}" if name else field.description)
    return input_error("; ".join(said), interface) if said else error


class _Logs:
    """Writes the logs of a prediction as they grow."""

    def __init__(self, progress: RunProgress) -> None:
        self._progress = progress
        self._printed = 0

    def write(self, prediction: Prediction) -> None:
        """Write the logs of *prediction* that are not written yet."""
        if fresh := (prediction.logs or "")[self._printed :]:
            self._progress.clear()
            self._printed += len(fresh)
            end = "\n" if prediction.done and not fresh.endswith("\n") else ""
            write(f"{fresh}{end}", logs=True)


class _Printer:
    """Prints events, and knows whether the cursor is at the beginning of a line."""

    def __init__(self, progress: RunProgress, interface: Interface) -> None:
        self._progress = progress
        self._items = interface.gives_items
        self._unknown = not interface.output
        self._open = False
        self.logged = False

    def show(self, event: StreamEvent, *, logs: bool) -> None:
        if isinstance(event, LogsEvent) and logs:
            self.end_line()
            self.logged = True
            write(event.data if event.data.endswith("\n") else f"{event.data}\n", logs=True)
        elif isinstance(event, OutputEvent) and (data := str(event.data)):
            self._progress.clear()
            is_item = self._items or (self._unknown and is_url(data))
            text = f"{data}\n" if is_item else data
            write(text)
            self._open = not text.endswith("\n")

    def end_line(self) -> None:
        """End the line that was begun."""
        self._progress.clear()
        if self._open:
            self._open = False
            write("\n")


async def _saved(
    event: StreamEvent, saver: Saver | None, prepared: _Prepared, prediction_id: str
) -> dict[str, str]:
    """Save the file of *event*, if it has one; returns its path."""
    file = event.data if isinstance(event, OutputEvent) else None
    if saver is None or not isinstance(file, FileOutput):
        return {}
    prepared.progress.clear()
    [path] = await saver.save([file], prediction_id)
    return {"path": str(path)}


def _warn_of_loss(interface: Interface, options: Options) -> None:
    if options.local and interface.gives_files:
        note("The embedded server has ended, and these files with it; --output saves them before.")


def _as_json(event: StreamEvent) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(event, enc_hook=str)  # a file is its URL
    return {"event": fields.pop("name", event.event), "id": event.id, **fields}

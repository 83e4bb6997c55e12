"""``run`` and ``stream``: a model run to its end, and stopped when nobody waits for it any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from replicate_async import (
    FileOutput,
    Prediction,
    PredictionError,
    Replicate,
    UnprocessableEntityError,
)
from replicate_async.cli.console import (
    Status,
    is_url,
    note,
    write,
    write_json,
    write_json_line,
    write_output,
)
from replicate_async.cli.errors import UsageError
from replicate_async.cli.inputs import read_inputs
from replicate_async.cli.options import DEFAULTS, Options, connect, describe
from replicate_async.cli.output_files import Force, Output, Saver, files_in
from replicate_async.cli.schema import listing
from replicate_async.context import context_of
from replicate_async.core.problem import InvalidField
from replicate_async.errors import ReplicateError, prediction_error
from replicate_async.interface.read import Interface
from replicate_async.refs import parse_version
from replicate_async.resources._prediction_calls import PredictionCalls
from replicate_async.resources._prediction_request import PredictionRequest
from replicate_async.runs.run import create_or_cancel, give_up
from replicate_async.runs.streaming.events import (
    DoneEvent,
    ErrorEvent,
    LogsEvent,
    OutputEvent,
    StreamEvent,
)

Ref = Annotated[str, Parameter(name="model", help='"owner/name", "owner/name:version" or an id.')]
Inputs = Annotated[
    str,
    Parameter(
        name="input",
        help="key=value, by the model's schema; key=@file sends a file, key:=JSON a JSON value.",
    ),
]
Logs = Annotated[bool, Parameter(help="Print what the model logs, on stderr.", show_default=False)]


async def run(
    ref: Ref,
    /,
    *inputs: Inputs,
    logs: Logs = False,
    output: Output = None,
    force: Force = False,
    options: Options = DEFAULTS,
) -> None:
    """Run a model to its end and print its output.

    Ctrl-C cancels the prediction. The token is read from REPLICATE_API_TOKEN.
    """
    saver = None if output is None else Saver(output, force=force)
    async with connect(options) as client:
        async with _started(client, ref, inputs, options) as (prediction, interface, status):
            printed = 0

            def show(seen: Prediction) -> None:
                nonlocal printed
                printed = _write_logs(seen, printed, status) if logs else 0
                status.follow(seen)

            prediction = await client.predictions.wait(prediction, on_update=show)  # noqa: PLW2901 - as it ended
            if logs:
                _write_logs(prediction, printed, status)
            status.clear()
            if options.json and (saver is None or prediction.status != "succeeded"):
                write_json(prediction)
            if prediction.status != "succeeded":
                raise prediction_error(prediction)
        if saver is not None:
            result = PredictionCalls(context_of(client)).files.output(prediction, interface.shape)
            if options.json:
                saved = await saver.save(files_in(result), prediction.id)
                write_json(msgspec.to_builtins(prediction) | {"saved": list(map(str, saved))})
            else:
                await saver.save_output(result, prediction.id, joined=interface.is_text)
        elif not options.json:
            write_output(prediction.output, joined=interface.is_text)
            _warn_of_loss(interface, options)


async def stream(
    ref: Ref,
    /,
    *inputs: Inputs,
    logs: Logs = False,
    output: Output = None,
    force: Force = False,
    options: Options = DEFAULTS,
) -> None:
    """Run a model and print its output as it is made.

    Ctrl-C cancels the prediction. The token is read from REPLICATE_API_TOKEN.
    """
    saver = None if output is None else Saver(output, force=force)
    async with connect(options) as client, _started(client, ref, inputs, options) as begun:
        prediction, interface, status = begun
        printer = _Printer(status, interface)
        try:
            async with client.predictions.stream(prediction) as events:
                async for event in events:
                    path = await _saved(event, saver, prediction, status)
                    if options.json:
                        status.clear()
                        write_json_line(_as_json(event) | path)
                    elif path:
                        printer.end()
                        write(f"{path['path']}\n")
                    else:
                        printer.show(event, logs=logs)
            if logs and not printer.logged and not options.json:
                # The API does not say that streams have logs, and most have none.
                status.clear()
                _write_logs(await client.predictions.get(prediction.id), 0, status)
        finally:
            printer.end()
        if not options.json and saver is None:
            _warn_of_loss(interface, options)


async def _saved(
    event: StreamEvent, saver: Saver | None, prediction: Prediction, status: Status
) -> dict[str, str]:
    """Save what *event* brings if it is a file, and return where it is."""
    if saver is None or not isinstance(event, OutputEvent):
        return {}
    if not isinstance(event.data, FileOutput):
        return {}
    status.clear()
    [path] = await saver.save([event.data], prediction.id)
    return {"path": str(path)}


def _warn_of_loss(interface: Interface, options: Options) -> None:
    if options.local and interface.gives_files:
        note(
            "These files were the embedded server's, and are gone with it; to keep them, save "
            "them with --output."
        )


class _Printer:
    """Prints events, and knows whether the cursor stands at the beginning of a line."""

    def __init__(self, status: Status, interface: Interface) -> None:
        self._status = status
        self._lines = interface.gives_items
        self._unknown = not interface.output
        self._open = False
        self.logged = False

    def show(self, event: StreamEvent, *, logs: bool) -> None:
        if isinstance(event, LogsEvent) and logs:
            self._status.clear()
            self.logged = True
            self.end()
            write(event.data if event.data.endswith("\n") else f"{event.data}\n", logs=True)
        elif isinstance(event, OutputEvent) and (data := str(event.data)):
            self._status.clear()
            whole = self._lines or (self._unknown and is_url(data))
            text = f"{data}\n" if whole else data
            write(text)
            self._open = not text.endswith("\n")

    def end(self) -> None:
        """End the line that was begun."""
        self._status.clear()
        if self._open:
            self._open = False
            write("\n")


@asynccontextmanager
async def _started(
    client: Replicate, ref: str, arguments: Sequence[str], options: Options
) -> AsyncGenerator[tuple[Prediction, Interface, Status]]:
    """Create the prediction that the command asks for; cancel it, and say so, if left early."""
    status = Status()
    status.show(ref)
    try:
        interface = await describe(client, ref, local=options.local)
        inputs = read_inputs(arguments, interface)
        stopping = _Stopping(client, status)
        prediction = await _created(client, stopping, interface, ref, inputs)
        status.follow(prediction)
        try:
            yield prediction, interface, status
        except PredictionError:
            raise
        except BaseException as reason:
            stopping.quiet = isinstance(reason, BrokenPipeError)
            await give_up(stopping.cancel, prediction.id, reason)
            raise
    finally:
        status.clear()


async def _created(
    client: Replicate,
    stopping: _Stopping,
    interface: Interface,
    ref: str,
    inputs: Mapping[str, object],
) -> Prediction:
    context = context_of(client)
    request = PredictionRequest(context, input=inputs)
    try:
        # Before the create, which is not interrupted: its answer is needed to cancel what it made.
        await request.input.send()
        creating = PredictionCalls(context).create(parse_version(ref), request)
        return await create_or_cancel(creating, stopping.cancel)
    except UnprocessableEntityError as error:
        if not error.invalid_fields:
            raise
        wrong = "; ".join(_said_of(field) for field in error.invalid_fields)
        raise UsageError(wrong, listing(interface)) from None


def _said_of(field: InvalidField) -> str:
    name = ".".join(field.field.split(".")[1:])
    return f"{name}: {field.description}" if name else field.description


class _Stopping:
    """Cancels a prediction and says what came of it."""

    def __init__(self, client: Replicate, status: Status) -> None:
        self._client = client
        self._status = status
        self.quiet = False

    async def cancel(self, prediction_id: str) -> Prediction:
        self._status.clear()
        try:
            prediction = await self._client.predictions.cancel(prediction_id)
        except (ReplicateError, asyncio.CancelledError):
            self._say(f"could not cancel prediction {prediction_id}; it may be running still")
            raise
        if prediction.done and prediction.status != "canceled":
            self._say(f"prediction {prediction_id} had {prediction.status} already")
        else:
            self._say(f"canceled prediction {prediction_id}")
        return prediction

    def _say(self, text: str) -> None:
        if not self.quiet:
            note(text)


def _write_logs(prediction: Prediction, printed: int, status: Status) -> int:
    """Write what *prediction* logged beyond the first *printed* characters."""
    logs = prediction.logs or ""
    if len(logs) > printed:
        status.clear()
        fresh = logs[printed:]
        ended = fresh.endswith("\n") or not prediction.done
        write(fresh if ended else f"{fresh}\n", logs=True)
    return max(printed, len(logs))


def _as_json(event: StreamEvent) -> dict[str, Any]:
    if isinstance(event, OutputEvent):
        name, data = "output", str(event.data)
    elif isinstance(event, LogsEvent):
        name, data = "logs", event.data
    elif isinstance(event, ErrorEvent):
        return {"event": "error", "id": event.id, "detail": event.detail}
    elif isinstance(event, DoneEvent):
        return {"event": "done", "id": event.id, "reason": event.reason}
    else:
        name, data = event.event, event.data
    return {"event": name, "id": event.id, "data": data}

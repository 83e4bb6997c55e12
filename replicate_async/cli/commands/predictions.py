"""``predictions`` and ``models``: what there is."""

from __future__ import annotations

from collections.abc import AsyncIterable
from datetime import datetime
from typing import Annotated, TypeVar

import msgspec
from cyclopts import Parameter, validators

from replicate_async import Model, NotFoundError, Prediction
from replicate_async.cli.console import note, write, write_json, write_table
from replicate_async.cli.errors import CommandError
from replicate_async.cli.options import DEFAULTS, Options, connect
from replicate_async.cli.schema import listing, shown
from replicate_async.interface.read import Interface
from replicate_async.refs import parse_model

T = TypeVar("T")

Limit = Annotated[
    int, Parameter(help="How many at most.", validator=validators.Number(gte=1, lte=10_000))
]
PredictionId = Annotated[str, Parameter(name="id", help="The prediction's id.")]


async def list_predictions(*, limit: Limit = 20, options: Options = DEFAULTS) -> None:
    """List the account's predictions, newest first."""
    async with connect(options) as client:
        found = await first(client.predictions.list(), limit)
    if options.json:
        write_json(found)
        return
    rows = [(p.id, p.model or p.version or "", p.status, when(p.created_at)) for p in found]
    write_table(("id", "model", "status", "created"), rows)


async def get_prediction(id: PredictionId, /, *, options: Options = DEFAULTS) -> None:
    """Show a prediction."""
    async with connect(options) as client:
        try:
            prediction = await client.predictions.get(id)
        except NotFoundError:
            raise _no_prediction(id) from None
    if options.json:
        write_json(prediction)
    else:
        write(_card(prediction))


async def cancel_prediction(id: PredictionId, /, *, options: Options = DEFAULTS) -> None:
    """Cancel a prediction."""
    async with connect(options) as client:
        try:
            prediction = await client.predictions.cancel(id)
        except NotFoundError:
            raise _no_prediction(id) from None
    if options.json:
        write_json(prediction)
    elif prediction.done and prediction.status != "canceled":
        note(f"prediction {id} had {prediction.status} already")
    else:
        write(f"canceled prediction {id}\n")


async def list_models(*, limit: Limit = 20, options: Options = DEFAULTS) -> None:
    """List public models, those with the newest version first."""
    async with connect(options) as client:
        found = await first(client.models.list(), limit)
    _write_models(found, options)


async def search_models(
    query: Annotated[str, Parameter(help="What to look for.")],
    /,
    *,
    limit: Limit = 20,
    options: Options = DEFAULTS,
) -> None:
    """Search public models, the best match first."""
    async with connect(options) as client:
        found = await first(client.models.search(query), limit)
    _write_models(found, options)


async def get_model(
    model: Annotated[str, Parameter(help='"owner/name".')], /, *, options: Options = DEFAULTS
) -> None:
    """Show a model and the inputs that it takes."""
    name = str(parse_model(model))
    async with connect(options) as client:
        try:
            found = await client.models.get(name)
        except NotFoundError:
            raise CommandError(f"There is no model {name}.") from None
    if options.json:
        write_json(found)
        return
    lines = [name]
    if found.description:
        lines.append(found.description)
    if found.url:
        lines.append(str(found.url))
    version = found.latest_version
    if version is not None:
        lines.append(f"version {version.id}")
    interface = Interface.read(name, version.openapi_schema if version is not None else None)
    if inputs := listing(interface):
        lines += ["", inputs]
    write("\n".join(lines) + "\n")


async def first(items: AsyncIterable[T], limit: int) -> list[T]:
    """Return the first *limit* of *items*."""
    found: list[T] = []
    async for item in items:
        found.append(item)
        if len(found) == limit:
            break
    return found


def _write_models(found: list[Model], options: Options) -> None:
    if options.json:
        write_json(found)
        return
    rows = [(f"{m.owner}/{m.name}", str(m.run_count or 0), m.description or "") for m in found]
    write_table(("model", "runs", "description"), rows)


def _card(prediction: Prediction) -> str:
    took = (prediction.metrics or {}).get("predict_time")
    fields = {
        "id": prediction.id,
        "model": prediction.model,
        "version": prediction.version,
        "status": prediction.status,
        "error": prediction.error,
        "created": when(prediction.created_at),
        "took": f"{took:.2f} s" if isinstance(took, int | float) else None,
        "page": prediction.urls.web,
    }
    lines = [f"{name:<9}{value}" for name, value in fields.items() if value]
    for key, value in (prediction.input or {}).items():
        lines.append(f"{'input':<9}{key}={shown(value)}")
    if prediction.output is not None:
        lines.append(f"{'output':<9}{shown(_joined(prediction))}")
    return "\n".join(lines) + "\n"


def _joined(prediction: Prediction) -> object:
    try:
        return prediction.output_as(str)
    except msgspec.ValidationError:
        return prediction.output


def when(moment: datetime | None) -> str:
    """Return *moment* as a clock on the wall shows it."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment is not None else ""


def _no_prediction(id: str) -> CommandError:
    return CommandError(f"There is no prediction {id}, or it belongs to another account.")

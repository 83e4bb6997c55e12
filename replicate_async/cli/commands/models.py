"""``models``: list, show and search them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from cyclopts import App

from replicate_async import Model
from replicate_async.cli.console import terminal_width, wrapped, write
from replicate_async.cli.inputs import listing
from replicate_async.cli.options import DEFAULTS, PARAMETER, Limit, Options
from replicate_async.cli.records import show_list, show_record
from replicate_async.interface.read import Interface
from replicate_async.refs import parse_model

app: App = App(name="models", help="List, show and search models.", default_parameter=PARAMETER)

_HEADER: Final = ("model", "runs", "description")


@app.command(name="list")
async def list_models(*, limit: Limit = 20, options: Options = DEFAULTS) -> None:
    """List public models, those with the newest version first.

    $ replicate-async models list --limit 50
    """
    await show_list(options, lambda client: client.models.list(), limit, _HEADER, _row)


@app.command(name="search")
async def search_models(query: str, /, *, limit: Limit = 20, options: Options = DEFAULTS) -> None:
    """Search public models, the best match first.

    $ replicate-async models search "image upscaling"

    Args:
        query: The text to search for.
    """
    await show_list(options, lambda client: client.models.search(query), limit, _HEADER, _row)


@app.command(name="get")
async def get_model(model: str, /, *, options: Options = DEFAULTS) -> None:
    """Show a model and its inputs.

    $ replicate-async models get local/storyteller --local

    Args:
        model: "owner/name".
    """
    name = str(parse_model(model))
    await show_record(options, f"model {name}", lambda client: client.models.get(name), _show)


def _row(model: Model) -> Sequence[str]:
    return f"{model.owner}/{model.name}", str(model.run_count or 0), model.description or ""


def _show(model: Model) -> None:
    version = model.latest_version
    name = f"{model.owner}/{model.name}"
    width = terminal_width(sys.stdout)
    lines = [name, *wrapped(model.description or "", width), model.url]
    lines += [f"version {version.id}"] if version is not None else []
    interface = Interface.read(name, version.openapi_schema if version is not None else None)
    if inputs := listing(interface, width):
        lines += [f"\n{inputs}"]
    write("".join(f"{line}\n" for line in lines if line))

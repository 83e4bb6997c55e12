"""``trainings``: create, list, show and cancel them."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from replicate_async.cli.console import write
from replicate_async.cli.inputs import read_inputs
from replicate_async.cli.options import DEFAULTS, InputArgument, Limit, Options
from replicate_async.cli.records import (
    RUN_HEADER,
    run_row,
    show_canceled,
    show_list,
    show_record,
    show_run,
)
from replicate_async.interface.read import Interface

app: App = App(name="trainings", help="Create, list, show and cancel trainings.")

TrainingId = Annotated[str, Parameter(name="id", help="The id of the training.")]


@app.command(name="list")
async def list_trainings(*, limit: Limit = 20, options: Options = DEFAULTS) -> None:
    """List the trainings of the account, newest first.

    $ replicate-async trainings list --limit 5
    """
    await show_list(options, lambda client: client.trainings.list(), limit, RUN_HEADER, run_row)


@app.command(name="get")
async def get_training(id: TrainingId, /, *, options: Options = DEFAULTS) -> None:
    """Show a training.

    $ replicate-async trainings get zz4ibbonubfz7carwiefibzgga
    """
    await show_record(options, f"training {id}", lambda client: client.trainings.get(id), show_run)


@app.command(name="create")
async def create_training(
    version: str,
    /,
    *inputs: InputArgument,
    destination: str,
    webhook: str | None = None,
    options: Options = DEFAULTS,
) -> None:
    """Start a training and print its id.

    $ replicate-async trainings create owner/base:VERSION --destination me/mine data=@images.zip

    Args:
        version: The version to start from, "owner/name:version".
        destination: The model that gets the new version, "owner/name".
        webhook: An https URL that the API calls at each output and at the end.
    """
    # The training inputs of a version are not in its schema.
    values = read_inputs(inputs, Interface.read(version, None))
    await show_record(
        options,
        f"version {version}",
        lambda client: client.trainings.create(
            version, destination=destination, input=values, webhook=webhook
        ),
        lambda training: write(f"{training.id}\n"),
    )


@app.command(name="cancel")
async def cancel_training(id: TrainingId, /, *, options: Options = DEFAULTS) -> None:
    """Cancel a training.

    $ replicate-async trainings cancel zz4ibbonubfz7carwiefibzgga
    """
    await show_record(
        options, f"training {id}", lambda client: client.trainings.cancel(id), show_canceled
    )

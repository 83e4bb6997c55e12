"""``trainings``: create, list, show and cancel them."""

from __future__ import annotations

from cyclopts import App

from replicate_async.cli.console import write
from replicate_async.cli.inputs import read_inputs
from replicate_async.cli.options import DEFAULTS, PARAMETER, InputArgument, Options
from replicate_async.cli.records import add_run_commands, show_record
from replicate_async.interface.read import Interface

app: App = App(
    name="trainings", help="Create, list, show and cancel trainings.", default_parameter=PARAMETER
)
add_run_commands(app, "training", "zz4ibbonubfz7carwiefibzgga", lambda client: client.trainings)


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

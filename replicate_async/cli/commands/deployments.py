"""``deployments``: create, list, show, update and delete them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from cyclopts import App, Parameter

from replicate_async import Deployment, Replicate
from replicate_async.cli.console import clock, write, write_card
from replicate_async.cli.options import DEFAULTS, PARAMETER, Limit, Options
from replicate_async.cli.records import show_list, show_record
from replicate_async.schemas.deployments import Release, ReleaseConfiguration

app: App = App(
    name="deployments",
    help="Create, list, show, update and delete deployments.",
    default_parameter=PARAMETER,
)

Name = Annotated[str, Parameter(name="deployment", help='"owner/name".')]
_HEADER: Final = ("deployment", "hardware", "instances", "model")


@app.command(name="list")
async def list_deployments(*, limit: Limit = 20, options: Options = DEFAULTS) -> None:
    """List the deployments of the account.

    $ replicate-async deployments list
    """
    await show_list(options, lambda client: client.deployments.list(), limit, _HEADER, _row)


@app.command(name="get")
async def get_deployment(deployment: Name, /, *, options: Options = DEFAULTS) -> None:
    """Show a deployment with its current release.

    $ replicate-async deployments get acme/upscaler
    """
    await show_record(
        options,
        f"deployment {deployment}",
        lambda client: client.deployments.get(deployment),
        _show,
    )


@app.command(name="create")
async def create_deployment(
    name: str,
    /,
    *,
    model: str,
    version: str,
    hardware: str,
    min_instances: int = 0,
    max_instances: int = 1,
    options: Options = DEFAULTS,
) -> None:
    """Deploy a version of a model under a name of the account.

    $ replicate-async deployments create upscaler --model acme/up --version ID --hardware gpu-t4

    Args:
        name: The name of the deployment.
        model: The model, "owner/name".
        version: The id of the version.
        hardware: The sku of the hardware.
        min_instances: The fewest instances, 0 to 5.
        max_instances: The most instances, 0 to 20.
    """
    await show_record(
        options,
        f"model {model}",
        lambda client: client.deployments.create(
            name,
            model=model,
            version=version,
            hardware=hardware,
            min_instances=min_instances,
            max_instances=max_instances,
        ),
        _show,
    )


@app.command(name="update")
async def update_deployment(
    deployment: Name,
    /,
    *,
    version: str | None = None,
    hardware: str | None = None,
    min_instances: int | None = None,
    max_instances: int | None = None,
    options: Options = DEFAULTS,
) -> None:
    """Make a new release of a deployment; other options stay.

    $ replicate-async deployments update acme/upscaler --min-instances 1

    Args:
        version: The id of the new version.
        hardware: The sku of the new hardware.
        min_instances: The fewest instances, 0 to 5.
        max_instances: The most instances, 0 to 20.
    """
    await show_record(
        options,
        f"deployment {deployment}",
        lambda client: client.deployments.update(
            deployment,
            version=version,
            hardware=hardware,
            min_instances=min_instances,
            max_instances=max_instances,
        ),
        _show,
    )


@app.command(name="delete")
async def delete_deployment(deployment: Name, /, *, options: Options = DEFAULTS) -> None:
    """Delete a deployment that was not used for 15 minutes.

    $ replicate-async deployments delete acme/upscaler
    """

    async def delete(client: Replicate) -> dict[str, str]:
        await client.deployments.delete(deployment)
        return {"deleted": deployment}

    await show_record(
        options,
        f"deployment {deployment}",
        delete,
        lambda _: write(f"deleted deployment {deployment}\n"),
    )


def _release(deployment: Deployment) -> tuple[Release, ReleaseConfiguration]:
    release = deployment.current_release or Release()
    return release, release.configuration or ReleaseConfiguration()


def _instances(configuration: ReleaseConfiguration) -> str:
    return f"{configuration.min_instances or 0}..{configuration.max_instances or 0}"


def _row(deployment: Deployment) -> Sequence[str]:
    release, configuration = _release(deployment)
    return (
        f"{deployment.owner}/{deployment.name}",
        configuration.hardware or "",
        _instances(configuration),
        release.model or "",
    )


def _show(deployment: Deployment) -> None:
    release, configuration = _release(deployment)
    write_card(
        {
            "name": f"{deployment.owner}/{deployment.name}",
            "release": release.number,
            "model": release.model,
            "version": release.version,
            "hardware": configuration.hardware,
            "instances": _instances(configuration),
            "created": clock(release.created_at),
        }
    )

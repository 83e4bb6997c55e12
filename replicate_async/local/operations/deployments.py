"""The deployments operations: a named version, with a release for each change."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from replicate_async.local.http.context import Handler, RequestContext
from replicate_async.local.http.errors import django
from replicate_async.local.http.responses import Response, django_response, empty_response
from replicate_async.local.operations.predictions import find_deployment
from replicate_async.local.store.records import (
    HARDWARE,
    NAME,
    Deployment,
    Model,
    Release,
    Version,
    visible,
)

_REST = 15 * 60.0


async def list_all(context: RequestContext) -> Response:
    """Answer deployments.list."""
    deployments = context.store.deployments.values()
    page = context.page(
        [item for item in deployments if context.account.owns(item.owner)],
        context.serialize.deployment,
    )
    return django_response(page)


async def create(context: RequestContext) -> Response:
    """Answer deployments.create; the account is the owner."""
    body, store = context.body, context.store
    if not NAME.fullmatch(body.name):
        raise django(400, "A deployment's name is of lower-case letters, digits, dashes and _.")
    model = store.models.get(body.model)
    if model is None or not visible(model, context.account):
        raise django(400, "The specified model does not exist.")
    _check(body.hardware, body.min_instances, body.max_instances)
    now = context.clock.stamp()
    release = Release(
        number=1,
        model=model,
        version=_version(model, body.version),
        created=now,
        created_by=context.account,
        hardware=body.hardware,
        min_instances=body.min_instances,
        max_instances=body.max_instances,
    )
    deployment = Deployment(context.account.username, body.name, now, [release])
    if deployment.ref in store.deployments:
        raise django(400, "A deployment with that name already exists.")
    store.deployments[deployment.ref] = deployment
    return django_response(context.serialize.deployment(deployment))


async def get(context: RequestContext) -> Response:
    """Answer deployments.get."""
    return django_response(context.serialize.deployment(find_deployment(context)))


async def update(context: RequestContext) -> Response:
    """Answer deployments.update: a new release."""
    deployment = find_deployment(context)
    last = deployment.release
    fields = msgspec.structs.asdict(context.body)
    changes = {name: value for name, value in fields.items() if value is not None}
    if "version" in changes:
        changes["version"] = _version(last.model, changes["version"])
    release = replace(
        last,
        number=last.number + 1,
        created=context.clock.stamp(),
        created_by=context.account,
        **changes,
    )
    _check(release.hardware, release.min_instances, release.max_instances)
    deployment.releases.append(release)
    return django_response(context.serialize.deployment(deployment))


async def delete(context: RequestContext) -> Response:
    """Answer deployments.delete, which is refused for 15 minutes after the last run."""
    deployment = find_deployment(context)
    if deployment.used is not None and context.clock.now() - deployment.used < _REST:
        raise django(
            400,
            "Deployments can be deleted only when they have been offline and unused for at least "
            "15 minutes.",
        )
    del context.store.deployments[deployment.ref]
    return empty_response()


def _version(model: Model, id: str) -> Version:
    version = model.versions.get(id)
    if version is None:
        raise django(400, "The specified version does not exist.")
    return version


def _check(hardware: str, min_instances: int, max_instances: int) -> None:
    if hardware not in HARDWARE:
        raise django(400, f'"{hardware}" is not the SKU of any hardware.')
    if min_instances > max_instances:
        raise django(400, "min_instances must not be greater than max_instances.")


HANDLERS: dict[str, Handler] = {
    "deployments.list": list_all,
    "deployments.create": create,
    "deployments.get": get,
    "deployments.update": update,
    "deployments.delete": delete,
}

"""Deployments: a version under a name of its own, and a release for each change."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from aiohttp import web
from yarl import URL

from replicate_async.local.http.context import Call
from replicate_async.local.http.errors import django
from replicate_async.local.http.pagination import paginate
from replicate_async.local.http.responses import Handler, django_answer, empty_answer
from replicate_async.local.operations.predictions import find_deployment
from replicate_async.local.store.store import (
    HARDWARE,
    NAME,
    Deployment,
    Model,
    Release,
    Version,
    visible,
)

_REST = 15 * 60.0


async def list_all(call: Call) -> web.Response:
    """Answer deployments.list."""
    deployments = call.backend.state.deployments.values()
    page = paginate(
        [item for item in deployments if call.account.owns(item.owner)],
        URL(call.base + call.request.raw_path, encoded=True),
        size=call.backend.settings.page_size,
        position=lambda item: item.created,
        view=call.backend.views.deployment,
    )
    return django_answer(page)


async def create(call: Call) -> web.Response:
    """Answer deployments.create; the account is the owner."""
    body, state = call.body, call.backend.state
    if not NAME.fullmatch(body.name):
        raise django(400, "A deployment's name is of lower-case letters, digits, dashes and _.")
    model = state.models.get(body.model)
    if model is None or not visible(model, call.account):
        raise django(400, "The specified model does not exist.")
    _check(body.hardware, body.min_instances, body.max_instances)
    now = state.clock.stamp()
    release = Release(
        number=1,
        model=model,
        version=_version(model, body.version),
        created=now,
        created_by=call.account,
        hardware=body.hardware,
        min_instances=body.min_instances,
        max_instances=body.max_instances,
    )
    deployment = Deployment(call.account.username, body.name, now, [release])
    if deployment.ref in state.deployments:
        raise django(400, "A deployment with that name already exists.")
    state.deployments[deployment.ref] = deployment
    return django_answer(call.backend.views.deployment(deployment))


async def get(call: Call) -> web.Response:
    """Answer deployments.get."""
    return django_answer(call.backend.views.deployment(find_deployment(call)))


async def update(call: Call) -> web.Response:
    """Answer deployments.update: a new release."""
    deployment = find_deployment(call)
    last = deployment.release
    fields = msgspec.structs.asdict(call.body)
    changes = {name: value for name, value in fields.items() if value is not None}
    if "version" in changes:
        changes["version"] = _version(last.model, changes["version"])
    release = replace(
        last,
        number=last.number + 1,
        created=call.backend.clock.stamp(),
        created_by=call.account,
        **changes,
    )
    _check(release.hardware, release.min_instances, release.max_instances)
    deployment.releases.append(release)
    return django_answer(call.backend.views.deployment(deployment))


async def delete(call: Call) -> web.Response:
    """Answer deployments.delete, which is refused for 15 minutes after the last run."""
    deployment = find_deployment(call)
    if deployment.used is not None and call.backend.clock.now() - deployment.used < _REST:
        raise django(
            400,
            "Deployments can be deleted only when they have been offline and unused for at least "
            "15 minutes.",
        )
    del call.backend.state.deployments[deployment.ref]
    return empty_answer()


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

"""The models operations, and those of their versions, examples and readmes."""

from __future__ import annotations

import asyncio
import re

import msgspec

from replicate_async.local.http.context import Handler, RequestContext
from replicate_async.local.http.errors import django, not_found
from replicate_async.local.http.responses import (
    Response,
    django_response,
    empty_response,
    text_response,
)
from replicate_async.local.operations.predictions import make_prediction
from replicate_async.local.operations.search import ranked
from replicate_async.local.store.records import HARDWARE, NAME, Model, Version
from replicate_async.schemas import CreatePrediction

_LINKS = ("github_url", "paper_url", "license_url", "weights_url", "cover_image_url")

_URL = re.compile(
    r"https?://[a-z0-9.-]+(?::[0-9]{1,5})?(?:[/?#](?:[!$&-;=?-Z_a-z~]|%[0-9a-f]{2})*)?",
    re.IGNORECASE,
)


async def list_all(context: RequestContext) -> Response:
    """Answer models.list: the public models, by default those with the newest version first."""
    by_creation = context.query.sort_by == "model_created_at"
    page = context.page(
        list(context.store.public_models()),
        context.serialize.model,
        position=lambda model: model.created if by_creation else model.updated,
        size=context.settings.model_page_size,
        ascending=context.query.sort_direction == "asc",
    )
    return django_response(page)


async def find(context: RequestContext) -> Response:
    """Answer models.search, the best match first."""
    found = ranked(context.store.public_models(), context.body)
    # A cursor is a time, not a rank, so all matches are on one page.
    results = [context.serialize.model(model) for model, _ in found]
    return django_response({"next": None, "previous": None, "results": results})


async def create(context: RequestContext) -> Response:
    """Answer models.create."""
    body, store = context.body, context.store
    if not context.account.owns(body.owner):
        raise django(400, "The owner must be the account that the API token belongs to.")
    if not NAME.fullmatch(body.name):
        raise django(400, "A model's name is of lower-case letters, digits, dashes, dots and _.")
    if body.hardware not in HARDWARE:
        raise django(400, f'"{body.hardware}" is not the SKU of any hardware.')
    if f"{body.owner}/{body.name}" in store.models:
        raise django(400, "A model with that name and owner already exists.")
    owned = [model for model in store.models.values() if model.owner == body.owner]
    if len(owned) >= context.settings.max_models:
        raise django(400, "An account can have at most 1,000 models.")
    model = Model(
        owner=body.owner,
        name=body.name,
        created=context.clock.stamp(),
        description=body.description,
        visibility=body.visibility,
        hardware=body.hardware,
    )
    model.links |= {name: _link(name, getattr(body, name, None)) for name in _LINKS}
    store.models[model.ref] = model
    return django_response(context.serialize.model(model), 201)


async def get(context: RequestContext) -> Response:
    """Answer models.get."""
    return django_response(context.serialize.model(context.model()))


async def update(context: RequestContext) -> Response:
    """Answer models.update; fields that the body leaves out stay."""
    model = _owned(context)
    changes = msgspec.structs.asdict(context.body)
    links = {name: changes.pop(name, None) for name in _LINKS}
    model.links |= {name: _link(name, url) for name, url in links.items() if url is not None}
    for name, value in changes.items():
        if value is not None:
            setattr(model, name, value)
    return django_response(context.serialize.model(model))


async def delete(context: RequestContext) -> Response:
    """Answer models.delete; refuses public models and models with versions."""
    model = _owned(context)
    if model.visibility != "private":
        raise django(400, "Only private models can be deleted.")
    if model.versions:
        raise django(400, "A model can be deleted only after all its versions.")
    del context.store.models[model.ref]
    return empty_response()


async def list_examples(context: RequestContext) -> Response:
    """Answer models.examples.list; the examples run at the first request."""
    model = context.model()
    version = model.latest
    if version is not None and len(model.examples) < len(model.example_inputs):
        for inputs in model.example_inputs[len(model.examples) :]:
            run = make_prediction(context, model, version, CreatePrediction(input=inputs))
            model.examples.append(run)
            context.services.start(run)
    # Not cancelled with this request: other requests wait for them, too.
    tasks = [run.task for run in model.examples if run.task is not None]
    if tasks:
        await asyncio.wait(tasks)
    page = context.page(
        model.examples, lambda run: context.serialize.django_run(run, context.origin)
    )
    return django_response(page)


async def get_readme(context: RequestContext) -> Response:
    """Answer models.readme.get, which is text."""
    readme = context.model().readme
    if readme is None:
        raise not_found()
    return text_response(readme)


async def list_versions(context: RequestContext) -> Response:
    """Answer models.versions.list; a model that hides its versions has no such page."""
    model = context.model()
    if model.hidden:
        raise not_found()
    page = context.page(list(model.versions.values()), context.serialize.version)
    return django_response(page)


async def get_version(context: RequestContext) -> Response:
    """Answer models.versions.get."""
    return django_response(context.serialize.version(_version(context, context.model())))


async def delete_version(context: RequestContext) -> Response:
    """Answer models.versions.delete; refuses to delete a version in use."""
    model = _owned(context)
    version = _version(context, model)
    if model.visibility != "private":
        raise django(400, "Only versions of private models can be deleted.")
    if version.run_by - {context.account.username}:
        raise django(400, "A version that others have run cannot be deleted.")
    if version.trained:
        raise django(400, "A version that trainings started from cannot be deleted.")
    deployments = context.store.deployments.values()
    if any(deployment.release.version is version for deployment in deployments):
        raise django(400, "A version that a deployment uses cannot be deleted.")
    del model.versions[version.id]
    return empty_response(202)


def _owned(context: RequestContext) -> Model:
    model = context.model()
    if not context.account.owns(model.owner):
        raise not_found()
    return model


def _link(name: str, url: str | None) -> str | None:
    """Return *url*, or None for an empty one; raises the 400 `Problem` if it is invalid."""
    if url and not _URL.fullmatch(url):
        raise django(400, f"{name}: Enter a valid URL.")
    return url or None


def _version(context: RequestContext, model: Model) -> Version:
    version = model.versions.get(context.path["version_id"])
    if version is None:
        raise not_found()
    return version


HANDLERS: dict[str, Handler] = {
    "models.list": list_all,
    "models.search": find,
    "models.create": create,
    "models.get": get,
    "models.update": update,
    "models.delete": delete,
    "models.examples.list": list_examples,
    "models.readme.get": get_readme,
    "models.versions.list": list_versions,
    "models.versions.get": get_version,
    "models.versions.delete": delete_version,
}

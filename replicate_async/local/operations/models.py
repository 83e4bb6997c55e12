"""Models and their versions: made, found, changed and deleted."""

from __future__ import annotations

import asyncio
import re

import msgspec
from aiohttp import web
from yarl import URL

from replicate_async.local.http.context import Call
from replicate_async.local.http.errors import django, not_found
from replicate_async.local.http.pagination import paginate
from replicate_async.local.http.responses import Handler, django_answer, empty_answer
from replicate_async.local.operations.predictions import make_run, start
from replicate_async.local.operations.search import ranked
from replicate_async.local.store.store import HARDWARE, NAME, Model, Version
from replicate_async.schemas import CreatePrediction

_LINKS = ("github_url", "paper_url", "license_url", "weights_url", "cover_image_url")

_URL = re.compile(
    r"https?://[a-z0-9.-]+(?::[0-9]{1,5})?(?:[/?#](?:[!$&-;=?-Z_a-z~]|%[0-9a-f]{2})*)?",
    re.IGNORECASE,
)


async def list_all(call: Call) -> web.Response:
    """Answer models.list: the public models, by default those with the newest version first."""
    by_creation = call.query.sort_by == "model_created_at"
    page = paginate(
        list(call.backend.state.public_models()),
        _url(call),
        size=call.backend.settings.model_page_size,
        position=lambda model: model.created if by_creation else model.updated,
        view=call.backend.views.model,
        ascending=call.query.sort_direction == "asc",
    )
    return django_answer(page)


async def find(call: Call) -> web.Response:
    """Answer models.search, the best match first."""
    found = ranked(call.backend.state.public_models(), call.body)
    # The page's cursor is a time, which a rank is not: all matches come on one page.
    results = [call.backend.views.model(model) for model, _ in found]
    return django_answer({"next": None, "previous": None, "results": results})


async def create(call: Call) -> web.Response:
    """Answer models.create."""
    body, state = call.body, call.backend.state
    if not call.account.owns(body.owner):
        raise django(400, "The owner must be the account that the API token belongs to.")
    if not NAME.fullmatch(body.name):
        raise django(400, "A model's name is of lower-case letters, digits, dashes, dots and _.")
    if body.hardware not in HARDWARE:
        raise django(400, f'"{body.hardware}" is not the SKU of any hardware.')
    if f"{body.owner}/{body.name}" in state.models:
        raise django(400, "A model with that name and owner already exists.")
    owned = [model for model in state.models.values() if model.owner == body.owner]
    if len(owned) >= call.backend.settings.max_models:
        raise django(400, "An account can have at most 1,000 models.")
    model = Model(
        owner=body.owner,
        name=body.name,
        created=state.clock.stamp(),
        description=body.description,
        visibility=body.visibility,
        hardware=body.hardware,
    )
    model.links |= {name: _link(name, getattr(body, name, None)) for name in _LINKS}
    state.models[model.ref] = model
    return django_answer(call.backend.views.model(model), 201)


async def get(call: Call) -> web.Response:
    """Answer models.get."""
    return django_answer(call.backend.views.model(_seen(call)))


async def update(call: Call) -> web.Response:
    """Answer models.update; what the body leaves out stays."""
    model = _owned(call)
    changes = msgspec.structs.asdict(call.body)
    links = {name: changes.pop(name, None) for name in _LINKS}
    model.links |= {name: _link(name, url) for name, url in links.items() if url is not None}
    for name, value in changes.items():
        if value is not None:
            setattr(model, name, value)
    return django_answer(call.backend.views.model(model))


async def delete(call: Call) -> web.Response:
    """Answer models.delete: only private models without versions go."""
    model = _owned(call)
    if model.visibility != "private":
        raise django(400, "Only private models can be deleted.")
    if model.versions:
        raise django(400, "A model can be deleted only after all its versions.")
    del call.backend.state.models[model.ref]
    return empty_answer()


async def list_examples(call: Call) -> web.Response:
    """Answer models.examples.list; the examples run when they are first asked for."""
    model = _seen(call)
    version = model.latest
    if version is not None and len(model.examples) < len(model.example_inputs):
        for inputs in model.example_inputs[len(model.examples) :]:
            run = make_run(call, model, version, CreatePrediction(input=inputs))
            model.examples.append(run)
            start(call.backend, run)
    # A client that gives up must not take the examples along: others wait for them, too.
    tasks = [run.task for run in model.examples if run.task is not None]
    if tasks:
        await asyncio.wait(tasks)
    page = paginate(
        model.examples,
        _url(call),
        size=call.backend.settings.page_size,
        position=lambda run: run.created,
        view=lambda run: call.backend.views.django_run(run, call.base),
    )
    return django_answer(page)


async def get_readme(call: Call) -> web.Response:
    """Answer models.readme.get, which is text."""
    readme = _seen(call).readme
    if readme is None:
        raise not_found()
    return web.Response(text=readme, content_type="text/plain", charset="utf-8")


async def list_versions(call: Call) -> web.Response:
    """Answer models.versions.list; a model that hides its versions has no such page."""
    model = _seen(call)
    if model.hidden:
        raise not_found()
    page = paginate(
        list(model.versions.values()),
        _url(call),
        size=call.backend.settings.page_size,
        position=lambda version: version.created,
        view=call.backend.views.version,
    )
    return django_answer(page)


async def get_version(call: Call) -> web.Response:
    """Answer models.versions.get."""
    return django_answer(call.backend.views.version(_version(call, _seen(call))))


async def delete_version(call: Call) -> web.Response:
    """Answer models.versions.delete, by which nothing goes that anything else stands on."""
    model = _owned(call)
    version = _version(call, model)
    if model.visibility != "private":
        raise django(400, "Only versions of private models can be deleted.")
    if version.run_by - {call.account.username}:
        raise django(400, "A version that others have run cannot be deleted.")
    if version.trained:
        raise django(400, "A version that trainings started from cannot be deleted.")
    deployments = call.backend.state.deployments.values()
    if any(deployment.release.version is version for deployment in deployments):
        raise django(400, "A version that a deployment uses cannot be deleted.")
    del model.versions[version.id]
    return empty_answer(202)


def _seen(call: Call) -> Model:
    return call.backend.state.model(call.model_ref, call.account)


def _owned(call: Call) -> Model:
    model = _seen(call)
    if not call.account.owns(model.owner):
        raise not_found()
    return model


def _link(name: str, url: str | None) -> str | None:
    """Return *url* as it is kept, none at all for an empty one."""
    if url and not _URL.fullmatch(url):
        raise django(400, f"{name}: Enter a valid URL.")
    return url or None


def _version(call: Call, model: Model) -> Version:
    version = model.versions.get(call.path["version_id"])
    if version is None:
        raise not_found()
    return version


def _url(call: Call) -> URL:
    return URL(call.base + call.request.raw_path, encoded=True)


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

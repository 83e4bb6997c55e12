"""Trainings: runs whose output is a new version of another model."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from yarl import URL

from replicate_async.local import ids
from replicate_async.local.http.context import Call
from replicate_async.local.http.errors import (
    destination_missing,
    not_found,
    problem,
    version_refused,
)
from replicate_async.local.http.pagination import paginate
from replicate_async.local.http.responses import Handler, django_answer, edge_answer
from replicate_async.local.models.validation import validate
from replicate_async.local.operations.predictions import (
    check_input,
    check_webhook,
    find_run,
    redacted,
)
from replicate_async.local.runtime.runner import train
from replicate_async.local.store.records import Run
from replicate_async.local.store.store import Model


async def create(call: Call) -> web.Response:
    """Answer trainings.create; its urls point to the prediction that a training is inside."""
    state, body = call.backend.state, call.body
    model = state.model(call.model_ref, call.account)
    version = model.versions.get(call.path["version_id"])
    if version is None:
        raise version_refused()
    destination = _destination(call)
    if not version.function.trainable:
        raise problem(422, "The specified version cannot be trained", title="Not trainable")
    schema = version.function.openapi_schema
    check_input(validate(body.input, schema, root="training_input", component="TrainingInput"))
    check_webhook(body.webhook)
    run = Run(
        id=ids.run_id(),
        kind="training",
        account=call.account,
        model=model,
        version=version,
        input=body.input,
        shown_input=redacted(body.input, schema, "TrainingInput"),
        base=call.base,
        created=call.backend.clock.stamp(),
        clock=call.backend.clock,
        destination=destination,
        webhook=body.webhook or None,
        webhook_events=tuple(body.webhook_events_filter or ("output", "completed")),
    )
    state.runs[run.id] = run
    version.trained = True
    call.backend.webhooks.attach(run)
    call.backend.runner.submit(run, train(state))
    return edge_answer(_shown(call, run, "predictions"), 201)


async def get(call: Call) -> web.Response:
    """Answer trainings.get."""
    return django_answer(_shown(call, _find(call)))


async def cancel(call: Call) -> web.Response:
    """Answer trainings.cancel; a training that has ended is returned as it is."""
    run = _find(call)
    call.backend.runner.stop(run)
    return django_answer(_shown(call, run, "predictions"))


async def list_all(call: Call) -> web.Response:
    """Answer trainings.list, newest first."""
    page = paginate(
        call.backend.state.runs_of(call.account, "training"),
        URL(call.base + call.request.raw_path, encoded=True),
        size=call.backend.settings.page_size,
        position=lambda item: item[1].created,
        view=lambda item: _shown(call, call.backend.whole(*item)),
    )
    return django_answer(page)


def _find(call: Call) -> Run:
    run = find_run(call, call.path["training_id"])
    if run.kind != "training":
        raise not_found()
    return run


def _destination(call: Call) -> Model:
    model = call.backend.state.models.get(call.body.destination)
    if model is None or not call.account.owns(model.owner):
        raise destination_missing()
    return model


def _shown(call: Call, run: Run, resource: str = "trainings") -> dict[str, Any]:
    return call.backend.views.django_run(run, call.base, resource)


HANDLERS: dict[str, Handler] = {
    "trainings.create": create,
    "trainings.get": get,
    "trainings.cancel": cancel,
    "trainings.list": list_all,
}

"""The trainings operations; the output of a training is a new version of a model."""

from __future__ import annotations

from typing import Any

from replicate_async.interface.validation import validate
from replicate_async.local import ids
from replicate_async.local.http.context import Handler, RequestContext
from replicate_async.local.http.errors import (
    destination_missing,
    not_found,
    problem,
    version_refused,
)
from replicate_async.local.http.responses import Response, django_response, edge_response
from replicate_async.local.operations.predictions import (
    check_input,
    check_webhook,
    find_run,
    redacted,
)
from replicate_async.local.store.records import Model, RunRecord


async def create(context: RequestContext) -> Response:
    """Answer trainings.create; its URLs are those of a prediction."""
    body = context.body
    model = context.model()
    version = model.versions.get(context.path["version_id"])
    if version is None:
        raise version_refused()
    destination = _destination(context)
    if not version.backend.trainable:
        raise problem(422, "The specified version cannot be trained", title="Not trainable")
    schema = version.backend.openapi_schema
    check_input(validate(body.input, schema, root="training_input", component="TrainingInput"))
    check_webhook(body.webhook)
    run = RunRecord(
        id=ids.run_id(),
        kind="training",
        account=context.account,
        model=model,
        version=version,
        input=body.input,
        shown_input=redacted(body.input, schema, "TrainingInput"),
        base=context.origin,
        created=context.clock.stamp(),
        clock=context.clock,
        destination=destination,
        webhook=body.webhook or None,
        webhook_events=tuple(body.webhook_events_filter or ("output", "completed")),
    )
    context.services.start(run)
    return edge_response(_shown(context, run, "predictions"), 201)


async def get(context: RequestContext) -> Response:
    """Answer trainings.get."""
    return django_response(_shown(context, _find(context)))


async def cancel(context: RequestContext) -> Response:
    """Answer trainings.cancel; a training that has ended is returned as it is."""
    run = _find(context)
    context.services.runner.cancel(run)
    return django_response(_shown(context, run, "predictions"))


async def list_all(context: RequestContext) -> Response:
    """Answer trainings.list, newest first."""
    page = context.page(
        context.store.runs_of(context.account, "training"),
        lambda item: _shown(context, context.store.restore(*item)),
        position=lambda item: item[1].created,
    )
    return django_response(page)


def _find(context: RequestContext) -> RunRecord:
    run = find_run(context, context.path["training_id"])
    if run.kind != "training":
        raise not_found()
    return run


def _destination(context: RequestContext) -> Model:
    model = context.store.models.get(context.body.destination)
    if model is None or not context.account.owns(model.owner):
        raise destination_missing()
    return model


def _shown(context: RequestContext, run: RunRecord, resource: str = "trainings") -> dict[str, Any]:
    return context.serialize.django_run(run, context.origin, resource)


HANDLERS: dict[str, Handler] = {
    "trainings.create": create,
    "trainings.get": get,
    "trainings.cancel": cancel,
    "trainings.list": list_all,
}

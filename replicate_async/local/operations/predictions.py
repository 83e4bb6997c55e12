"""The predictions operations, also those of models and deployments."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from yarl import URL

from replicate_async.interface.validation import detail_text, validate
from replicate_async.local import ids
from replicate_async.local.clock import Clock
from replicate_async.local.http.context import Handler, RequestContext
from replicate_async.local.http.errors import invalid, not_found, problem, version_refused
from replicate_async.local.http.responses import (
    Response,
    django_response,
    edge_response,
    held_response,
)
from replicate_async.local.settings import Settings
from replicate_async.local.store.files import FileStore
from replicate_async.local.store.records import VERSION_ID, Deployment, Model, RunRecord, Version
from replicate_async.schemas import InvalidField

_WAIT = re.compile(r"wait(?:=(\d{1,4}))?", re.ASCII)
_DURATION = re.compile(r"(?=\d)(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII)
_WEB_SPAN = 14 * 24 * 3600
_REDACTED = "**********"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


async def create(context: RequestContext) -> Response:
    """Answer predictions.create."""
    model, version = find_version(context, context.body.version)
    return await create_prediction(context, model, version)


async def create_by_model(context: RequestContext) -> Response:
    """Answer models.predictions.create, which is for official models only."""
    model = context.model()
    if not model.official or model.latest is None:
        raise not_found()
    return await create_prediction(context, model, model.latest)


async def create_by_deployment(context: RequestContext) -> Response:
    """Answer deployments.predictions.create."""
    deployment = find_deployment(context)
    release = deployment.release
    deployment.used = context.clock.now()
    return await create_prediction(context, release.model, release.version, deployment)


async def get(context: RequestContext) -> Response:
    """Answer predictions.get, also for the id of a training."""
    run = find_run(context, context.path["prediction_id"])
    return edge_response(context.serialize.edge_run(run, context.origin) | {"source": run.source})


async def cancel(context: RequestContext) -> Response:
    """Answer predictions.cancel; a prediction that has ended is returned as it is."""
    run = find_run(context, context.path["prediction_id"])
    context.services.runner.cancel(run)
    return django_response(context.serialize.django_run(run, context.origin))


async def list_all(context: RequestContext) -> Response:
    """Answer predictions.list, newest first."""
    query = context.query
    runs = context.store.runs_of(context.account, "prediction")
    if query.source is not None:
        since = context.clock.now() - _WEB_SPAN
        runs = [
            (id, run) for id, run in runs if run.source == query.source and run.created >= since
        ]
    if query.created_after is not None:
        after = _seconds(query.created_after)
        runs = [(id, run) for id, run in runs if run.created >= after]
    if query.created_before is not None:
        before = _seconds(query.created_before)
        runs = [(id, run) for id, run in runs if run.created < before]
    page = context.page(
        runs,
        lambda item: context.serialize.django_run(context.store.restore(*item), context.origin),
        position=lambda item: item[1].created,
    )
    return django_response(page)


async def create_prediction(
    context: RequestContext, model: Model, version: Version, deployment: Deployment | None = None
) -> Response:
    """Start a prediction, hold the request for `Prefer: wait`, and answer."""
    headers = context.request.headers
    wait = wait_of(headers.get("Prefer"), context.settings.sync_wait_cap)
    lifetime = lifetime_of(headers.get("Cancel-After"), context.settings)
    run = make_prediction(context, model, version, context.body, deployment=deployment)
    if lifetime is not None:
        run.deadline = run.created + lifetime
    context.services.start(run)
    if wait is None:
        return edge_response(context.serialize.edge_run(run, context.origin), 201)
    await _hold(context.clock, run, wait)
    view = context.serialize.edge_run(run, context.origin)
    if run.status == "succeeded" and context.settings.sync_answer == "processing":
        view = await _early(context.store.files, view)
    told = {"Preference-Applied": headers["Prefer"].strip(), "Location": view["urls"]["get"]}
    return held_response(view, 201 if run.terminal else 202, headers=told)


def make_prediction(
    context: RequestContext,
    model: Model,
    version: Version,
    body: Any,
    *,
    deployment: Deployment | None = None,
) -> RunRecord:
    """Return a prediction of *version*; raises the 422 `Problem` for an invalid *body*."""
    schema = version.backend.openapi_schema
    check_input(validate(body.input, schema))
    check_webhook(body.webhook)
    id = ids.run_id()
    path, stream = "", None
    if version.backend.output in {"text", "files"}:
        path, stream = context.store.streams.open(id, files=version.backend.output == "files")
    return RunRecord(
        id=id,
        kind="prediction",
        account=context.account,
        model=model,
        version=version,
        input=body.input,
        shown_input=redacted(body.input, schema, "Input"),
        base=context.origin,
        created=context.clock.stamp(),
        clock=context.clock,
        stream=stream,
        stream_path=path,
        deployment=deployment.ref if deployment else None,
        webhook=body.webhook or None,
        webhook_events=tuple(body.webhook_events_filter or ("output", "completed")),
    )


def find_run(context: RequestContext, id: str) -> RunRecord:
    """Return the run *id* of the account; raises the 404 `Problem`."""
    run = context.store.run(id, context.account)
    if run is None:
        raise not_found()
    return run


def find_version(context: RequestContext, text: str) -> tuple[Model, Version]:
    """Return the version named by "id", "owner/name:id" or, if official, "owner/name"."""
    if VERSION_ID.fullmatch(text) and (found := context.store.version(text, context.account)):
        return found
    ref, colon, version_id = text.partition(":")
    model = context.store.model(ref, context.account)
    if model is not None:
        latest = model.latest if model.official else None
        version = model.versions.get(version_id) if colon else latest
        if version is not None:
            return model, version
    raise version_refused()


def find_deployment(context: RequestContext) -> Deployment:
    """Return the deployment that the path names; raises the 404 `Problem`."""
    ref = f"{context.path['deployment_owner']}/{context.path['deployment_name']}"
    deployment = context.store.deployments.get(ref)
    if deployment is None or not context.account.owns(deployment.owner):
        raise not_found()
    return deployment


def check_input(fields: Sequence[InvalidField]) -> None:
    """Raise the 422 `Problem` if an input has invalid *fields*."""
    if fields:
        raise invalid(detail_text(fields), fields)


def check_webhook(url: str | None) -> None:
    """Raise the 422 `Problem` for a webhook that is neither https nor http on loopback."""
    if not url:
        return
    try:
        parsed = URL(url)
        local = parsed.scheme == "http" and parsed.host in _LOOPBACK
        if parsed.host and (parsed.scheme == "https" or local):
            return
    except ValueError:
        pass
    field = InvalidField(type="format", field="webhook", description="Does not match format 'uri'")
    raise invalid(detail_text([field]), [field])


def redacted(input: Mapping[str, Any], schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return *input* with asterisks for its secrets."""
    components = schema.get("components", {}).get("schemas", {})
    properties = components.get(name, {}).get("properties", {})
    return {
        key: _REDACTED if properties.get(key, {}).get("x-cog-secret") else value
        for key, value in input.items()
    }


def wait_of(prefer: str | None, cap: float) -> float | None:
    """Return the seconds that `Prefer` holds the request; None without."""
    match = _WAIT.fullmatch((prefer or "").strip())
    if match is None or (match[1] is not None and int(match[1]) < 1):
        return None
    return cap if match[1] is None else min(float(match[1]), cap)


def lifetime_of(value: str | None, settings: Settings) -> float | None:
    """Return the seconds that `Cancel-After` gives a run; raises the 422 `Problem`."""
    if value is None:
        return None
    text = value.strip()
    match = _DURATION.fullmatch(f"{text}s" if text.isdigit() else text)
    if match is not None:
        hours, minutes, seconds = (int(part or 0) for part in match.groups())
        total = float((hours * 60 + minutes) * 60 + seconds)
        if settings.cancel_after_minimum <= total <= settings.cancel_after_maximum:
            return total
    raise problem(
        422,
        "Cancel-After must be a duration from 5 seconds to 24 hours, such as 90s, 5m or 1h30m45s",
        title="Invalid Cancel-After header",
    )


async def _hold(clock: Clock, run: RunRecord, seconds: float) -> None:
    """Wait for the end of *run*, at most *seconds* on the server's clock."""
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        run.notify()

    timer = clock.call_later(seconds, expire)
    try:
        while not run.terminal and not expired:
            await run.changed()
    finally:
        timer.cancel()


async def _early(files: FileStore, view: dict[str, Any]) -> dict[str, Any]:
    """Return *view* as just before the end: all outputs, with files as data URLs."""
    left = {"started_at", "completed_at", "metrics"}
    kept = {key: value for key, value in view.items() if key not in left}
    return kept | {
        "status": "processing",
        "logs": "",
        "output": await _inline(files, view["output"]),
    }


async def _inline(files: FileStore, output: Any) -> Any:
    if isinstance(output, list):
        return [await _inline(files, item) for item in cast("Sequence[Any]", output)]
    file = files.output_at(output) if isinstance(output, str) else None
    if file is None:
        return output
    data = base64.b64encode(await file.content.read()).decode()
    return f"data:{file.content_type};base64,{data}"


def _seconds(moment: datetime) -> float:
    """Return Unix time; a time without a zone is UTC."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


HANDLERS: dict[str, Handler] = {
    "predictions.create": create,
    "predictions.get": get,
    "predictions.cancel": cancel,
    "predictions.list": list_all,
    "models.predictions.create": create_by_model,
    "deployments.predictions.create": create_by_deployment,
}

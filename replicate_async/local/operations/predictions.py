"""Predictions: created three ways, read, listed and canceled."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from aiohttp import web
from yarl import URL

from replicate_async.local import ids
from replicate_async.local.http.context import Call
from replicate_async.local.http.errors import invalid, not_found, problem, version_refused
from replicate_async.local.http.pagination import paginate
from replicate_async.local.http.responses import Handler, django_answer, edge_answer, held_answer
from replicate_async.local.models.validation import detail_text, validate
from replicate_async.local.runtime.runner import predict
from replicate_async.local.services import Backend
from replicate_async.local.store.records import Run
from replicate_async.local.store.store import Deployment, Model, Version
from replicate_async.schemas import InvalidField

_WAIT = re.compile(r"wait(?:=(\d{1,4}))?", re.ASCII)
_DURATION = re.compile(r"(?=\d)(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII)
_VERSION_ID = re.compile(r"[0-9a-f]{64}")
_WEB_SPAN = 14 * 24 * 3600
_REDACTED = "**********"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


async def create(call: Call) -> web.Response:
    """Answer predictions.create."""
    model, version = find_version(call, call.body.version)
    return await answer_create(call, model, version)


async def create_by_model(call: Call) -> web.Response:
    """Answer models.predictions.create, which is for official models only."""
    model = call.backend.state.model(call.model_ref, call.account)
    if not model.official or model.latest is None:
        raise not_found()
    return await answer_create(call, model, model.latest)


async def create_by_deployment(call: Call) -> web.Response:
    """Answer deployments.predictions.create."""
    deployment = find_deployment(call)
    release = deployment.release
    deployment.used = call.backend.clock.now()
    return await answer_create(call, release.model, release.version, deployment)


async def get(call: Call) -> web.Response:
    """Answer predictions.get; a training's id is known here, too."""
    run = find_run(call, call.path["prediction_id"])
    return edge_answer(call.backend.views.edge_run(run, call.base) | {"source": run.source})


async def cancel(call: Call) -> web.Response:
    """Answer predictions.cancel; a prediction that has ended is returned as it is."""
    run = find_run(call, call.path["prediction_id"])
    call.backend.runner.stop(run)
    return django_answer(call.backend.views.django_run(run, call.base))


async def list_all(call: Call) -> web.Response:
    """Answer predictions.list, newest first."""
    query = call.query
    runs = call.backend.state.runs_of(call.account, "prediction")
    if query.source is not None:
        since = call.backend.clock.now() - _WEB_SPAN
        runs = [
            (id, run) for id, run in runs if run.source == query.source and run.created >= since
        ]
    if query.created_after is not None:
        after = _seconds(query.created_after)
        runs = [(id, run) for id, run in runs if run.created >= after]
    if query.created_before is not None:
        before = _seconds(query.created_before)
        runs = [(id, run) for id, run in runs if run.created < before]
    page = paginate(
        runs,
        URL(call.base + call.request.raw_path, encoded=True),
        size=call.backend.settings.page_size,
        position=lambda item: item[1].created,
        view=lambda item: call.backend.views.django_run(call.backend.whole(*item), call.base),
    )
    return django_answer(page)


async def answer_create(
    call: Call, model: Model, version: Version, deployment: Deployment | None = None
) -> web.Response:
    """Start a prediction, hold the request as its headers ask, and answer."""
    headers = call.request.headers
    wait = wait_of(headers.get("Prefer"), call.backend.settings.sync_wait_cap)
    lifetime = lifetime_of(call.backend, headers.get("Cancel-After"))
    run = make_run(call, model, version, call.body, deployment=deployment)
    if lifetime is not None:
        run.deadline = run.created + lifetime
    start(call.backend, run)
    if wait is None:
        return edge_answer(call.backend.views.edge_run(run, call.base), 201)
    await _hold(call.backend, run, wait)
    view = call.backend.views.edge_run(run, call.base)
    if run.status == "succeeded" and call.backend.settings.sync_answer == "processing":
        view = await _early(call.backend, view)
    told = {"Preference-Applied": headers["Prefer"].strip(), "Location": view["urls"]["get"]}
    return held_answer(view, 201 if run.terminal else 202, headers=told)


def start(backend: Backend, run: Run) -> None:
    """Let a prediction begin."""
    backend.state.runs[run.id] = run
    run.model.run_count += 1
    run.version.run_by.add(run.account.username)
    backend.webhooks.attach(run)
    backend.runner.submit(run, predict)


def make_run(
    call: Call,
    model: Model,
    version: Version,
    body: Any,
    *,
    deployment: Deployment | None = None,
) -> Run:
    """Return a prediction of *version* as *body* asks for it; raises the 422 `Problem`."""
    schema = version.function.openapi_schema
    check_input(validate(body.input, schema))
    check_webhook(body.webhook)
    id = ids.run_id()
    path, stream = "", None
    if version.function.streams:
        path, stream = call.backend.streams.open(id, files=version.function.file_stream)
    return Run(
        id=id,
        kind="prediction",
        account=call.account,
        model=model,
        version=version,
        input=body.input,
        shown_input=redacted(body.input, schema, "Input"),
        base=call.base,
        created=call.backend.clock.stamp(),
        clock=call.backend.clock,
        stream=stream,
        stream_path=path,
        deployment=deployment.ref if deployment else None,
        webhook=body.webhook or None,
        webhook_events=tuple(body.webhook_events_filter or ("output", "completed")),
    )


def find_run(call: Call, id: str) -> Run:
    """Return the run *id* of the account; raises the 404 `Problem`."""
    run = call.backend.state.runs.get(id)
    if run is None or run.account is not call.account:
        raise not_found()
    return call.backend.whole(id, run)


def find_version(call: Call, text: str) -> tuple[Model, Version]:
    """Return what "id", "owner/name:id" or "owner/name" of an official model names."""
    state = call.backend.state
    ref, colon, version_id = text.partition(":")
    if "/" not in text:
        found = state.version(text, call.account) if _VERSION_ID.fullmatch(text) else None
    else:
        model = state.models.get(ref)
        version = None
        if model is not None and (model.visibility == "public" or call.account.owns(model.owner)):
            version = (
                model.versions.get(version_id)
                if colon
                else model.latest
                if model.official
                else None
            )
        found = (model, version) if model is not None and version is not None else None
    if found is None:
        raise version_refused()
    return found


def find_deployment(call: Call) -> Deployment:
    """Return the deployment that the path names; raises the 404 `Problem`."""
    ref = f"{call.path['deployment_owner']}/{call.path['deployment_name']}"
    deployment = call.backend.state.deployments.get(ref)
    if deployment is None or not call.account.owns(deployment.owner):
        raise not_found()
    return deployment


def check_input(fields: Sequence[InvalidField]) -> None:
    """Raise the 422 `Problem` if there is something wrong with an input."""
    if fields:
        raise invalid(detail_text(fields), fields)


def check_webhook(url: str | None) -> None:
    """Raise the 422 `Problem` for a webhook that is not https, or http on this machine."""
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
    """Return *input* with its secrets covered."""
    components = schema.get("components", {}).get("schemas", {})
    properties = components.get(name, {}).get("properties", {})
    return {
        key: _REDACTED if properties.get(key, {}).get("x-cog-secret") else value
        for key, value in input.items()
    }


def wait_of(prefer: str | None, cap: float) -> float | None:
    """Return for how long `Prefer` asks to hold the request; None for not at all."""
    match = _WAIT.fullmatch((prefer or "").strip())
    if match is None or (match[1] is not None and int(match[1]) < 1):
        return None
    return cap if match[1] is None else min(float(match[1]), cap)


def lifetime_of(backend: Backend, value: str | None) -> float | None:
    """Return the seconds that `Cancel-After` gives a run; raises the 422 `Problem`."""
    if value is None:
        return None
    text = value.strip()
    match = _DURATION.fullmatch(f"{text}s" if text.isdigit() else text)
    if match is not None:
        hours, minutes, seconds = (int(part or 0) for part in match.groups())
        total = float((hours * 60 + minutes) * 60 + seconds)
        settings = backend.settings
        if settings.cancel_after_minimum <= total <= settings.cancel_after_maximum:
            return total
    raise problem(
        422,
        "Cancel-After must be a duration from 5 seconds to 24 hours, such as 90s, 5m or 1h30m45s",
        title="Invalid Cancel-After header",
    )


async def _hold(backend: Backend, run: Run, seconds: float) -> None:
    """Wait for the end of *run*, on the server's own clock, so that a test can hurry it."""
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        run.nudge()

    timer = backend.clock.call_later(seconds, expire)
    try:
        while not run.terminal and not expired:
            await run.changed()
    finally:
        timer.cancel()


async def _early(backend: Backend, view: dict[str, Any]) -> dict[str, Any]:
    """Return *view* as it was just before the end: all outputs there, files as data URLs."""
    left = {"started_at", "completed_at", "metrics"}
    kept = {key: value for key, value in view.items() if key not in left}
    return kept | {
        "status": "processing",
        "logs": "",
        "output": await _inline(backend, view["output"]),
    }


async def _inline(backend: Backend, output: Any) -> Any:
    if isinstance(output, list):
        return [await _inline(backend, item) for item in cast("Sequence[Any]", output)]
    delivery = backend.files.delivery_at(output) if isinstance(output, str) else None
    if delivery is None:
        return output
    data = base64.b64encode(await delivery.content.read()).decode()
    return f"data:{delivery.content_type};base64,{data}"


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

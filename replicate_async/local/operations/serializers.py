"""Things as the API shows them.

The service has two halves with different habits: the edge that creates and reads predictions, and
the Django application for all else. The edge leaves out what is not known yet and cuts timestamps
to milliseconds; Django shows null and microseconds.
"""

from __future__ import annotations

from typing import Any

from replicate_async.local.clock import timestamp
from replicate_async.local.settings import Settings
from replicate_async.local.store.records import Run
from replicate_async.local.store.store import Account, Collection, Deployment, Model, Version

EDGE_DIGITS = 3
DJANGO_DIGITS = 6


class Views:
    """Makes JSON of things, as *settings* say."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def time(self, seconds: float, digits: int = DJANGO_DIGITS) -> str:
        """Return a timestamp."""
        chosen = self._settings.timestamp_digits
        return timestamp(seconds, digits if chosen is None else chosen)

    def time_or_null(self, seconds: float | None) -> str | None:
        """Return a timestamp, or null for what has not happened."""
        return None if seconds is None else self.time(seconds)

    def account(self, account: Account) -> dict[str, Any]:
        """Return an account."""
        return {
            "type": account.type,
            "username": account.username,
            "name": account.name,
            "github_url": f"https://github.com/{account.username}",
            "avatar_url": f"https://github.com/{account.username}.png",
        }

    def version(self, version: Version) -> dict[str, Any]:
        """Return a version; its schema comes without paths, as since 2025."""
        return {
            "id": version.id,
            "created_at": self.time(version.created),
            "cog_version": "0.16.12",
            "openapi_schema": version.function.openapi_schema,
        }

    def model(self, model: Model) -> dict[str, Any]:
        """Return a model with its latest version."""
        latest = model.latest
        example = model.examples[0] if model.examples else None
        links = {"github_url": None, "paper_url": None, "license_url": None, "weights_url": None}
        return {
            "url": f"https://replicate.com/{model.ref}",
            "owner": model.owner,
            "name": model.name,
            "description": model.description,
            "visibility": model.visibility,
            **links,
            "cover_image_url": None,
            **model.links,
            "run_count": model.run_count,
            "is_official": model.official,
            "created_at": self.time(model.created),
            "default_example": self.django_run(example, example.base) if example else None,
            "latest_version": self.version(latest) if latest else None,
        }

    def deployment(self, deployment: Deployment) -> dict[str, Any]:
        """Return a deployment with the release that is in force."""
        release = deployment.release
        return {
            "owner": deployment.owner,
            "name": deployment.name,
            "current_release": {
                "number": release.number,
                "model": release.model.ref,
                "version": release.version.id,
                "created_at": self.time(release.created),
                "created_by": self.account(release.created_by),
                "configuration": {
                    "hardware": release.hardware,
                    "min_instances": release.min_instances,
                    "max_instances": release.max_instances,
                },
            },
        }

    def collection(self, collection: Collection) -> dict[str, Any]:
        """Return a collection with its models."""
        return {
            "name": collection.name,
            "slug": collection.slug,
            "description": collection.description,
            "full_description": collection.full_description,
            "models": [self.model(model) for model in collection.models],
        }

    def edge_run(self, run: Run, base: str) -> dict[str, Any]:
        """Return a prediction as the edge shows it: without what is not known yet."""
        absent = self._settings.shape == "absent"
        view: dict[str, Any] = {
            "id": run.id,
            "model": run.model.ref,
            "version": _version_id(run),
            "input": dict(sorted(run.shown_input.items())),
            "logs": run.logs,
        }
        if run.output is not None or not absent:
            view["output"] = run.output
        if run.data_removed or not absent:
            view["data_removed"] = run.data_removed
        view |= {
            "error": run.error,
            "status": run.status,
            "created_at": self.time(run.created, EDGE_DIGITS),
        }
        for name, moment in (
            ("started_at", run.started),
            ("completed_at", run.completed),
            ("deadline", run.deadline),
        ):
            if moment is not None:
                view[name] = self.time(moment, EDGE_DIGITS)
        if run.deployment is not None:
            view["deployment"] = run.deployment
        if run.metrics:
            view["metrics"] = run.metrics
        return {**view, "urls": run_urls(run, base, "predictions")}

    def django_run(self, run: Run, base: str, resource: str = "predictions") -> dict[str, Any]:
        """Return a prediction or training as Django shows it: null for what is not known yet."""
        view: dict[str, Any] = {
            "completed_at": self.time_or_null(run.completed),
            "created_at": self.time(run.created),
            "error": run.error,
            "id": run.id,
            "input": run.shown_input,
            "logs": run.logs or None,
            "metrics": run.metrics,
            "output": run.output,
            "started_at": self.time_or_null(run.started),
            "status": run.status,
            "urls": run_urls(run, base, resource),
            "model": run.model.ref,
            "version": _version_id(run),
            "source": run.source,
        }
        if run.kind == "prediction":
            view["data_removed"] = run.data_removed
        if run.deadline is not None:
            view["deadline"] = self.time(run.deadline)
        if run.deployment is not None:
            view["deployment"] = run.deployment
        return view

    def webhook_run(self, run: Run) -> dict[str, Any]:
        """Return what a webhook says of a run."""
        resource = "trainings" if run.kind == "training" else "predictions"
        return self.django_run(run, run.base, resource) | {"logs": run.logs}


def run_urls(run: Run, base: str, resource: str) -> dict[str, str]:
    """Return where a run is."""
    urls = {
        "cancel": f"{base}/v1/{resource}/{run.id}/cancel",
        "get": f"{base}/v1/{resource}/{run.id}",
        "web": f"https://replicate.com/p/{run.id}",
    }
    if run.stream_path:
        urls["stream"] = f"{base}{run.stream_path}"
    return urls


def _version_id(run: Run) -> str:
    return "hidden" if run.model.hidden else run.version.id

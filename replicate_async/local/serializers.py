"""Records as the API shows them.

The service has two halves with different habits: the edge that creates and reads predictions, and
the Django application for the rest. The edge leaves out what is not known yet and cuts timestamps
to milliseconds; Django shows null and microseconds.
"""

from __future__ import annotations

from typing import Any

from replicate_async.local.clock import timestamp
from replicate_async.local.settings import Settings
from replicate_async.local.store.files import StoredFile
from replicate_async.local.store.records import (
    Account,
    Collection,
    Deployment,
    Model,
    RunRecord,
    Version,
)

EDGE_DIGITS = 3
DJANGO_DIGITS = 6


class Serializers:
    """Makes the JSON of records."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def time(self, seconds: float, digits: int = DJANGO_DIGITS) -> str:
        """Return a timestamp."""
        chosen = self._settings.timestamp_digits
        return timestamp(seconds, digits if chosen is None else chosen)

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
        """Return a version; its schema has no paths, as since 2025."""
        return {
            "id": version.id,
            "created_at": self.time(version.created),
            "cog_version": "0.16.12",
            "openapi_schema": version.backend.openapi_schema,
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

    def file(self, stored: StoredFile, base: str) -> dict[str, Any]:
        """Return an upload."""
        content = stored.content
        return {
            "id": stored.id,
            "name": stored.name,
            "content_type": stored.content_type,
            "size": content.size,
            "etag": content.md5,
            "checksums": {"sha256": content.sha256, "md5": content.md5},
            "metadata": stored.metadata,
            "created_at": self.time(stored.created, EDGE_DIGITS),
            "expires_at": self.time(stored.expires, EDGE_DIGITS),
            "urls": {"get": f"{base}/v1/files/{stored.id}"},
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

    def edge_run(self, run: RunRecord, base: str) -> dict[str, Any]:
        """Return a prediction as the edge shows it: without what is not known yet."""
        fields = self._run(run, base, "predictions", EDGE_DIGITS)
        del fields["source"]
        fields["input"] = dict(sorted(run.shown_input.items()))
        absent = {"started_at", "completed_at", "deadline", "deployment"}
        if self._settings.empty_output == "absent":
            absent |= {"output", "data_removed"}
            fields["data_removed"] = run.data_removed or None
        fields["metrics"] = run.metrics or None
        return _without_null(fields, absent | {"metrics"})

    def django_run(
        self, run: RunRecord, base: str, resource: str = "predictions"
    ) -> dict[str, Any]:
        """Return a prediction or training as Django shows it: null for what is not known yet."""
        fields = self._run(run, base, resource, DJANGO_DIGITS)
        fields["logs"] = run.logs or None
        if run.kind == "training":
            del fields["data_removed"]
        return _without_null(fields, {"deadline", "deployment"})

    def _run(self, run: RunRecord, base: str, resource: str, digits: int) -> dict[str, Any]:
        """Return every field of a run, null for what is not known yet."""

        def time(seconds: float | None) -> str | None:
            return None if seconds is None else self.time(seconds, digits)

        return {
            "id": run.id,
            "model": run.model.ref,
            "version": "hidden" if run.model.hidden else run.version.id,
            "input": run.shown_input,
            "logs": run.logs,
            "output": run.output,
            "data_removed": run.data_removed,
            "error": run.error,
            "status": run.status,
            "created_at": time(run.created),
            "started_at": time(run.started),
            "completed_at": time(run.completed),
            "deadline": time(run.deadline),
            "deployment": run.deployment,
            "metrics": run.metrics,
            "source": run.source,
            "urls": run_urls(run, base, resource),
        }

    def webhook_run(self, run: RunRecord) -> dict[str, Any]:
        """Return a run as the body of a webhook."""
        resource = "trainings" if run.kind == "training" else "predictions"
        return self.django_run(run, run.base, resource) | {"logs": run.logs}


def run_urls(run: RunRecord, base: str, resource: str) -> dict[str, str]:
    """Return the URLs of a run."""
    urls = {
        "cancel": f"{base}/v1/{resource}/{run.id}/cancel",
        "get": f"{base}/v1/{resource}/{run.id}",
        "web": f"https://replicate.com/p/{run.id}",
    }
    if run.stream_path:
        urls["stream"] = f"{base}{run.stream_path}"
    return urls


def _without_null(fields: dict[str, Any], absent: set[str]) -> dict[str, Any]:
    """Return *fields* without those of *absent* that are null."""
    return {
        name: value for name, value in fields.items() if value is not None or name not in absent
    }

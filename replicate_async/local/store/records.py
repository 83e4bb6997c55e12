"""Records of accounts, models, deployments, collections and runs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from replicate_async.local import ids
from replicate_async.local.clock import Clock, Timer
from replicate_async.local.models.backend import ModelBackend
from replicate_async.local.store.events import Stream
from replicate_async.schemas import without_surrogates

Kind = Literal["prediction", "training"]
Status = Literal["starting", "processing", "succeeded", "failed", "canceled", "aborted"]
WebhookEvent = Literal["start", "output", "logs", "completed"]
Listener = Callable[["RunRecord", WebhookEvent], None]

TERMINAL = frozenset({"succeeded", "failed", "canceled", "aborted"})

VERSION_ID = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,126}[a-z0-9_-])?")

# hardware.list in the service's order, then the rest of its price list.
HARDWARE: Mapping[str, str] = {
    "cpu": "CPU",
    "gpu-t4": "Nvidia T4 GPU",
    "gpu-a40-small": "Nvidia A40 GPU",
    "gpu-a40-large": "Nvidia A40 (Large) GPU",
    "gpu-l40s": "Nvidia L40S GPU",
    "gpu-a100-large": "Nvidia A100 (80GB) GPU",
    "gpu-h100": "Nvidia H100 GPU",
}


@dataclass
class Account:
    """A user or an organization."""

    username: str
    name: str
    type: str = "user"
    organizations: set[str] = field(default_factory=set[str])
    webhook_key: str = field(default_factory=ids.webhook_secret, repr=False)

    def owns(self, owner: str) -> bool:
        """Return whether this account may change records of *owner*."""
        return owner == self.username or owner in self.organizations


@dataclass(eq=False)
class Version:
    """A version of a model, and the backend that runs it."""

    id: str
    backend: ModelBackend
    created: float
    run_by: set[str] = field(default_factory=set[str])
    """Accounts that have run it."""
    trained: bool = False
    """Whether a training started from it."""


@dataclass
class Model:
    """A model and its versions, oldest first."""

    owner: str
    name: str
    created: float
    description: str | None = None
    visibility: str = "public"
    hardware: str = "cpu"
    official: bool = False
    hidden: bool = False
    """Whether predictions show "hidden" for the version, as those of official models may."""
    links: dict[str, str | None] = field(default_factory=dict[str, "str | None"])
    """Values of github_url, paper_url, license_url, weights_url and cover_image_url."""
    readme: str | None = None
    run_count: int = 0
    versions: dict[str, Version] = field(default_factory=dict[str, Version])
    example_inputs: Sequence[Mapping[str, Any]] = ()
    examples: list[RunRecord] = field(default_factory=list["RunRecord"])

    @property
    def ref(self) -> str:
        """The model as clients name it, "owner/name"."""
        return f"{self.owner}/{self.name}"

    @property
    def latest(self) -> Version | None:
        """The newest version."""
        return next(reversed(self.versions.values()), None)

    @property
    def updated(self) -> float:
        """When the newest version was made, or the model where there is none."""
        return self.latest.created if self.latest else self.created


def visible(model: Model, account: Account) -> bool:
    """Return whether *account* may see and run *model*."""
    return model.visibility == "public" or account.owns(model.owner)


@dataclass(frozen=True)
class Release:
    """The version and hardware of a deployment."""

    number: int
    model: Model
    version: Version
    created: float
    created_by: Account
    hardware: str
    min_instances: int
    max_instances: int


@dataclass
class Deployment:
    """A version with a name of its own; each change is a release."""

    owner: str
    name: str
    created: float
    releases: list[Release]
    used: float | None = None
    """When it last ran."""

    @property
    def ref(self) -> str:
        """The deployment as clients name it, "owner/name"."""
        return f"{self.owner}/{self.name}"

    @property
    def release(self) -> Release:
        """The current release."""
        return self.releases[-1]


@dataclass
class Collection:
    """A named list of models."""

    slug: str
    name: str
    description: str
    models: list[Model]
    full_description: str | None = None


@dataclass(eq=False)
class RunRecord:
    """A prediction or a training."""

    id: str
    kind: Kind
    account: Account
    model: Model
    version: Version
    input: Mapping[str, Any]
    """The input for the model."""
    shown_input: Mapping[str, Any]
    """The input for the API, without secrets."""
    base: str
    """Scheme and host of the create, for URLs in webhooks and outputs."""
    created: float
    clock: Clock
    stream: Stream | None = None
    stream_path: str = ""
    deployment: str | None = None
    destination: Model | None = None
    webhook: str | None = None
    webhook_events: Sequence[WebhookEvent] = ("output", "completed")
    source: str = "api"
    deadline: float | None = None
    status: Status = "starting"
    output: Any = None
    error: str | None = None
    started: float | None = None
    completed: float | None = None
    data_removed: bool = False
    metrics: dict[str, Any] = field(default_factory=dict[str, Any])
    files: list[str] = field(default_factory=list[str])
    """Paths of the output files."""
    task: asyncio.Task[None] | None = None
    timers: list[Timer] = field(default_factory=list[Timer])
    listeners: list[Listener] = field(default_factory=list[Listener])
    first_output: float | None = None
    outputs: int = 0
    _logs: list[str] = field(default_factory=list[str])
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def terminal(self) -> bool:
        """Whether it has ended."""
        return self.status in TERMINAL

    @property
    def logs(self) -> str:
        """All log lines as one text."""
        if len(self._logs) > 1:
            self._logs[:] = ["".join(self._logs)]
        return self._logs[0] if self._logs else ""

    def begin(self) -> None:
        """Set it to processing."""
        self.started = self.clock.now()
        self.status = "processing"
        self._emit("start")

    def log(self, text: str, *, on_stream: bool) -> None:
        """Add *text* to the logs."""
        if self.terminal or not text:
            return
        text = without_surrogates(text)
        self._logs.append(text)
        if self.stream is not None and on_stream:
            self.stream.send("logs", text)
        self._emit("logs")

    def add_output(self, value: Any, *, part: bool) -> None:
        """Add an output: *part* of a list, or the whole."""
        if self.terminal:
            return
        if self.first_output is None:
            self.first_output = self.clock.now()
        self.outputs += 1
        value = without_surrogates(value)
        if part:
            parts: list[Any] = [] if self.output is None else self.output
            parts.append(value)
            self.output = parts
        else:
            self.output = value
        if self.stream is not None:
            self.stream.send("output", value if isinstance(value, str) else _json(value))
        self._emit("output")

    def finish(self, status: Status, error: str | None = None) -> None:
        """End it with *status*; ignored once it has ended."""
        if self.terminal:
            return
        self.completed = self.clock.now()
        self.status = status
        self.error = without_surrogates(error)
        self.measure()
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()
        if self.stream is not None:
            if status == "failed":
                self.stream.end("error", self.error or "")
            else:
                self.stream.end("succeeded" if status == "succeeded" else "canceled")
        self._emit("completed")
        self.listeners.clear()

    def measure(self) -> None:
        """Set the metrics of time of a run that has ended."""
        if self.completed is None:
            return
        if self.started is not None:
            self.metrics["predict_time"] = round(self.completed - self.started, 6)
        self.metrics["total_time"] = round(self.completed - self.created, 6)

    def remove_data(self) -> None:
        """Remove input, output and logs, as the service does an hour after the end."""
        self.data_removed = True
        self.input = self.shown_input = {}
        self.output = None
        self._logs.clear()
        if self.stream is not None:
            self.stream.forget()

    async def changed(self) -> None:
        """Wait for the next change."""
        await self._changed.wait()

    def notify(self) -> None:
        """Wake the waiters."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _emit(self, event: WebhookEvent) -> None:
        self.notify()
        for listener in self.listeners:
            listener(self, event)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()

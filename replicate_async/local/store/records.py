"""Runs: predictions and trainings from their creation to a terminal state and beyond."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from replicate_async.local.clock import Clock, Timer
from replicate_async.local.store.events import Stream
from replicate_async.local.store.store import Account, Model, Version
from replicate_async.schemas import without_surrogates

Kind = Literal["prediction", "training"]
Status = Literal["starting", "processing", "succeeded", "failed", "canceled", "aborted"]
WebhookEvent = Literal["start", "output", "logs", "completed"]
Listener = Callable[["Run", WebhookEvent], None]

TERMINAL = frozenset({"succeeded", "failed", "canceled", "aborted"})


@dataclass(eq=False)
class Run:
    """A prediction, or a training, which is one with another ending."""

    id: str
    kind: Kind
    account: Account
    model: Model
    version: Version
    input: Mapping[str, Any]
    """What the model gets."""
    shown_input: Mapping[str, Any]
    """What the API shows of it: no secrets."""
    base: str
    """Scheme and host of the request that made it, for URLs that no request asks for."""
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
        """Whether it has come to an end."""
        return self.status in TERMINAL

    @property
    def logs(self) -> str:
        """Everything that was logged."""
        if len(self._logs) > 1:
            self._logs[:] = ["".join(self._logs)]
        return self._logs[0] if self._logs else ""

    def begin(self) -> None:
        """Note that the model has begun."""
        self.started = self.clock.now()
        self.status = "processing"
        self._tell("start")

    def log(self, text: str, *, on_stream: bool) -> None:
        """Add *text* to the logs."""
        if self.terminal or not text:
            return
        text = without_surrogates(text)
        self._logs.append(text)
        if self.stream is not None and on_stream:
            self.stream.send("logs", text)
        self._tell("logs")

    def put(self, value: Any, *, part: bool) -> None:
        """Add an output: *part* of a list, or all there is."""
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
        self._tell("output")

    def finish(self, status: Status, error: str | None = None) -> None:
        """Note the end; only the first counts."""
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
        self._tell("completed")
        self.listeners.clear()

    def measure(self) -> None:
        """Note in the metrics how long a run took that has ended."""
        if self.completed is None:
            return
        if self.started is not None:
            self.metrics["predict_time"] = round(self.completed - self.started, 6)
        self.metrics["total_time"] = round(self.completed - self.created, 6)

    def remove_data(self) -> None:
        """Forget input, output and logs, as the service does an hour after the end."""
        self.data_removed = True
        self.input = self.shown_input = {}
        self.output = None
        self._logs.clear()
        if self.stream is not None:
            self.stream.forget()

    async def changed(self) -> None:
        """Wait until something happens to it."""
        await self._changed.wait()

    def nudge(self) -> None:
        """Wake everybody who waits for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _tell(self, event: WebhookEvent) -> None:
        self.nudge()
        for listener in self.listeners:
            listener(self, event)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()

"""Webhooks: signed, filtered and throttled; those about an end are retried."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from replicate_async.core.webhook import decode_secret, sign
from replicate_async.local import ids
from replicate_async.local.clock import Clock
from replicate_async.local.runtime.fetcher import Fetcher
from replicate_async.local.runtime.outbound_hosts import OutboundHosts
from replicate_async.local.settings import Settings
from replicate_async.local.store.records import RunRecord, WebhookEvent

_BACKLOG = 16
_FIRST_DELAY = 1.0


@dataclass(frozen=True)
class Attempt:
    """One attempt to call a webhook; *status* is None without an answer."""

    run_id: str
    event: WebhookEvent
    url: str
    message_id: str
    status: int | None
    error: str | None = None


@dataclass(frozen=True)
class _Message:
    event: WebhookEvent
    body: bytes
    id: str


class WebhookSender:
    """Sends the webhooks of runs."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        hosts: OutboundHosts,
        fetcher: Fetcher,
        view: Callable[[RunRecord], dict[str, Any]],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._hosts = hosts
        self._fetcher = fetcher
        self._view = view
        self._tasks: set[asyncio.Task[None]] = set()
        self.attempts: deque[Attempt] = deque(maxlen=1000)
        """The last 1,000 attempts."""

    def attach(self, run: RunRecord) -> None:
        """Send webhooks for the events of *run*, if it names a URL."""
        if run.webhook is None:
            return
        sender = _RunWebhook(self, run)
        run.listeners.append(sender.on_event)
        task = asyncio.create_task(sender.send_all())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Drop unsent webhooks."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def compose(self, run: RunRecord, event: WebhookEvent) -> _Message:
        """Return the message for *event*, with *run* as it is now."""
        return _Message(event, msgspec.json.encode(self._view(run)), ids.message_id())

    def is_early(self, last: float) -> bool:
        """Return whether the throttle forbids output or logs so soon after *last*."""
        return self._clock.now() - last < self._settings.webhook_throttle

    def now(self) -> float:
        """Return the time."""
        return self._clock.now()

    async def deliver(self, run: RunRecord, message: _Message) -> None:
        """Send a message; one about the end is retried for about a minute."""
        delay = _FIRST_DELAY
        waited = 0.0
        while not await self._attempt(run, message):
            span = self._settings.webhook_retry_span
            if message.event != "completed" or waited + delay > span:
                return
            await self._clock.sleep(delay)
            waited += delay
            delay *= 2

    async def _attempt(self, run: RunRecord, message: _Message) -> bool:
        status, error = None, None
        try:
            status = await self._post(run, message)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as failure:
            error = f"{type(failure).__name__}: {failure}"
        self.attempts.append(
            Attempt(run.id, message.event, run.webhook or "", message.id, status, error)
        )
        return status is not None and 200 <= status < 300

    async def _post(self, run: RunRecord, message: _Message) -> int:
        url = URL(run.webhook or "")
        if not self._hosts.allows(url):
            raise ValueError(f"webhooks to {url.host} are not allowed by this server's settings")
        timestamp = int(self._clock.now())
        key = decode_secret(run.account.webhook_key)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "replicate-async-local",
            "webhook-id": message.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(key, message.id, timestamp, message.body),
        }
        async with self._fetcher.session.post(
            url,
            data=message.body,
            headers=headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=self._settings.webhook_timeout),
        ) as response:
            return response.status


class _RunWebhook:
    """The webhook of one run: messages in order, one at a time."""

    def __init__(self, webhooks: WebhookSender, run: RunRecord) -> None:
        self._webhooks = webhooks
        self._run = run
        self._waiting: asyncio.Queue[_Message] = asyncio.Queue()
        self._last: dict[WebhookEvent, float] = {}

    def on_event(self, run: RunRecord, event: WebhookEvent) -> None:
        """Queue a message, unless the run's filter or the throttle drops it."""
        if event == "completed" and event not in run.webhook_events:
            self._waiting.put_nowait(_Message("completed", b"", ""))
            return
        if event not in run.webhook_events:
            return
        if event in {"output", "logs"}:
            early = self._webhooks.is_early(self._last.get(event, 0.0))
            if early or self._waiting.qsize() >= _BACKLOG:
                return
            self._last[event] = self._webhooks.now()
        self._waiting.put_nowait(self._webhooks.compose(run, event))

    async def send_all(self) -> None:
        """Send the messages, up to the one about the end."""
        while True:
            message = await self._waiting.get()
            if message.body:
                await self._webhooks.deliver(self._run, message)
            if message.event == "completed":
                return

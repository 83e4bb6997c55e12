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
    """A webhook: its id and body are the same at each attempt."""

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
        self.settings = settings
        self.clock = clock
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
        webhook = _RunWebhook(self, run)
        run.listeners.append(webhook.on_event)
        task = asyncio.create_task(webhook.send_all())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Drop unsent webhooks."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def message(self, run: RunRecord, event: WebhookEvent) -> _Message:
        """Return the message for *event*, with *run* as it is now."""
        return _Message(event, msgspec.json.encode(self._view(run)), ids.message_id())

    async def send(self, run: RunRecord, message: _Message) -> None:
        """Send a message; one about the end is retried for about a minute."""
        delay = _FIRST_DELAY
        waited = 0.0
        while not await self._attempt(run, message):
            span = self.settings.webhook_retry_span
            if message.event != "completed" or waited + delay > span:
                return
            await self.clock.sleep(delay)
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
        timestamp = int(self.clock.now())
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
            timeout=aiohttp.ClientTimeout(total=self.settings.webhook_timeout),
        ) as response:
            return response.status


class _RunWebhook:
    """The webhook of one run: messages in order, one at a time."""

    def __init__(self, sender: WebhookSender, run: RunRecord) -> None:
        self._sender = sender
        self._run = run
        self._queue: asyncio.Queue[_Message | None] = asyncio.Queue()
        self._last: dict[WebhookEvent, float] = {}

    def on_event(self, run: RunRecord, event: WebhookEvent) -> None:
        """Queue a message, unless the run's filter or the throttle drops it."""
        if event in run.webhook_events and self._passes_throttle(event):
            self._queue.put_nowait(self._sender.message(run, event))
        if event == "completed":
            self._queue.put_nowait(None)

    async def send_all(self) -> None:
        """Send the messages, up to the end of the run."""
        while (message := await self._queue.get()) is not None:
            await self._sender.send(self._run, message)

    def _passes_throttle(self, event: WebhookEvent) -> bool:
        if event not in {"output", "logs"}:
            return True
        now = self._sender.clock.now()
        early = now - self._last.get(event, 0.0) < self._sender.settings.webhook_throttle
        if early or self._queue.qsize() >= _BACKLOG:
            return False
        self._last[event] = now
        return True

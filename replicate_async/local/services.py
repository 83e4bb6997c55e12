"""The services of one embedded server, put together."""

from __future__ import annotations

from replicate_async.local.clock import Clock
from replicate_async.local.faults import Faults
from replicate_async.local.runtime.fetcher import Fetcher
from replicate_async.local.runtime.outbound_hosts import OutboundHosts
from replicate_async.local.runtime.runner import Runner
from replicate_async.local.runtime.webhook_sender import WebhookSender
from replicate_async.local.serializers import Serializers
from replicate_async.local.settings import Settings
from replicate_async.local.store.records import RunRecord
from replicate_async.local.store.store import Store


class Services:
    """The settings, clock, store, serializers, webhooks and runner of a server."""

    def __init__(self, settings: Settings, faults: Faults) -> None:
        self.settings = settings
        self.faults = faults
        self.clock: Clock = Clock()
        self.store: Store = Store(settings, self.clock)
        self.serializers: Serializers = Serializers(settings)
        hosts = OutboundHosts(settings.allow_hosts)
        self._fetcher = Fetcher(hosts, settings.max_file)
        self.webhooks: WebhookSender = WebhookSender(
            settings, self.clock, hosts, self._fetcher, self.serializers.webhook_run
        )
        self.runner: Runner = Runner(settings, self.clock, self.store, self._fetcher)

    def start(self, run: RunRecord) -> None:
        """Keep *run*, send its webhooks and queue it."""
        self.store.add_run(run)
        self.webhooks.attach(run)
        self.runner.submit(run)

    async def close(self) -> None:
        """Cancel runs, drop unsent webhooks, remove files and forget timers."""
        await self.runner.close()
        self.store.streams.close()
        await self.webhooks.close()
        await self._fetcher.close()
        await self.store.files.close()
        self.clock.close()

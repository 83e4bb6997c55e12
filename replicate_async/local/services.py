"""The parts of a server, put together."""

from __future__ import annotations

from replicate_async.local.clock import Clock
from replicate_async.local.http.fault_injection import Faults
from replicate_async.local.http.rate_limit import RateLimiter
from replicate_async.local.operations.serializers import Views
from replicate_async.local.runtime.outbound_hosts import Guard
from replicate_async.local.runtime.run_handle import Fetcher
from replicate_async.local.runtime.runner import Runner
from replicate_async.local.runtime.webhook_sender import Webhooks
from replicate_async.local.settings import Settings
from replicate_async.local.store.events import Streams
from replicate_async.local.store.files import FileStore
from replicate_async.local.store.records import Run
from replicate_async.local.store.run_archive import ExpiredRun, RunArchive
from replicate_async.local.store.store import State


class Backend:
    """Everything that answers requests, without the HTTP."""

    def __init__(self, settings: Settings, faults: Faults) -> None:
        self.settings = settings
        self.faults = faults
        self.clock: Clock = Clock()
        self.files: FileStore = FileStore(self.clock, settings.file_expiry, settings.stored_files)
        self.state: State = State(self.clock, self.files)
        self.views: Views = Views(settings)
        self.limiter: RateLimiter = RateLimiter(settings.rate_limits, self.clock)
        self.streams: Streams = Streams(
            self.clock, idle_timeout=settings.stream_idle_timeout, linger=settings.stream_linger
        )
        guard = Guard(settings.allow_hosts)
        self.fetcher: Fetcher = Fetcher(guard, settings.max_file)
        self.webhooks: Webhooks = Webhooks(
            settings, self.clock, guard, self.fetcher, self.views.webhook_run
        )
        self.runner: Runner = Runner(settings, self.clock, self.files, self.fetcher, self._expire)
        self._archive = RunArchive(self.clock, self.streams.token)

    def whole(self, id: str, run: Run | ExpiredRun) -> Run:
        """Return the run *id*, which may have been packed since it expired."""
        return self._archive.restore(id, run) if isinstance(run, ExpiredRun) else run

    def _expire(self, run: Run) -> None:
        """Remove the data of *run*, and keep of it what the API still shows."""
        run.remove_data()
        for path in run.files:
            self.files.withdraw(path)
        self.streams.forget(run.stream_path)
        if run.id in self.state.runs:
            self.state.runs[run.id] = self._archive.pack(run)

    async def close(self) -> None:
        """Cancel runs, give up webhooks, forget timers."""
        await self.runner.close()
        self.streams.close()
        await self.webhooks.close()
        await self.fetcher.close()
        await self.files.close()
        self.clock.close()

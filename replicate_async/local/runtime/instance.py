"""A version's backend on this server: set up once, with a number of slots."""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple

from replicate_async.local.models.backend import ModelBackend

logger: logging.Logger = logging.getLogger("replicate_async.local.setup")


class SetupError(Exception):
    """A failed `setup`; the cause is its error."""

    def __init__(self, logs: str) -> None:
        super().__init__("the model's setup failed")
        self.logs = logs


class _Failure(NamedTuple):
    error: Exception
    logs: str


class Instance:
    """A backend, its setup and its slots."""

    def __init__(self, backend: ModelBackend, concurrency: int) -> None:
        self.slots: asyncio.Semaphore = asyncio.Semaphore(backend.concurrency or concurrency)
        self._backend = backend
        self._setup: asyncio.Task[_Failure | None] | None = None

    async def ready(self) -> None:
        """Wait until the backend is set up, if it needs that; the first call sets it up.

        Raises `SetupError` in every call that waits when the setup fails; the next call tries
        again. A cancelled call leaves the setup to the others.
        """
        if not self._backend.needs_setup:
            return
        if self._setup is None:
            self._setup = asyncio.create_task(self._set_up())
        task = self._setup
        if not task.done():
            await asyncio.wait({task})
        if failure := task.result():
            raise SetupError(failure.logs) from failure.error

    async def close(self) -> None:
        """Cancel a setup, or close the backend that was set up."""
        task, self._setup = self._setup, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait({task})
        if task.cancelled() or task.exception() or task.result():
            return
        try:
            await self._backend.aclose()
        except Exception:
            logger.exception("aclose() of version %s failed", self._backend.version_id)

    async def _set_up(self) -> _Failure | None:
        lines: list[str] = []
        try:
            await self._backend.setup(lines.append)
        except BaseException as error:
            self._setup = None
            if isinstance(error, Exception):
                return _Failure(error, "".join(lines))
            raise
        logger.info("version %s is set up\n%s", self._backend.version_id, "".join(lines))
        return None

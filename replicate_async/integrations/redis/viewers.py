"""The viewers of predictions, counted by all processes that use the same Redis.

The state is one sorted set of predictions with the time at which each is cancelled, and one hash
with the leases of the processes that stream it, by the clock of Redis. Both have the same hash tag.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from contextlib import suppress
from time import monotonic
from typing import Any, Final, Literal, Self, TypeAlias, cast
from uuid import uuid4

from redis import exceptions
from redis.asyncio import Redis

from replicate_async.arguments import check_seconds
from replicate_async.client import Replicate
from replicate_async.core.backoff import backoff
from replicate_async.core.tasks import run_within
from replicate_async.errors import (
    BadRequestError,
    NotFoundError,
    ReplicateError,
    UnprocessableEntityError,
)
from replicate_async.integrations.redis.connection import ANSWER, connect, load_script
from replicate_async.runs.run import CANCEL_WITHIN
from replicate_async.web.viewers import GRACE_PERIOD, Viewers

_log = logging.getLogger("replicate_async")

_Change: TypeAlias = Literal["view", "leave", "forget"]
_VIEW: Final[_Change] = "view"
_LEAVE: Final[_Change] = "leave"
_FORGET: Final[_Change] = "forget"

# Arguments: the process; lease, grace period and retry in milliseconds; the number of this call;
# and pairs of a change and a prediction. Times are of a clock that stands still while no process
# reaches Redis, so that no lease ends in an outage; no prediction is cancelled for half a lease
# after one: processes return with their next renewal, a quarter of a lease and some round trips
# later. A lease is its end and the number of the call that renewed it: a Redis that stood still may
# run an earlier call later, which must not end it.
_SYNC: Final = """
local time = redis.call('TIME')
local real = time[1] * 1000 + math.floor(time[2] / 1000)
local lease, grace, retry = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local process, call = ARGV[1], tonumber(ARGV[5])
local last, now, hold = unpack(cjson.decode(redis.call('HGET', KEYS[2], '') or '[0,0,0]'))
if real - last > lease / 2 then
    hold = now + lease / 2
else
    now = now + math.max(0, real - last)
end
for i = 6, #ARGV, 2 do
    local change, id = ARGV[i], ARGV[i + 1]
    if change == 'forget' then
        redis.call('ZREM', KEYS[1], id)
        redis.call('HDEL', KEYS[2], id)
    else
        local leases = cjson.decode(redis.call('HGET', KEYS[2], id) or '{}')
        local own = leases[process]
        if not own or own[2] <= call then
            leases[process] = change == 'view' and {now + lease, call} or nil
        end
        local held, ends = {}, now
        for each, value in pairs(leases) do
            if value[1] > now then
                held[each], ends = value, math.max(ends, value[1])
            end
        end
        redis.call('HSET', KEYS[2], id, cjson.encode(held))
        redis.call('ZADD', KEYS[1], ends + grace, id)
    end
end
local answer = {0}
if now >= hold then
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 100)) do
        redis.call('ZADD', KEYS[1], now + retry, id)
        table.insert(answer, id)
    end
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
answer[1] = math.ceil(math.max(hold, first[2] and tonumber(first[2]) or now + lease) - now)
redis.call('HSET', KEYS[2], '', cjson.encode({real, now, hold}))
redis.call('PEXPIRE', KEYS[1], 86400000)
redis.call('PEXPIRE', KEYS[2], 86400000)
return answer
"""

_GONE: Final = (BadRequestError, NotFoundError, UnprocessableEntityError)
"""Errors after which another cancel of the same prediction is of no use."""
_LEASE: Final = 30.0
_LEAST_LEASE: Final = 0.1
_RENEWALS: Final = 4
"""How often a lease is renewed in its time."""
_RETRY: Final = 2 * CANCEL_WITHIN
"""Seconds after which a cancel that has not succeeded is tried again, by any process."""
_FIRST_RETRY: Final = 0.05
_LAST_RETRY: Final = 1.0


class RedisViewers(Viewers):
    """`Viewers` that count the browsers of all processes with the same *key* in the same Redis.

    A prediction is cancelled when no browser of any process has streamed it for *grace_period*
    seconds, by one of the processes. A process that is killed has its viewers until its *lease*
    ends; another process cancels then. While Redis is out, streams go on and nothing is cancelled.

    Enter it in the lifespan of the application. `aclose` waits for the grace period of predictions
    whose last viewer has just left.

    Args:
        client: Cancels the predictions.
        url_or_client: A URL ("redis://", "rediss://", "unix://"), or a ``redis.asyncio.Redis``,
            which stays open.
        grace_period: Seconds that a page may take to reconnect, to any process; 3.
        lease: Seconds after which a process that neither closed nor reached Redis has no viewers
            any more, from 0.1; 30. Use the same in all processes.
        key: Names the account; "replicate".

    Raises:
        InvalidArgumentError: An argument is out of range.
    """

    def __init__(
        self,
        client: Replicate,
        url_or_client: str | Redis,
        *,
        grace_period: float = GRACE_PERIOD,
        lease: float = _LEASE,
        key: str = "replicate",
    ) -> None:
        check_seconds("lease", lease, _LEAST_LEASE)
        super().__init__(client, grace_period=grace_period)
        self._lease = lease
        self._owns_redis = isinstance(url_or_client, str)
        self._redis = connect(url_or_client)
        self._script = load_script(self._redis, _SYNC)
        self._keys = [f"{{{key}}}:viewers", f"{{{key}}}:viewers:leases"]
        self._process = uuid4().hex
        self._calls = 0
        self._changes: dict[str, _Change] = {}
        self._changed = asyncio.Event()
        self._renew_at = -math.inf
        self._grace_ends = -math.inf
        self._syncing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def aclose(self) -> None:
        """Give all leases up, and cancel predictions whose grace period ends without a viewer."""
        self._closed = True
        for prediction_id in self._viewers:
            self._changes[prediction_id] = _LEAVE
        self._viewers.clear()
        try:
            if self._syncing is not None:
                await self._end(self._syncing)
        finally:
            if self._syncing is not None:
                self._syncing.cancel()
                await asyncio.wait({self._syncing})
            if self._owns_redis:
                await self._redis.aclose()

    async def _end(self, syncing: asyncio.Task[None]) -> None:
        """Send the last changes, and cancel predictions at the end of their grace period."""
        self._changed.set()
        await asyncio.wait({syncing}, timeout=ANSWER + _LAST_RETRY)
        syncing.cancel()
        await asyncio.wait({syncing})
        with suppress(exceptions.RedisError, OSError):
            await self._sync()
            await asyncio.sleep(max(0.0, self._grace_ends - monotonic()))
            await self._sync()
            if self._cancelling:
                await asyncio.wait(self._cancelling)
                await self._sync()

    def _first_joined(self, prediction_id: str) -> None:
        self._change(prediction_id, _VIEW)

    def _last_left(self, prediction_id: str, *, finished: bool = False) -> None:
        self._change(prediction_id, _FORGET if finished else _LEAVE)

    def _change(self, prediction_id: str, change: _Change) -> None:
        self._changes[prediction_id] = change
        self._changed.set()
        self._start()

    def _start(self) -> None:
        if self._syncing is None and not self._closed:
            self._syncing = asyncio.create_task(self._sync_forever())

    async def _sync_forever(self) -> None:
        """Send changes at once, renew leases, and cancel predictions when they are due."""
        failures = 0
        while not self._closed:
            self._changed.clear()
            try:
                pause = await self._sync()
                failures = 0
            except (exceptions.RedisError, OSError) as error:
                if not failures:
                    _log.warning(
                        "Redis does not answer, and no prediction is cancelled: %s",
                        type(error).__name__,
                    )
                failures += 1
                jitter = random.random()  # noqa: S311 - jitter is no secret
                await asyncio.sleep(
                    backoff(failures, base=_FIRST_RETRY, cap=_LAST_RETRY, jitter=jitter)
                )
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._changed.wait()

    async def _sync(self) -> float:
        """Send changes, renew leases that are due, and cancel predictions that are.

        Returns the seconds until the next call. Raises the error of Redis, or `TimeoutError`.
        """
        began = monotonic()
        changes: dict[str, _Change] = {}
        renews = began >= self._renew_at
        if renews:
            changes.update(dict.fromkeys(self._viewers, _VIEW))
        changes.update(self._changes)
        self._changes = {}
        self._calls += 1
        times = (f"{1000 * each:.0f}" for each in (self._lease, self._grace_period, _RETRY))
        pairs = (text for name, change in changes.items() for text in (change, name))
        try:
            async with asyncio.timeout(ANSWER):
                answer = await self._script(
                    keys=self._keys, args=[self._process, *times, self._calls, *pairs]
                )
        except BaseException:
            self._changes = changes | self._changes
            raise
        wait, *due = cast("list[Any]", answer)
        if renews:
            self._renew_at = began + self._lease / _RENEWALS
        if _LEAVE in changes.values():
            self._grace_ends = monotonic() + self._grace_period
        for name in due:
            self._cancel(name.decode() if isinstance(name, bytes) else name)
        return min(float(wait) / 1000, self._renew_at - monotonic())

    async def _cancel_run(self, prediction_id: str) -> None:
        """Cancel a prediction; after a failure, the first process to see it due tries again."""
        try:
            await run_within(CANCEL_WITHIN, self._client.predictions.cancel(prediction_id))
        except _GONE:
            pass
        except (ReplicateError, TimeoutError) as error:
            _log.warning(
                "A prediction without viewers is not cancelled yet: %s", type(error).__name__
            )
            return
        self._change(prediction_id, _FORGET)

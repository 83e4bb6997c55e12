"""Connecting to Redis, and scripts that run in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from replicate_async.errors import InvalidArgumentError

ANSWER: Final = 5.0
"""Seconds that Redis has for an answer."""

Script: TypeAlias = Callable[..., Awaitable[object]]
"""Called with ``keys=`` and ``args=``."""


def connect(given: str | Redis) -> Redis:
    """Return a client for a URL, without retries of its own; a client is returned as it is."""
    if isinstance(given, Redis):
        return given
    try:
        # Its own types differ from release to release.
        client: Redis = cast("Any", Redis).from_url(
            given,
            socket_timeout=ANSWER,
            socket_connect_timeout=ANSWER,
            retry=Retry(NoBackoff(), 0),  # callers retry
        )
    except (ValueError, AttributeError, TypeError):
        pass
    else:
        return client
    del given  # there may be a password in it, and tracebacks may be printed with their locals
    raise InvalidArgumentError(
        "Redis needs a URL with redis:, rediss: or unix:, or a redis.asyncio.Redis."
    )


def load_script(redis: Redis, text: str) -> Script:
    """Return a Lua script as a function, which sends its text when Redis does not know it."""
    script: Script = cast("Any", redis).register_script(text)
    return script

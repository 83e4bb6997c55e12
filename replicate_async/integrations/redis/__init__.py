"""What several processes share through Redis: one rate limit, and the viewers of predictions.

async with RedisLimiter("redis://localhost") as limiter, Replicate(limiter=limiter) as client:
    async with RedisViewers(client, "redis://localhost") as viewers:
        ...
"""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("redis") is None:
    raise ImportError("This needs redis: pip install 'replicate-async[redis]'.")

from replicate_async.integrations.redis.limiter import RedisLimiter
from replicate_async.integrations.redis.viewers import RedisViewers

__all__ = ["RedisLimiter", "RedisViewers"]

"""One of several workers: a web application whose viewers are counted in Redis.

Arguments: the port, the URL of Redis, the key, the grace period and the lease in seconds.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TypedDict

import uvicorn
from fastapi import FastAPI, Request

from replicate_async import Replicate
from replicate_async.integrations.redis import RedisViewers
from replicate_async.web import Viewers, resume_point
from replicate_async.web.starlette import SSEResponse


class State(TypedDict):
    client: Replicate
    viewers: Viewers


def make_app(url: str, key: str, grace_period: float, lease: float) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[State]:
        async with (
            Replicate() as client,
            RedisViewers(client, url, grace_period=grace_period, lease=lease, key=key) as viewers,
        ):
            yield {"client": client, "viewers": viewers}

    app = FastAPI(lifespan=lifespan)

    @app.post("/runs", status_code=201)
    async def create(request: Request) -> dict[str, str]:
        client: Replicate = request.state.client
        prediction = await client.predictions.create("acme/counting", {})
        request.state.viewers.track(prediction)
        return {"id": prediction.id}

    @app.get("/runs/{prediction_id}/events", response_class=SSEResponse)
    async def events(prediction_id: str, request: Request) -> SSEResponse:
        point = resume_point(request.headers, request.query_params, prediction_id=prediction_id)
        return SSEResponse(request.state.viewers.stream(prediction_id, resume=point), resume=point)

    return app


if __name__ == "__main__":
    port, url, key, grace_period, lease = sys.argv[1:]
    app = make_app(url, key, float(grace_period), float(lease))
    uvicorn.run(app, port=int(port), log_level="warning", timeout_graceful_shutdown=1)

"""A story, streamed with Litestar; the prediction is cancelled when the reader leaves.

pip install replicate-async litestar uvicorn
python docs/examples/litestar_recipe.py --local      # needs no account
curl -N -X POST 'http://127.0.0.1:8000/story?prompt=The+sea'
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import uvicorn
from litestar import Litestar, Request, Response, post
from litestar.datastructures import State
from litestar.params import FromQuery
from litestar.response import Stream

from replicate_async import Replicate, ReplicateError
from replicate_async.local import LocalReplicate
from replicate_async.web import (
    SSE_HEADERS,
    StreamShutdown,
    Viewers,
    ViewerStream,
    error_headers,
    error_status,
    public_message,
    request_refusal,
    to_sse,
)


def make_app(client: Replicate, viewers: Viewers, model: str) -> Litestar:
    shutdown = StreamShutdown()

    def own_page_only(request: Request[None, None, State]) -> Response[dict[str, str]] | None:
        # Without a login, any page that the user visits could start runs here.
        refusal = request_refusal(request.method, request.headers)
        if refusal is None:
            return None
        return Response({"detail": refusal.detail}, status_code=refusal.status)

    # Not with GET, which any page's image or link could be.
    @post("/story", status_code=200)
    async def story(prompt: FromQuery[str]) -> Stream:
        # Created here, and not in the body, so that a refusal still has a status of its own.
        prediction = await client.predictions.create(model, {"prompt": prompt})
        viewers.track(prediction)
        return Stream(body(viewers.stream(prediction), shutdown), headers=SSE_HEADERS)

    def refused(_: Request[None, None, State], error: ReplicateError) -> Response[dict[str, str]]:
        return Response(
            {"detail": public_message(error)},
            status_code=error_status(error),
            headers=error_headers(error),
        )

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncGenerator[None]:
        async with client, viewers, shutdown:
            yield

    return Litestar(
        [story],
        before_request=own_page_only,
        exception_handlers={ReplicateError: refused},
        lifespan=[lifespan],
    )


async def body(stream: ViewerStream, shutdown: StreamShutdown) -> AsyncIterator[bytes]:
    async with stream, aclosing(to_sse(stream, shutdown=shutdown)) as pieces:
        async for piece in pieces:
            yield piece


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--local", action="store_true", help="use the embedded server")
    parser.add_argument("--model", default="local/storyteller")
    parser.add_argument("--port", type=int, default=8000)
    args = parser.parse_args()

    async with AsyncExitStack() as stack:
        if args.local:
            local = await stack.enter_async_context(LocalReplicate())
            client = Replicate(local.api_token, base_url=local.url)
        else:
            client = Replicate()
        app = make_app(client, Viewers(client, grace_period=0.2), args.model)
        print(f"curl -N -X POST 'http://127.0.0.1:{args.port}/story?prompt=The+sea'", flush=True)
        config = uvicorn.Config(
            app, port=args.port, log_level="warning", timeout_graceful_shutdown=3
        )
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(main())

"""A story, streamed with Quart; the prediction is cancelled when the reader leaves.

pip install replicate-async quart
python docs/examples/quart_recipe.py --local      # needs no account
curl -N -X POST 'http://127.0.0.1:8000/story?prompt=The+sea'
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing

from quart import Quart, Response, jsonify, request

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


def make_app(client: Replicate, viewers: Viewers, model: str) -> Quart:
    app = Quart(__name__)
    shutdown = StreamShutdown()

    @app.while_serving
    async def lifespan() -> AsyncGenerator[None]:
        async with shutdown:  # after the server has set its signal handlers
            yield

    @app.before_request
    async def own_page_only() -> Response | None:
        # Without a login, any page that the user visits could start runs here.
        refusal = request_refusal(request.method, dict(request.headers))
        if refusal is None:
            return None
        response = jsonify(detail=refusal.detail)
        response.status_code = refusal.status
        return response

    @app.post("/story")  # not with GET, which any page's image or link could be
    async def story() -> Response:
        # Created here, and not in the body, so that a refusal still has a status of its own.
        prediction = await client.predictions.create(model, {"prompt": request.args["prompt"]})
        viewers.track(prediction)
        response = Response(body(viewers.stream(prediction), shutdown), headers=SSE_HEADERS)
        response.timeout = None  # a story may take longer than Quart's minute
        return response

    @app.errorhandler(ReplicateError)
    async def refused(error: ReplicateError) -> Response:
        response = jsonify(detail=public_message(error))
        response.status_code = error_status(error)
        response.headers.update(error_headers(error))
        return response

    return app


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
        await stack.enter_async_context(client)
        viewers = await stack.enter_async_context(Viewers(client, grace_period=0.2))
        app = make_app(client, viewers, args.model)
        print(f"curl -N -X POST 'http://127.0.0.1:{args.port}/story?prompt=The+sea'", flush=True)
        await app.run_task("127.0.0.1", args.port)


if __name__ == "__main__":
    asyncio.run(main())

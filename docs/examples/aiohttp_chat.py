"""A chat page on aiohttp.web whose text survives a refresh and whose runs stop when the tab closes.

    pip install replicate-async
    python docs/examples/aiohttp_chat.py --local      # needs no account
    python docs/examples/aiohttp_chat.py --model meta/meta-llama-3-8b-instruct

The page creates a prediction with POST and follows it by its id with GET: however often it
reconnects, there is one prediction. The page itself is in chat.html.
"""

from __future__ import annotations

import argparse
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from replicate_async import Replicate, ReplicateError
from replicate_async.local import LocalReplicate
from replicate_async.web import (
    Viewers,
    error_headers,
    error_status,
    public_message,
    request_refusal,
    resume_point,
)
from replicate_async.web.aiohttp import send_sse

PAGE = Path(__file__).with_name("chat.html")


class Chat:
    def __init__(
        self, client: Replicate, viewers: Viewers, model: str, options: dict[str, object]
    ) -> None:
        self.client = client
        self.viewers = viewers
        self.model = model
        self.options = options

    def app(self) -> web.Application:
        app = web.Application(middlewares=[own_page_only, refused])
        app.router.add_get("/", self.page)
        app.router.add_post("/runs", self.create)
        app.router.add_get("/runs/{id}/events", self.events)
        app.router.add_post("/runs/{id}/stop", self.stop)
        return app

    async def page(self, _: web.Request) -> web.FileResponse:
        return web.FileResponse(PAGE)

    async def create(self, request: web.Request) -> web.Response:
        ask = await request.json()
        prediction = await self.client.predictions.create(
            self.model, {"prompt": str(ask["prompt"]), **self.options}
        )
        self.viewers.track(prediction)  # in case the tab is closed before it follows
        return web.json_response({"id": prediction.id}, status=201)

    async def events(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["id"]
        point = resume_point(request.headers, request.query, prediction_id=name)
        return await send_sse(request, self.viewers.stream(name, resume=point), resume=point)

    async def stop(self, request: web.Request) -> web.Response:
        await self.client.predictions.cancel(request.match_info["id"])
        return web.Response(status=204)


@web.middleware
async def own_page_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    # Without a login, any page that the user visits could start runs here. A program that is
    # reached under another name than localhost passes that as hosts=.
    refusal = request_refusal(request.method, request.headers)
    if refusal is not None:
        return web.json_response({"detail": refusal.detail}, status=refusal.status)
    return await handler(request)


@web.middleware
async def refused(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ReplicateError as error:
        return web.json_response(
            {"detail": public_message(error)},
            status=error_status(error),
            headers=error_headers(error),
        )


async def make_app(model: str, *, local: bool) -> web.Application:
    stack = AsyncExitStack()
    options: dict[str, object] = {"max_tokens": 200}
    if local:
        server = await stack.enter_async_context(LocalReplicate())
        client = Replicate(server.api_token, base_url=server.url)
        options["delay_ms"] = 40  # the pace of a language model
    else:
        client = Replicate()
    await stack.enter_async_context(client)
    viewers = await stack.enter_async_context(Viewers(client))

    async def close(_: web.Application) -> None:
        await stack.aclose()

    app = Chat(client, viewers, model, options).app()
    app.on_cleanup.append(close)
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--local", action="store_true", help="use the embedded server")
    parser.add_argument("--model", default="local/storyteller")
    parser.add_argument("--port", type=int, default=8000)
    args = parser.parse_args()
    web.run_app(
        make_app(args.model, local=args.local),
        host="127.0.0.1",
        port=args.port,
        shutdown_timeout=1,
        access_log=None,
    )

"""A chat page on aiohttp.web whose text survives a refresh and whose runs stop when the tab closes.

    pip install replicate-async
    python docs/examples/aiohttp_chat.py --local      # needs no account
    python docs/examples/aiohttp_chat.py --model meta/meta-llama-3-8b-instruct

The page creates a prediction with POST and follows it by its id with GET: however often it
reconnects, there is one prediction. The page itself is in chat.html.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from replicate_async import Replicate, ReplicateError
from replicate_async.local import LocalReplicate
from replicate_async.web import (
    StreamShutdown,
    Viewers,
    error_headers,
    error_status,
    public_message,
    request_refusal,
    resume_point,
)
from replicate_async.web.aiohttp import send_sse

PAGE = Path(__file__).with_name("chat.html")
CLIENT = web.AppKey("client", Replicate)
VIEWERS = web.AppKey("viewers", Viewers)
SHUTDOWN = web.AppKey("shutdown", StreamShutdown)

routes = web.RouteTableDef()


@routes.get("/")
async def page(_: web.Request) -> web.FileResponse:
    return web.FileResponse(PAGE)


@routes.get("/runs/{id}/events")
async def events(request: web.Request) -> web.StreamResponse:
    name = request.match_info["id"]
    point = resume_point(request.headers, request.query, prediction_id=name)
    stream = request.app[VIEWERS].stream(name, resume=point)
    return await send_sse(request, stream, resume=point, shutdown=request.app[SHUTDOWN])


@routes.post("/runs/{id}/stop")
async def stop(request: web.Request) -> web.Response:
    await request.app[CLIENT].predictions.cancel(request.match_info["id"])
    return web.Response(status=204)


def prompt_of(messages: list[dict[str, str]]) -> str:
    """Return a conversation as one text, which most language models take."""
    if len(messages) == 1:
        return messages[0]["text"]
    turns = [f"{message['role'].title()}: {message['text']}" for message in messages]
    return "\n\n".join([*turns, "Assistant:"])


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


def make_app(model: str, *, local: bool) -> web.Application:
    options: dict[str, object] = {"max_tokens": 200}
    if local:
        options["delay_ms"] = 40  # the pace of a language model

    async def create(request: web.Request) -> web.Response:
        prompt = prompt_of((await request.json())["messages"])
        prediction = await request.app[CLIENT].predictions.create(
            model, {"prompt": prompt, **options}
        )
        # In case the tab is closed before it reads the stream.
        request.app[VIEWERS].track(prediction)
        return web.json_response({"id": prediction.id}, status=201)

    async def services(app: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if local:
                server = await stack.enter_async_context(LocalReplicate())
                client = Replicate(server.api_token, base_url=server.url)
            else:
                client = Replicate()
            app[CLIENT] = await stack.enter_async_context(client)
            app[VIEWERS] = await stack.enter_async_context(Viewers(client))
            app[SHUTDOWN] = await stack.enter_async_context(StreamShutdown())
            yield

    app = web.Application(middlewares=[own_page_only, refused])
    app.add_routes(routes)
    app.router.add_post("/runs", create)
    app.cleanup_ctx.append(services)
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
        shutdown_timeout=3,
        access_log=None,
    )

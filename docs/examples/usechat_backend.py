"""A backend on FastAPI for React's ``useChat`` (the npm package ``ai``, 5 or later).

    pip install replicate-async fastapi uvicorn
    python docs/examples/usechat_backend.py --local      # needs no account

In React, with that server behind ``/api``::

    const { messages, sendMessage, stop } = useChat({ resume: true });

``stop`` and a closed tab end the connection, and three seconds later the prediction is cancelled;
a page that was loaded again within these is told the message from its beginning.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from replicate_async import Replicate, ReplicateError
from replicate_async.local import LocalReplicate
from replicate_async.web import (
    Viewers,
    error_headers,
    error_status,
    public_message,
    request_refusal,
)
from replicate_async.web.starlette import UIMessageResponse

PAGES = ["http://localhost:3000"]  # where the React pages are, if not at this server


class Part(BaseModel):
    type: str
    text: str = ""


class Message(BaseModel):
    role: str
    parts: list[Part]

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts if part.type == "text")


class Chat(BaseModel):
    """What ``useChat`` posts: the chat's id, and all of its messages."""

    id: str
    messages: list[Message]


def own_page_only(request: Request) -> None:
    # Without a login, any page that the user visits could start runs here. A program that is
    # reached under another name than localhost passes that as hosts=.
    refusal = request_refusal(request.method, request.headers, origins=PAGES)
    if refusal is not None:
        raise HTTPException(refusal.status, refusal.detail)


def make_app(
    client: Replicate, viewers: Viewers, model: str, options: dict[str, object]
) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        async with client, viewers:
            yield

    app = FastAPI(lifespan=lifespan, dependencies=[Depends(own_page_only)])
    latest: dict[str, str] = {}  # the prediction that answers last in each chat

    @app.post("/api/chat")
    async def answer(chat: Chat) -> UIMessageResponse:
        prompt = chat.messages[-1].text
        prediction = await client.predictions.create(model, {"prompt": prompt, **options})
        viewers.track(prediction)
        latest[chat.id] = prediction.id
        return UIMessageResponse(viewers.stream(prediction))

    @app.get("/api/chat/{chat_id}/stream")
    async def resume(chat_id: str) -> Response:
        prediction = await client.predictions.get(latest[chat_id]) if chat_id in latest else None
        if prediction is None or prediction.done:
            return Response(status_code=204)  # nothing to go on with
        return UIMessageResponse(viewers.stream(prediction))

    @app.exception_handler(ReplicateError)
    async def refused(_: Request, error: ReplicateError) -> JSONResponse:
        return JSONResponse(
            {"detail": public_message(error)}, error_status(error), error_headers(error)
        )

    return app


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--local", action="store_true", help="use the embedded server")
    parser.add_argument("--model", default="local/storyteller")
    parser.add_argument("--port", type=int, default=8000)
    args = parser.parse_args()

    async with AsyncExitStack() as stack:
        options: dict[str, object] = {"max_tokens": 200}
        if args.local:
            local = await stack.enter_async_context(LocalReplicate())
            client = Replicate(local.api_token, base_url=local.url)
            options["delay_ms"] = 40  # the pace of a language model
        else:
            client = Replicate()
        app = make_app(client, Viewers(client), args.model, options)
        print(f"Listening on http://127.0.0.1:{args.port}/api/chat", flush=True)
        config = uvicorn.Config(
            app, port=args.port, log_level="warning", timeout_graceful_shutdown=1
        )
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(main())

"""A backend on FastAPI for React's ``useChat`` (the npm package ``ai``, 5 or later).

    pip install replicate-async fastapi uvicorn
    python docs/examples/usechat_backend.py --local      # needs no account

In React, with that server behind ``/api``::

    const { messages, sendMessage, stop } = useChat({ resume: true });

``stop`` and a closed tab end the connection, and three seconds later the prediction is cancelled. A
page that is loaded again within these gets the message from its beginning.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, TypedDict

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from replicate_async import Replicate, ReplicateError
from replicate_async.local import LocalReplicate
from replicate_async.web import (
    StreamShutdown,
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
    """The body of a request of ``useChat``: the id of the chat, and all of its messages."""

    id: str
    messages: list[Message] = Field(min_length=1)

    @property
    def prompt(self) -> str:
        """The conversation as one text, which most language models take."""
        if len(self.messages) == 1:
            return self.messages[0].text
        turns = [f"{message.role.title()}: {message.text}" for message in self.messages]
        return "\n\n".join([*turns, "Assistant:"])


class State(TypedDict):
    client: Replicate
    viewers: Viewers
    shutdown: StreamShutdown
    latest: dict[str, str]
    """The prediction that answers last in each chat."""


class Services:
    """The services of the application, as a dependency."""

    def __init__(self, request: Request) -> None:
        self.client: Replicate = request.state.client
        self.viewers: Viewers = request.state.viewers
        self.shutdown: StreamShutdown = request.state.shutdown
        self.latest: dict[str, str] = request.state.latest


AppServices = Annotated[Services, Depends()]


def own_page_only(request: Request) -> None:
    # Without a login, any page that the user visits could start runs here. A program that is
    # reached under another name than localhost passes that as hosts=.
    refusal = request_refusal(request.method, request.headers, origins=PAGES)
    if refusal is not None:
        raise HTTPException(refusal.status, refusal.detail)


def make_app(model: str, *, local: bool) -> FastAPI:
    options: dict[str, object] = {"max_tokens": 200}
    if local:
        options["delay_ms"] = 40  # the pace of a language model

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[State]:
        async with AsyncExitStack() as stack:
            if local:
                server = await stack.enter_async_context(LocalReplicate())
                client = Replicate(server.api_token, base_url=server.url)
            else:
                client = Replicate()
            await stack.enter_async_context(client)
            viewers = await stack.enter_async_context(Viewers(client))
            shutdown = await stack.enter_async_context(StreamShutdown())
            yield {"client": client, "viewers": viewers, "shutdown": shutdown, "latest": {}}

    app = FastAPI(lifespan=lifespan, dependencies=[Depends(own_page_only)])

    @app.post("/api/chat", response_class=UIMessageResponse)
    async def answer(chat: Chat, services: AppServices) -> UIMessageResponse:
        given = {"prompt": chat.prompt, **options}
        prediction = await services.client.predictions.create(model, given)
        services.viewers.track(prediction)
        services.latest[chat.id] = prediction.id
        stream = services.viewers.stream(prediction)
        return UIMessageResponse(stream, shutdown=services.shutdown)

    @app.get("/api/chat/{chat_id}/stream", response_class=UIMessageResponse)
    async def resume(chat_id: str, services: AppServices) -> Response:
        if chat_id not in services.latest:
            return Response(status_code=204)  # nothing to resume
        prediction = await services.client.predictions.get(services.latest[chat_id])
        if prediction.done:
            return Response(status_code=204)
        stream = services.viewers.stream(prediction)
        return UIMessageResponse(stream, shutdown=services.shutdown)

    @app.exception_handler(ReplicateError)
    async def refused(_: Request, error: ReplicateError) -> JSONResponse:
        return JSONResponse(
            {"detail": public_message(error)}, error_status(error), error_headers(error)
        )

    return app


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--local", action="store_true", help="use the embedded server")
    parser.add_argument("--model", default="local/storyteller")
    parser.add_argument("--port", type=int, default=8000)
    args = parser.parse_args()

    app = make_app(args.model, local=args.local)
    print(f"Listening on http://127.0.0.1:{args.port}/api/chat", flush=True)
    uvicorn.run(app, port=args.port, log_level="warning", timeout_graceful_shutdown=3)


if __name__ == "__main__":
    main()

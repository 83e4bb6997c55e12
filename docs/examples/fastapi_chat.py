"""A chat page on FastAPI whose text survives a refresh and whose runs stop when the tab closes.

    pip install replicate-async fastapi uvicorn
    python docs/examples/fastapi_chat.py --local      # needs no account
    python docs/examples/fastapi_chat.py --model meta/meta-llama-3-8b-instruct

The page creates a prediction with POST and follows it by its id with GET: however often it
reconnects, there is one prediction. The page itself is in chat.html.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Literal, TypedDict

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse
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
    resume_point,
)
from replicate_async.web.starlette import SSEResponse

PAGE = Path(__file__).with_name("chat.html")


class Message(BaseModel):
    role: Literal["user", "assistant"]
    text: str


class Conversation(BaseModel):
    messages: list[Message] = Field(min_length=1)

    @property
    def prompt(self) -> str:
        """The conversation as one text, which most language models take."""
        if len(self.messages) == 1:
            return self.messages[0].text
        turns = [f"{message.role.title()}: {message.text}" for message in self.messages]
        return "\n\n".join([*turns, "Assistant:"])


class Created(BaseModel):
    id: str


class State(TypedDict):
    client: Replicate
    viewers: Viewers
    shutdown: StreamShutdown


class Services:
    """The services of the application, as a dependency."""

    def __init__(self, request: Request) -> None:
        self.client: Replicate = request.state.client
        self.viewers: Viewers = request.state.viewers
        self.shutdown: StreamShutdown = request.state.shutdown


AppServices = Annotated[Services, Depends()]


def own_page_only(request: Request) -> None:
    # Without a login, any page that the user visits could start runs here. A program that is
    # reached under another name than localhost passes that as hosts=.
    refusal = request_refusal(request.method, request.headers)
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
            yield {"client": client, "viewers": viewers, "shutdown": shutdown}

    app = FastAPI(lifespan=lifespan, dependencies=[Depends(own_page_only)])

    @app.get("/")
    async def page() -> FileResponse:
        return FileResponse(PAGE)

    @app.post("/runs", status_code=201)
    async def create(conversation: Conversation, services: AppServices) -> Created:
        given = {"prompt": conversation.prompt, **options}
        prediction = await services.client.predictions.create(model, given)
        services.viewers.track(prediction)  # in case the tab is closed before it reads the stream
        return Created(id=prediction.id)

    @app.get("/runs/{prediction_id}/events", response_class=SSEResponse)
    async def events(prediction_id: str, request: Request, services: AppServices) -> SSEResponse:
        point = resume_point(request.headers, request.query_params, prediction_id=prediction_id)
        stream = services.viewers.stream(prediction_id, resume=point)
        return SSEResponse(stream, resume=point, shutdown=services.shutdown)

    @app.post("/runs/{prediction_id}/stop", status_code=204)
    async def stop(prediction_id: str, services: AppServices) -> None:
        await services.client.predictions.cancel(prediction_id)

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
    print(f"Open http://127.0.0.1:{args.port}", flush=True)
    uvicorn.run(app, port=args.port, log_level="warning", timeout_graceful_shutdown=3)


if __name__ == "__main__":
    main()

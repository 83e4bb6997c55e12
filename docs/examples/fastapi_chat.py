"""A chat page on FastAPI whose text survives a refresh and whose runs stop when the tab closes.

    pip install replicate-async fastapi uvicorn
    python docs/examples/fastapi_chat.py --local      # needs no account
    python docs/examples/fastapi_chat.py --model meta/meta-llama-3-8b-instruct

The page creates a prediction with POST and follows it by its id with GET: however often it
reconnects, there is one prediction. The page itself is in chat.html.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel

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
from replicate_async.web.starlette import SSEResponse

PAGE = Path(__file__).with_name("chat.html")


class Ask(BaseModel):
    prompt: str


class Asked(BaseModel):
    id: str


def own_page_only(request: Request) -> None:
    # Without a login, any page that the user visits could start runs here. A program that is
    # reached under another name than localhost passes that as hosts=.
    refusal = request_refusal(request.method, request.headers)
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

    @app.get("/")
    async def page() -> FileResponse:
        return FileResponse(PAGE)

    @app.post("/runs", status_code=201)
    async def create(ask: Ask) -> Asked:
        prediction = await client.predictions.create(model, {"prompt": ask.prompt, **options})
        viewers.track(prediction)  # in case the tab is closed before it follows
        return Asked(id=prediction.id)

    @app.get("/runs/{prediction_id}/events")
    async def events(prediction_id: str, request: Request) -> SSEResponse:
        point = resume_point(request.headers, request.query_params, prediction_id=prediction_id)
        return SSEResponse(viewers.stream(prediction_id, resume=point), resume=point)

    @app.post("/runs/{prediction_id}/stop", status_code=204)
    async def stop(prediction_id: str) -> None:
        await client.predictions.cancel(prediction_id)

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
        print(f"Open http://127.0.0.1:{args.port}", flush=True)
        config = uvicorn.Config(
            app, port=args.port, log_level="warning", timeout_graceful_shutdown=1
        )
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(main())

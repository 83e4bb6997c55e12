"""The embedded server by bare HTTP, so that it and the client cannot be wrong together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec
from multidict import CIMultiDictProxy

from replicate_async.local import LocalReplicate
from tests.support.waiting import HANG


@dataclass(frozen=True)
class Answer:
    """A status, headers and a body."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


class Wire:
    """Asks a server, with its token unless told otherwise."""

    def __init__(self, server: LocalReplicate) -> None:
        self.server = server
        self.session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.session.close()

    async def ask(
        self,
        method: str,
        target: str,
        *,
        json: object = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        token: str | None = "",
    ) -> Answer:
        """Send a request and return the answer; *token* None sends none."""
        url = target if "://" in target else f"{self.server.url}{target}"
        sent = dict(headers or {})
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {token or self.server.api_token}")
        if json is not None:
            data = msgspec.json.encode(json)
            sent["Content-Type"] = "application/json"
        async with self.session.request(
            method, url, data=data, headers=sent, allow_redirects=False
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def get(self, target: str, **headers: str) -> Any:
        """Return the JSON at *target*, which must be there."""
        answer = await self.ask("GET", target, headers=headers)
        assert answer.status == 200, answer.text
        return answer.json

    async def run(self, model: str, input: Mapping[str, object], **body: object) -> Any:
        """Start a prediction of the latest version of *model*."""
        version = (await self.get(f"/models/{model}"))["latest_version"]["id"]
        answer = await self.ask(
            "POST", "/predictions", json={"version": version, "input": input, **body}
        )
        assert answer.status == 201, answer.text
        return answer.json

    async def ended(self, id: str) -> Any:
        """Return the prediction *id* once it has ended."""
        while True:
            prediction = await self.get(f"/predictions/{id}")
            if prediction["status"] not in {"starting", "processing"}:
                return prediction
            await asyncio.sleep(0.005)  # below the rate limit, however long it takes

    async def finish(self, model: str, input: Mapping[str, object], **body: object) -> Any:
        """Run *model* and return the prediction once it has ended."""
        return await self.ended((await self.run(model, input, **body))["id"])


async def files_left(folder: Path, most: int = 0) -> list[Path]:
    """Return the files in *folder*, once there are no more than *most*: threads remove them."""
    async with asyncio.timeout(HANG):
        while True:
            found = await asyncio.to_thread(
                lambda: [path for path in folder.rglob("*") if path.is_file()]
            )
            if len(found) <= most:
                return found
            await asyncio.sleep(0.01)


def header(answer: Answer, name: str) -> str | None:
    """Return a header of *answer*."""
    return answer.headers.get(name)

"""An API of one or more predictions whose streams break as a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from replicate_async import Limits, Poll, Replicate, Retry, Timeout
from replicate_async.core.sse import encode
from tests.support.fault_server import FaultServer
from tests.support.replies import json_answer, prediction, problem, stream_answer
from tests.support.sentinel import TOKEN
from tests.support.waiting import HANG
from tests.support.wire import Answer, Ending, Request

QUICK: Final = Poll(first=0.001, starting=0.001, processing=0.001)


@dataclass
class Run:
    """One prediction: its events on the wire, and the fate of each connection.

    *answers* gets the number of the connection, from 0, and its Last-Event-ID. Without it the
    stream is sent whole, from where it is asked for.
    """

    events: Sequence[bytes] = ()
    answers: Callable[[int, str], Answer] | None = None
    output: object = None
    status: str = "processing"
    error: str | None = None
    logs: str = ""
    streamed: bool = True
    stream_url: str | None = None
    resumed_after: list[str] = field(default_factory=list[str])
    polls: int = 0
    canceled: int = 0
    cancels: Answer | None = None
    """How a cancel is answered, if not by the run as it is then."""
    polled: Callable[[Run], None] | None = None

    def rest(self, last_event_id: str) -> bytes:
        """Return the events after one, as a server that can resume sends them."""
        mark = f"id: {last_event_id}\n".encode()
        at = next((at for at, event in enumerate(self.events) if mark in event), -1)
        return b": hi\n\n" + b"".join(self.events[at + 1 :])

    def answer(self, request: Request) -> Answer:
        last = request.header("last-event-id") or ""
        self.resumed_after.append(last)
        if self.answers is None:
            return replace(stream_answer(self.rest(last)), ending=Ending.HANG)
        return self.answers(len(self.resumed_after) - 1, last)


class Service:
    """A server for *runs*, by id; "p" is the one that a create makes."""

    def __init__(self, run: Run | None = None, /, **runs: Run) -> None:
        self.runs = dict(runs) if run is None else {"p": run, **runs}
        self.server = FaultServer(self._answer)

    def client(self, timeout: Timeout | None = None) -> Replicate:
        return Replicate(
            TOKEN,
            base_url=self.server.url,
            retry=Retry(base=0.001, throttle_base=0.001),
            timeout=timeout or Timeout(read=HANG, connect=HANG),
            limits=Limits(enabled=False),
        )

    async def closed(self) -> None:
        """Wait until every stream is hung up."""
        await self.server.until_closed(
            {each.connection for each in self.server.requests if "/streams/" in each.path}
        )

    def _answer(self, request: Request) -> Answer:
        kind, id, *rest = [*request.path.removeprefix("/v1/").split("/"), "p"]
        if kind == "streams" or id.startswith("bcwr-"):
            return self.runs[id.removeprefix("bcwr-")].answer(request)
        if request.path.endswith("/predictions"):
            return json_answer(self._shown("p"), 201)
        run = self.runs.get(id)
        if run is None:
            return problem(404)
        if rest[0] == "cancel":
            run.canceled += 1
            if run.status in {"starting", "processing"}:
                run.status = "canceled"
            if run.cancels is not None:
                return run.cancels
        else:
            run.polls += 1
            if run.polled is not None:
                run.polled(run)
        return json_answer(self._shown(id))

    def _shown(self, id: str) -> dict[str, object]:
        run = self.runs[id]
        url = run.stream_url or (f"{self.server.url}/streams/{id}" if run.streamed else None)
        shown = prediction(self.server.url, id=id, status=run.status, stream=url)
        return {**shown, "output": run.output, "logs": run.logs, "error": run.error}


def output(words: Iterable[str], *, ids: bool = True) -> list[bytes]:
    """Return the events of a text, and a done."""
    events = [
        encode("output", word, id=f"1690212292:{at}" if ids else None)
        for at, word in enumerate(words)
    ]
    return [*events, encode("done", "{}", id="1690212293:0" if ids else None)]


def cut_at(body: bytes, at: int, ending: Ending) -> Answer:
    """Send *at* bytes of *body*, then end the connection so."""
    whole = stream_answer(body)
    return replace(whole, cut=len(whole.head()) + at, ending=ending)


async def text_of(client: Replicate, id: str = "p", last_event_id: str | None = None) -> str:
    """Read the text of a prediction's stream to its end."""
    found = await client.predictions.get(id)
    async with client.predictions.stream(found, poll=QUICK, last_event_id=last_event_id) as stream:
        return "".join([text async for text in stream.text()])

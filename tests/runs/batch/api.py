"""An API of one model on raw sockets, which keeps a true record of its creates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any, Final
from urllib.parse import parse_qs

from replicate_async import Limits, Poll, Replicate, Retry, Timeout
from replicate_async.runs.batch.options import BatchTimeouts
from tests.support.fault_server import FaultServer
from tests.support.replies import json_answer, page, problem
from tests.support.sentinel import TOKEN
from tests.support.virtual_time import now as time
from tests.support.waiting import HANG
from tests.support.wire import Answer, Ending, Request

MODEL: Final = "acme/echo"
QUICK: Final = Poll(first=0.001, starting=0.005, processing=0.005)
# With a small margin, creates of a busy machine are outside of the range that is read.
SOON: Final = BatchTimeouts(settle=0.3, margin=30.0, outage=HANG, retry=0.001)
_PAGE: Final = 100


@dataclass
class Made:
    """A prediction as the server knows it."""

    id: str
    input: dict[str, Any]
    created_at: float
    ends_at: float
    status: str = "succeeded"
    error: str | None = None
    output: object = None
    canceled: bool = False
    shown: dict[str, Any] = field(default_factory=dict[str, Any])
    """What its JSON says otherwise."""


@dataclass
class BatchAPI:
    """The server's state, and what it does wrong.

    *outcome* sets how a prediction ends; *refuse* answers a create, by its number from 1, in place
    of acting on it; *lose* are the numbers of creates that are acted on and never answered; *seen*
    is told of each event of a create ("received", "acted", "answered"), by its number.
    """

    seconds: float = 0.0
    outcome: Callable[[Made], None] | None = None
    refuse: Callable[[int], Answer | None] | None = None
    lose: Callable[[int], bool] | None = None
    seen: Callable[[str, int], None] | None = None
    listing: Callable[[Answer], Answer] | None = None
    altered: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    """How inputs are shown in the list, if not as they were sent."""
    clock_offset: float = 0.0
    """The seconds by which the API's clock is ahead of this machine's."""
    dated: bool = True
    """Whether answers say when they were written."""
    getting: Callable[[Made], Answer | None] | None = None
    """Answers for a prediction in place of what it is."""
    schema: dict[str, Any] | None = None
    """The OpenAPI document of the model's latest version; without it the model is unknown."""
    made: list[Made] = field(default_factory=list[Made])
    by_id: dict[str, Made] = field(default_factory=dict[str, Made])
    creates: int = 0
    requests: Counter[str] = field(default_factory=Counter[str])
    peak: int = 0
    last: object = None
    """The input of the latest create."""

    def server(self) -> FaultServer:
        return FaultServer(self._dated)

    def now(self) -> float:
        """Return what the API's clock shows."""
        return time() + self.clock_offset

    def _dated(self, request: Request) -> Answer:
        answer = self._answer(request)
        if not self.dated or any(name == "Date" for name, _ in answer.headers):
            return answer
        return replace(answer, headers=(*answer.headers, ("Date", http_date(self.now()))))

    def running(self) -> int:
        now = self.now()
        return sum(1 for made in self.made if made.ends_at > now and not made.canceled)

    def twice(self, name: str = "n") -> list[object]:
        """Return the inputs that were created more than once."""
        counts = Counter(str(made.input.get(name)) for made in self.made)
        return [value for value, count in counts.items() if count > 1]

    def _answer(self, request: Request) -> Answer:
        path = request.path.removeprefix("/v1/")
        kind = f"{request.method} {path.split('/')[0]}"
        if request.method == "POST" and path.endswith("predictions"):
            self.requests["create"] += 1
            return self._create(request)
        self.requests[kind] += 1
        if request.method == "GET" and path == "predictions":
            self.requests["list"] += 1
            found = self._list(request)
            return found if self.listing is None else self.listing(found)
        if self.schema is not None and path == f"models/{MODEL}":
            version = {"id": "v", "created_at": "2026-01-01T00:00:00Z"}
            owner, name = MODEL.split("/")
            latest = {**version, "openapi_schema": self.schema}
            return json_answer({"owner": owner, "name": name, "latest_version": latest})
        made = self.by_id.get(path.split("/")[1])
        if made is None:
            return problem(404)
        if path.endswith("/cancel") and made.ends_at > self.now():
            made.canceled, made.status, made.ends_at = True, "canceled", self.now()
        instead = None if self.getting is None else self.getting(made)
        return json_answer(self.show(made)) if instead is None else instead

    def _create(self, request: Request) -> Answer:
        self.creates += 1
        number = self.creates
        body: Any = request.json()
        self.last = body["input"]
        self._tell("received", number)
        refused = None if self.refuse is None else self.refuse(number)
        if refused is not None:
            return refused
        made = self.make(body["input"])
        self._tell("acted", number)
        answer = json_answer(self.show(made), 201)
        if self.lose is not None and self.lose(number):
            return replace(answer, cut=0, ending=Ending.RESET)
        self._tell("answered", number)
        return answer

    def _tell(self, event: str, number: int) -> None:
        if self.seen is not None:
            self.seen(event, number)

    def make(self, given: dict[str, Any]) -> Made:
        now = self.now()
        made = Made(f"p{len(self.made):07d}", given, now, now + self.seconds, output=given)
        if self.outcome is not None:
            self.outcome(made)
        self.made.append(made)
        self.by_id[made.id] = made
        return made

    def show(self, made: Made) -> dict[str, Any]:
        over = made.ends_at <= self.now()
        created = datetime.fromtimestamp(made.created_at, UTC).isoformat()
        return {
            "id": made.id,
            "model": MODEL,
            "version": "hidden",
            "input": made.input,
            "logs": "",
            "output": made.output if over and made.status == "succeeded" else None,
            "data_removed": False,
            "error": made.error if over else None,
            "status": made.status if over else "processing",
            "created_at": created,
            "started_at": created,
            "completed_at": created if over else None,
            "metrics": {"predict_time": 0.5} if over else {},
            "urls": {"get": f"https://api.replicate.com/v1/predictions/{made.id}"},
            **made.shown,
        }

    def _list(self, request: Request) -> Answer:
        query = request.target.partition("?")[2]
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        start = int(asked.get("cursor", "0"))
        after, before = (
            datetime.fromisoformat(asked[name]).timestamp() if name in asked else None
            for name in ("created_after", "created_before")
        )
        chosen: list[Made] = []
        for made in reversed(self.made[: len(self.made) - start]):
            start += 1
            if after is not None and made.created_at < after:
                break
            if before is None or made.created_at < before:
                chosen.append(made)
            if len(chosen) == _PAGE:
                break
        more = len(chosen) == _PAGE
        rest = "".join(
            f"&{name}={asked[name].replace('+', '%2B')}"
            for name in ("created_after", "created_before")
            if name in asked
        )
        following = f"http://{request.header('host')}/v1/predictions?cursor={start}{rest}"
        shown = [self.show(made) for made in chosen]
        if self.altered is not None:
            shown = [{**each, "input": self.altered(each["input"])} for each in shown]
        return json_answer(page(*shown, next=following if more else None))


def item(number: int) -> dict[str, Any]:
    """Return the input of an item in a batch that is killed."""
    return {"n": number, "prompt": f"  Caf\u00e9 {number:05},\r\nby night "}


def http_date(seconds: float) -> str:
    """Return *seconds* since 1970 as HTTP writes times."""
    return formatdate(seconds, usegmt=True)


def client_of(url: str, *, retry: Retry | None = None, limits: Limits | None = None) -> Replicate:
    return Replicate(
        TOKEN,
        base_url=url,
        retry=retry or Retry(base=0.001, throttle_base=0.001),
        timeout=Timeout(read=HANG, connect=HANG),
        limits=limits or Limits(enabled=False),
    )

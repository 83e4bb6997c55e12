"""An API with one run, whose states are seen one after the other."""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec

from replicate_async import Limits, Poll, Replicate
from replicate_async.core.webhook import decode_secret, sign
from tests.support.fault_server import FaultServer
from tests.support.replies import json_answer, prediction, training
from tests.support.sentinel import TOKEN, WEBHOOK_SECRET
from tests.support.wire import Answer, Request

QUICK = Poll(first=0.002, starting=0.002, processing=0.002)
LEISURE = Poll(first=3600.0, starting=3600.0, processing=3600.0)


def signed(body: bytes, secret: str = WEBHOOK_SECRET) -> dict[str, str]:
    now = int(time.time())
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(now),
        "webhook-signature": sign(decode_secret(secret), "msg_1", now, body),
    }


def ended(id: str = "abc", **changes: object) -> bytes:
    return msgspec.json.encode(prediction("https://api.replicate.com/v1", id=id) | changes)


class Service:
    """An API whose one run takes as many looks as there are *states*, and stays at the last."""

    def __init__(self, *states: Mapping[str, object]) -> None:
        self.states: list[Mapping[str, object]] = list(states)
        self.secrets = [WEBHOOK_SECRET]
        self.server = FaultServer(self.answer)

    def body(self, **changes: object) -> dict[str, object]:
        status = str(changes.get("status", "starting"))
        return prediction(self.server.url, id="abc", status=status) | changes

    def answer(self, request: Request) -> Answer:
        if request.path.endswith("/secret"):
            secret = self.secrets.pop(0) if len(self.secrets) > 1 else self.secrets[0]
            return json_answer({"key": secret})
        if request.method == "POST":
            cancel = request.path.endswith("/cancel")
            made = self.body(status="canceled" if cancel else "starting")
            return json_answer(made, 200 if cancel else 201)
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if "trainings" in request.path:
            shown = training(self.server.url, status=str(state["status"]))
            return json_answer(shown | {"id": "abc"})
        return json_answer(self.body(**state))

    def client(self) -> Replicate:
        return Replicate(TOKEN, base_url=self.server.url, limits=Limits(enabled=False))

    def asked(self, what: str) -> int:
        return sum(what in request.target for request in self.server.requests)


BAR = " 20%|██        | 1/5 [00:01<00:04]\r 60%|██████    | 3/5 [00:03<00:02]"
STATES: list[dict[str, object]] = [
    {"status": "starting"},
    {"status": "processing"},
    {"status": "processing", "logs": BAR},
    {"status": "processing", "logs": BAR},
    {"status": "processing", "logs": BAR, "output": ["a"]},
    {"status": "succeeded", "logs": BAR, "output": ["a", "b"]},
]

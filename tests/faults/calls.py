"""Every operation as a call on a client, sorted by whether it may be repeated."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from typing import Final

from replicate_async import Limits, Replicate, Retry, Timeout
from tests.support.fault_server import FaultServer
from tests.support.replies import VERSION_ID, service
from tests.support.sentinel import TOKEN
from tests.support.waiting import HANG
from tests.support.wire import Answer, Request

Call = Callable[[Replicate], Awaitable[object]]

AT_ONCE: Final = Retry(base=0.0, throttle_base=0.0)
ONCE: Final = Retry(attempts=1)


async def first(listing: AsyncIterable[object]) -> object:
    """Read a listing to its end; gives its first item."""
    items = [item async for item in listing]
    return items[0]


CREATES: Final[Mapping[str, Call]] = {
    "predictions.create": lambda c: c.predictions.create(VERSION_ID, {"text": "Alice"}),
    "models.predictions.create": lambda c: c.models.predictions.create("acme/echo", {}),
    "deployments.predictions.create": lambda c: c.deployments.predictions.create("acme/prod", {}),
    "trainings.create": lambda c: c.trainings.create(
        f"acme/echo:{VERSION_ID}", destination="acme/tuned", input={}
    ),
    "models.create": lambda c: c.models.create("acme/new", visibility="private", hardware="cpu"),
    "deployments.create": lambda c: c.deployments.create(
        "prod",
        model="acme/echo",
        version=VERSION_ID,
        hardware="cpu",
        min_instances=0,
        max_instances=1,
    ),
    "files.create": lambda c: c.files.create(b"hello", filename="hello.txt"),
}

READS: Final[Mapping[str, Call]] = {
    "account.get": lambda c: c.account.get(),
    "collections.list": lambda c: first(c.collections.list()),
    "collections.get": lambda c: c.collections.get("text"),
    "deployments.list": lambda c: first(c.deployments.list()),
    "deployments.get": lambda c: c.deployments.get("acme/prod"),
    "files.list": lambda c: first(c.files.list()),
    "files.get": lambda c: c.files.get("abc"),
    "files.download": lambda c: c.files.download("abc", owner="a", expiry=1, signature="x"),
    "hardware.list": lambda c: c.hardware.list(),
    "models.list": lambda c: first(c.models.list()),
    "models.search": lambda c: first(c.models.search("echo")),
    "models.get": lambda c: c.models.get("acme/echo"),
    "models.examples.list": lambda c: first(c.models.examples.list("acme/echo")),
    "models.readme.get": lambda c: c.models.readme.get("acme/echo"),
    "models.versions.list": lambda c: first(c.models.versions.list("acme/echo")),
    "models.versions.get": lambda c: c.models.versions.get("acme/echo", VERSION_ID),
    "predictions.list": lambda c: first(c.predictions.list()),
    "predictions.get": lambda c: c.predictions.get("abc"),
    "search": lambda c: c.search("echo"),
    "trainings.list": lambda c: first(c.trainings.list()),
    "trainings.get": lambda c: c.trainings.get("abc"),
    "webhooks.default.secret.get": lambda c: c.webhooks.default.secret.get(),
}

HARMLESS_WRITES: Final[Mapping[str, Call]] = {
    "deployments.delete": lambda c: c.deployments.delete("acme/prod"),
    "files.delete": lambda c: c.files.delete("abc"),
    "models.delete": lambda c: c.models.delete("acme/echo"),
    "models.versions.delete": lambda c: c.models.versions.delete("acme/echo", VERSION_ID),
    "models.update": lambda c: c.models.update("acme/echo", description="Again."),
    "predictions.cancel": lambda c: c.predictions.cancel("abc"),
    "trainings.cancel": lambda c: c.trainings.cancel("abc"),
}

# Each makes a new release, so a second one would be more than the first.
RELEASES: Final[Mapping[str, Call]] = {
    "deployments.update": lambda c: c.deployments.update("acme/prod", min_instances=1),
}

ALL: Final[Mapping[str, Call]] = {**CREATES, **READS, **HARMLESS_WRITES, **RELEASES}


def client_of(
    server: FaultServer, *, retry: Retry = AT_ONCE, timeout: Timeout | None = None
) -> Replicate:
    """Make a client of *server* with the sentinel as its token."""
    return Replicate(
        TOKEN,
        base_url=server.url,
        retry=retry,
        timeout=timeout or Timeout(read=HANG, connect=HANG),
        limits=Limits(enabled=False),
    )


def after(*troubles: Answer) -> FaultServer:
    """Make a server that answers with *troubles* first and well ever after."""
    rest = list(troubles)

    def handler(request: Request) -> Answer:
        return rest.pop(0) if rest else service(server.url, request)

    server = FaultServer(handler)
    return server

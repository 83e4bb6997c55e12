"""An argument that is a number takes no bool, text, NaN or number out of range."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any, Final

import pytest

from replicate_async import InvalidArgumentError, Replicate, save_all
from replicate_async.local import Faults, LocalReplicate
from replicate_async.web import StreamShutdown, Viewers
from replicate_async.web.starlette import TextResponse
from replicate_async.webhooks import WebhookDedupe, verify
from tests.support.sentinel import TOKEN

# What a program without a type checker may call.
Call = Callable[..., Any]
CLIENT: Final = Replicate(TOKEN, base_url="http://127.0.0.1:9", prices={"acme/echo": len})
SECRET: Final = "whsec_" + "A" * 32


def taking(call: Callable[..., object], *arguments: object, **more: object) -> Call:
    """Return *call* with these arguments; it takes others of any type."""
    return partial(call, *arguments, **more)


NUMBERS: Final[dict[str, tuple[Call, set[str]]]] = {
    "run": (
        taking(CLIENT.run, "acme/echo", {}),
        {"timeout", "queue_timeout", "retries"},
    ),
    "predictions.wait": (
        taking(CLIENT.predictions.wait, "abc"),
        {"timeout", "queue_timeout"},
    ),
    "trainings.wait": (
        taking(CLIENT.trainings.wait, "abc"),
        {"timeout", "queue_timeout"},
    ),
    "predictions.stream": (
        taking(CLIENT.predictions.stream, "abc", last_event_id="1:0"),
        {"received"},
    ),
    "batch": (
        taking(CLIENT.batch, "acme/echo", []),
        {
            "concurrency",
            "max_cost",
            "max_predictions",
            "max_seconds",
            "queue_timeout",
            "retries",
            "timeout",
        },
    ),
    "search": (taking(CLIENT.search, "x"), {"limit"}),
    "files.create": (taking(CLIENT.files.create, b""), {"max_size"}),
    "save_all": (taking(save_all, [], "."), {"concurrency"}),
    "verify": (taking(verify, b"", {}, SECRET), {"tolerance"}),
    "WebhookDedupe": (WebhookDedupe, {"max_ids", "ttl"}),
    "Viewers": (taking(Viewers, CLIENT), {"grace_period"}),
    "StreamShutdown": (StreamShutdown, {"grace_period"}),
    "TextResponse": (
        taking(TextResponse, CLIENT.stream("acme/echo", {})),
        {"send_timeout"},
    ),
    "LocalReplicate": (LocalReplicate, {"port"}),
    "LocalReplicate.model": (
        taking(LocalReplicate().model, "acme/echo"),
        {"concurrency"},
    ),
    "Faults.add": (
        taking(Faults().add, "*"),
        {"times", "status", "retry_after", "delay", "pause", "cut_after", "cut_after_events"},
    ),
}
if find_spec("redis"):
    from replicate_async.integrations.redis import RedisLimiter, RedisViewers

    NUMBERS["RedisLimiter"] = (
        taking(RedisLimiter, "redis://127.0.0.1:9"),
        {"outage_timeout"},
    )
    NUMBERS["RedisViewers"] = (
        taking(RedisViewers, CLIENT, "redis://127.0.0.1:9"),
        {"grace_period", "lease"},
    )


@pytest.mark.anyio
@pytest.mark.parametrize(
    "value", [True, "3", b"", [], math.nan, -1, pytest.param(10**400, id="huge")]
)
@pytest.mark.parametrize("name", NUMBERS)
async def test_a_wrong_number_is_refused_by_the_name_of_its_argument(
    name: str, value: object
) -> None:
    call, arguments = NUMBERS[name]

    async def given(argument: str) -> None:
        answer = call(**{argument: value})
        if inspect.isawaitable(answer):
            await answer

    for argument in arguments:
        with pytest.raises(InvalidArgumentError) as caught:
            await given(argument)
        assert str(caught.value).startswith(f"{argument}={value!r}"[:60]), caught.value
        assert " must be a" in str(caught.value)

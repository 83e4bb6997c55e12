"""``check``: whether the API can be reached through what is configured; nothing is created."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

from replicate_async import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    NotFoundError,
    Replicate,
    ReplicateError,
    ResponseEvent,
    TLSError,
    UntrustedURLError,
)
from replicate_async.cli.console import note, write_card, write_json
from replicate_async.cli.errors import FAILED, one_line, without_tokens
from replicate_async.cli.options import DEFAULTS, Options, connect
from replicate_async.context import context_of
from replicate_async.core.origin import Base
from replicate_async.core.token import Token, secret_words

_PAGES: Final[Mapping[type[ReplicateError], str]] = {
    AuthenticationError: "set REPLICATE_API_TOKEN to a token of the account",
    NotFoundError: "see docs/howto/gateway.md about paths of the base URL",
    UntrustedURLError: "see docs/howto/gateway.md about links",
    TLSError: "see docs/howto/proxy.md about certificates",
    APIConnectionError: "see docs/howto/proxy.md about the way out",
    ReplicateError: "see docs/errors.md",
}
"""What helps against an error, the first class that fits."""


class _Step(NamedTuple):
    name: str
    call: Callable[[Replicate], Awaitable[str]]


async def check(*, options: Options = DEFAULTS) -> None:
    """Read the account, a listing and a version, and say what works; nothing is created.

    $ replicate-async check
    """
    found: dict[str, str] = {}
    failed: dict[str, str] = {}
    async with connect(options) as client:
        sender = context_of(client).sender
        found["base"] = sender.base.url
        found["way out"] = "direct"
        found["auth"] = ", ".join(sorted(name.lower() for name in sender.token.fields))
        with client.capture() as calls:
            for step in _STEPS:
                try:
                    found[step.name] = await step.call(client)
                except ReplicateError as error:
                    failed[step.name] = f"{_shown(error)} ({_advice(error)})"
                    found[step.name] = "failed"
        found["limits"] = _limits(calls)
        found["clock"] = _clock(client)
        hide = _hider(sender.token, sender.base)
        found = {name: hide(text) for name, text in found.items()}
        failed = {name: hide(text) for name, text in failed.items()}
    if options.json:
        write_json({"found": found, "failed": failed})
    else:
        write_card(found)
    for name, problem in failed.items():
        note(f"error: {name}: {problem}")
    if failed:
        sys.exit(FAILED)


def _hider(token: Token, base: Base) -> Callable[[str], str]:
    """Return a function that hides the token in a text, and what may be a key of a gateway.

    Such keys may be in the path of the base URL, or may be pasted as the name of a header.
    """
    keys = secret_words(" ".join((base.prefix, *token.header_names)))

    def hide(text: str) -> str:
        text = without_tokens(token.redact(text))
        for key in keys:
            text = text.replace(key, "[hidden]")
        return text

    return hide


async def _account(client: Replicate) -> str:
    account = await client.account.get()
    return f"{account.username} ({account.type})"


async def _listing(client: Replicate) -> str:
    pages = models = 0
    async for page in client.models.list().pages():
        pages += 1
        models += len(page.results)
        if pages == 2:
            break
    return f"{models} models on {pages} pages" if pages > 1 else f"{models} models on one page"


async def _version(client: Replicate) -> str:
    async for model in client.models.list():
        if model.latest_version is not None:
            name = f"{model.owner}/{model.name}"
            version = await client.models.versions.get(name, model.latest_version.id)
            return f"{name}:{version.id[:12]}"
    return "no model has one"


_STEPS: Final = (
    _Step("account", _account),
    _Step("listing", _listing),
    _Step("version", _version),
)


def _limits(calls: list[ResponseEvent]) -> str:
    remaining = [call.rate_limit_remaining for call in calls]
    least = min((number for number in remaining if number is not None), default=None)
    return "not said by the API" if least is None else f"{least} more requests at once"


def _clock(client: Replicate) -> str:
    """Return how far this machine's clock is from the API's."""
    clock = context_of(client).sender.clock
    earliest, latest = clock.earliest(), clock.latest()
    if earliest is None or latest is None:
        return "not said by the API"
    now = time.time()
    if now > latest:
        return f"this machine is {now - latest:.1f} s or more ahead"
    if now < earliest:
        return f"this machine is {earliest - now:.1f} s or more behind"
    return "agrees with the API's"


def _advice(error: ReplicateError) -> str:
    return next(advice for kind, advice in _PAGES.items() if isinstance(error, kind))


def _shown(error: ReplicateError) -> str:
    text = one_line(error)
    if isinstance(error, APIStatusError) and error.request_id is not None:
        text = f"{text} Request {error.request_id}."
    return text

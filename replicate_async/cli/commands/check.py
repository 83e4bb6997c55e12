"""``check``: whether the API can be reached through what is configured; nothing is created."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from replicate_async import Replicate, ReplicateError, ResponseEvent, errors
from replicate_async.cli.console import note, write_card, write_json
from replicate_async.cli.errors import FAILED, one_line, without_tokens
from replicate_async.cli.options import DEFAULTS, Options, connect
from replicate_async.context import context_of
from replicate_async.core.origin import Base
from replicate_async.core.token import Token, secret_words

_PAGES: Final[Mapping[type[ReplicateError], str]] = {
    errors.AuthenticationError: "set REPLICATE_API_TOKEN to a token of the account",
    errors.NotFoundError: "see docs/howto/gateway.md about paths of the base URL",
    errors.UntrustedURLError: "see docs/howto/gateway.md about links",
    errors.TLSError: "see docs/howto/proxy.md about certificates",
    errors.APIConnectionError: "see docs/howto/proxy.md about the way out",
    ReplicateError: "see docs/errors.md",
}
"""What helps against an error, the first class that fits."""


async def check(*, options: Options = DEFAULTS) -> int:
    """Read the account, a listing and a version, and say what works; nothing is created.

    $ replicate-async check
    """
    failed: dict[str, str] = {}
    steps = {"account": _account, "listing": _listing, "version": _version}
    async with connect(options) as client:
        sender = context_of(client).sender
        auth = ", ".join(sorted(name.lower() for name in sender.token.fields))
        found = {"base": sender.base.url, "way out": "direct", "auth": auth}
        with client.capture() as calls:
            for name, step in steps.items():
                try:
                    found[name] = await step(client)
                except ReplicateError as error:
                    failed[name] = _shown(error)
                    found[name] = "failed"
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
    return FAILED if failed else 0


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


def _limits(calls: list[ResponseEvent]) -> str:
    left = [call.rate_limit_remaining for call in calls if call.rate_limit_remaining is not None]
    return f"{min(left)} more requests at once" if left else "not said by the API"


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


def _shown(error: ReplicateError) -> str:
    text = one_line(error)
    if isinstance(error, errors.APIStatusError) and error.request_id is not None:
        text = f"{text} Request {error.request_id}."
    return f"{text} ({next(page for kind, page in _PAGES.items() if isinstance(error, kind))})"

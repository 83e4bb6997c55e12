"""Where a command goes: the service, another base URL, or a server started for it."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Final

from cyclopts import Parameter

from replicate_async import Limits, NotFoundError, Replicate
from replicate_async.cli.errors import CommandError, UsageError
from replicate_async.context import context_of
from replicate_async.interface.read import Interface
from replicate_async.refs import parse_version


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options:
    """What every command takes."""

    local: Annotated[
        bool,
        Parameter(
            help="Use an embedded server, started for this command alone.", show_default=False
        ),
    ] = False
    json: Annotated[bool, Parameter(help="Print JSON, for programs.", show_default=False)] = False
    base_url: Annotated[
        str | None,
        Parameter(help="Where the API is; REPLICATE_BASE_URL unless given.", show_default=False),
    ] = None


DEFAULTS: Final = Options()


@asynccontextmanager
async def connect(options: Options, *, limits: Limits | None = None) -> AsyncGenerator[Replicate]:
    """Open a client of what *options* name; raises `UsageError` when a token is missing."""
    if options.local:
        if options.base_url is not None:
            raise UsageError("--local starts a server of its own: leave out --base-url.")
        from replicate_async.local import LocalReplicate  # noqa: PLC0415 - seldom needed, not small

        async with (
            LocalReplicate() as server,
            Replicate(server.api_token, base_url=server.url, limits=limits) as client,
        ):
            yield client
        return
    if not os.environ.get("REPLICATE_API_TOKEN", "").strip():
        raise UsageError(
            "REPLICATE_API_TOKEN is not set. Set it to a token from "
            "https://replicate.com/account/api-tokens, or use --local to run on this machine."
        )
    async with Replicate(base_url=options.base_url, limits=limits) as client:
        yield client


async def describe(client: Replicate, ref: str, *, local: bool) -> Interface:
    """Return what the model or version *ref* takes and gives."""
    parsed = parse_version(ref, "model")
    if parsed.model is None:
        # The API does not look up a version by its id alone.
        return Interface.read(ref, None)
    name = str(parsed.model)
    try:
        version = (
            await client.models.versions.get(name, parsed.version)
            if parsed.version is not None
            else (await client.models.get(name)).latest_version
        )
    except NotFoundError:
        raise _unknown(ref, local=local) from None
    if version is None:
        return Interface.read(name, None)
    interface = Interface.read(name, version.openapi_schema)
    context_of(client).models.learn(version)  # so that the client need not guess what is a file
    return interface


def _unknown(ref: str, *, local: bool) -> CommandError:
    if local:
        return CommandError(
            f"The embedded server has no model {ref}; "
            "'replicate-async models list --local' shows those it has."
        )
    return CommandError(f"There is no model {ref}, or it is not the token's to see.")

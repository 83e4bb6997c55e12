"""Options that commands share, and the client that they lead to."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from cyclopts import Parameter, Token, types, validators

from replicate_async import Limits, NotFoundError, Replicate
from replicate_async.cli.errors import CommandError, UsageError
from replicate_async.context import context_of
from replicate_async.core.usage import Price
from replicate_async.interface.read import Interface
from replicate_async.refs import parse_version


def expand_home(path: str) -> str:
    """Return *path* with the home folder that it begins with; raises `ValueError` without one."""
    expanded = os.path.expanduser(path)  # noqa: PTH111 - a Path has no last slash
    if expanded.startswith("~"):
        home = path.partition("/")[0]
        raise ValueError(f'"{home}" is the home of no user; write ./{path} if that is its name')
    return expanded


def _expanded(kind: type, tokens: Sequence[Token]) -> Any:
    return kind(expand_home(tokens[0].value))


def _shown_default(default: object) -> object:
    """Return the default that help shows: not that of a flag or a list."""
    return None if default is False or default == () else default


PARAMETER: Final = Parameter(negative=(), show_default=_shown_default)
"""What parameters of all commands have in common; the reference does not inherit it."""

_IN_HOME: Final = Parameter(converter=_expanded)
# A shell leaves the ~ in --output=~/out as it is.
FilePath = Annotated[types.File, _IN_HOME]
ExistingFile = Annotated[types.ExistingFile, _IN_HOME]
FolderPath = Annotated[types.Directory, _IN_HOME]
AnyPath = Annotated[Path, _IN_HOME]
OutputPath = Annotated[AnyPath, Parameter(name=("--output", "-o"))]
OutputText = Annotated[str, _IN_HOME, Parameter(name=("--output", "-o"))]
"""An output whose last slash means a folder."""

Model = Annotated[
    str, Parameter(name="model", help='"owner/name", "owner/name:version" or a version id.')
]
InputArgument = Annotated[
    str,
    Parameter(
        name="input",
        help="key=value, by the model's schema; key=@file sends a file, key:=JSON a JSON value.",
    ),
]
Limit = Annotated[
    int,
    Parameter(help="The most that are listed.", validator=validators.Number(gte=1, lte=10_000)),
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of every command that sends requests."""

    local: bool = False
    """Use an embedded server, started for this command alone."""
    json: bool = False
    """Print JSON, for programs."""
    base_url: str | None = None
    """The address of the API; by default REPLICATE_BASE_URL."""


DEFAULTS: Final = Options()


@asynccontextmanager
async def connect(
    options: Options,
    *,
    limits: Limits | None = None,
    prices: Mapping[str, Price] | None = None,
) -> AsyncGenerator[Replicate]:
    """Open the client that *options* ask for; raises `UsageError` when a token is missing."""
    if options.local:
        if options.base_url is not None:
            raise UsageError("--local starts a server of its own: leave out --base-url.")
        from replicate_async.local import LocalReplicate  # noqa: PLC0415 - slow to import

        async with (
            LocalReplicate() as server,
            Replicate(
                server.api_token, base_url=server.url, limits=limits, prices=prices
            ) as client,
        ):
            yield client
        return
    headers = _headers()
    token = os.environ.get("REPLICATE_API_TOKEN", "").strip()
    if not token and not headers:
        raise UsageError(
            "REPLICATE_API_TOKEN is not set. Set it to a token from "
            "https://replicate.com/account/api-tokens, or use --local to run on this machine."
        )
    async with Replicate(
        base_url=options.base_url,
        limits=limits,
        prices=prices,
        headers=headers,
        auth="token" if token else "headers",
    ) as client:
        yield client


def _headers() -> dict[str, str]:
    """Return the headers for a gateway, which stand in REPLICATE_HEADERS as a JSON object."""
    text = os.environ.get("REPLICATE_HEADERS", "").strip()
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeError):
        raise UsageError(
            "REPLICATE_HEADERS is no JSON object of strings, such as "
            """'{"cf-aig-authorization": "Bearer ..."}'."""
        ) from None


async def describe(client: Replicate, model: str, options: Options) -> Interface:
    """Return what a model or version takes and returns."""
    parsed = parse_version(model)
    if parsed.model is None:
        return Interface.read(model, None)  # the API does not look up a version by its id alone
    name = str(parsed.model)
    try:
        if parsed.version is None:
            version = (await client.models.get(name)).latest_version
        else:
            version = await client.models.versions.get(name, parsed.version)
    except NotFoundError:
        raise CommandError(
            f"The embedded server has no model {model}; 'replicate-async models list --local' "
            "lists its models."
            if options.local
            else f"There is no model {model}, or the token may not see it."
        ) from None
    if version is None:
        return Interface.read(name, None)
    context_of(client).models.learn(version)  # else the client guesses which inputs are files
    return Interface.read(name, version.openapi_schema)

"""``serve``: the embedded server as a program."""

from __future__ import annotations

import asyncio
import errno
import os
import pkgutil
import re
import sys
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter, types

from replicate_async.cli.console import note, write, write_json
from replicate_async.cli.errors import CommandError, UsageError

if TYPE_CHECKING:
    from replicate_async.local import LocalReplicate

_MODEL: Final = re.compile(r"([^=]+=)?[\w.]+:[\w.]+")
_THIS_MACHINE: Final = {"127.0.0.1", "::1", "localhost"}


async def serve(
    *,
    host: str = "127.0.0.1",
    port: types.Port = 8080,
    token: Annotated[str | None, Parameter(env_var="REPLICATE_LOCAL_TOKEN")] = None,
    model: tuple[str, ...] = (),
    json: bool = False,
) -> None:
    """Serve the API on this machine, with models that are Python functions.

    It comes with a few models, such as local/storyteller. Ctrl-C stops it, and all runs.

    $ replicate-async serve --port 0 --model acme/resize=shop.models:resize

    Args:
        host: The address to listen at.
        port: 0 takes a free one.
        token: The token that clients must send; by default a random one.
        model: A function or class, "module:name" or "owner/model=module:name"; once for each.
        json: Print address and token as JSON.
    """
    from replicate_async.local import LocalReplicate  # noqa: PLC0415 - so that --help is quick

    server = LocalReplicate(host, port, api_token=token or None)
    added = [_add(server, argument) for argument in model]
    try:
        await server.start()
    except OSError as error:
        flaw = f"cannot listen at {host} port {port}: {error.strerror or error}."
        if error.errno == errno.EADDRINUSE:
            flaw = f"port {port} of {host} is in use; choose another with --port, or 0."
        raise CommandError(flaw) from None
    try:
        _print_ready(server, added, own_token=not token, json=json)
        if host not in _THIS_MACHINE:
            note(f"warning: other machines may reach {host}; tokens go there without encryption")
        await asyncio.Event().wait()
    finally:
        await server.close()
        if not json:
            note("stopped")


def _print_ready(server: LocalReplicate, added: list[str], *, own_token: bool, json: bool) -> None:
    if json:
        found = {"url": server.url, "api_token": server.api_token if own_token else None}
        write_json(found, line=True)
        return
    # A token that was given may be in use elsewhere too.
    token = server.api_token if own_token else "(the one that you gave)"
    exported = token if own_token else "..."
    yours = f"Your models: {', '.join(added)}\n" if added else ""
    write(
        f"Serving the Replicate API at {server.url}\n"
        f"The token is {token}\n{yours}\n"
        f"  export REPLICATE_BASE_URL={server.url}\n"
        f"  export REPLICATE_API_TOKEN={exported}\n\n"
        "Then, in another terminal:\n\n"
        '  replicate-async stream local/storyteller prompt="Once upon"\n\n'
        "Ctrl-C stops the server.\n"
    )


def _add(server: LocalReplicate, argument: str) -> str:
    """Add the function that ``--model`` names; returns the model's name."""
    if not _MODEL.fullmatch(argument):
        raise UsageError(
            f'--model {argument}: write "module:name", or "owner/model=module:name" to name it.'
        )
    ref, _, path = argument.rpartition("=")
    if os.getcwd() not in sys.path:  # noqa: PTH109 - sys.path has strings
        sys.path.insert(0, os.getcwd())  # noqa: PTH109 - likewise
    try:
        function: object = pkgutil.resolve_name(path)
    except (ImportError, AttributeError) as error:
        raise CommandError(f"--model {argument}: {error}.") from None
    except Exception as error:  # noqa: BLE001 - the module's own code may raise anything
        said = f"importing {path} raised {type(error).__name__}: {error}"
        raise CommandError(f"--model {argument}: {said}") from None
    if not callable(function):
        raise UsageError(f"--model {argument}: it is a {type(function).__name__}, not a function.")
    name = path.rpartition(":")[2].rpartition(".")[2].strip("_").replace("_", "-").lower()
    ref = ref or f"{server.username}/{name}"
    try:
        server.add_model(ref, function)
    except (TypeError, ValueError) as error:
        raise CommandError(f"--model {argument}: {error}") from None
    return ref

"""``serve``: the embedded server as a program."""

from __future__ import annotations

import asyncio
import errno
import importlib
import os
import sys
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter, types

from replicate_async.cli.console import note, write, write_json_line
from replicate_async.cli.errors import CommandError, UsageError

if TYPE_CHECKING:
    from replicate_async.local import LocalReplicate

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
        raise _not_listening(host, port, error) from None
    try:
        _print_ready(server, added, own_token=not token, json=json)
        if host not in _THIS_MACHINE:
            note(
                f"warning: other machines may reach {host}, and tokens go there without encryption"
            )
        await asyncio.Event().wait()
    finally:
        await server.close()
        if not json:
            note("stopped")


def _print_ready(server: LocalReplicate, added: list[str], *, own_token: bool, json: bool) -> None:
    if json:
        write_json_line({"url": server.url, "api_token": server.api_token if own_token else None})
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
    ref, equals, path = argument.rpartition("=")
    module_name, colon, name = path.partition(":")
    if not (colon and module_name and name) or (equals and not ref):
        raise UsageError(
            f'--model {argument}: write "module:name", or "owner/model=module:name" to name it.'
        )
    if os.getcwd() not in sys.path:  # noqa: PTH109 - sys.path has strings
        sys.path.insert(0, os.getcwd())  # noqa: PTH109 - likewise
    try:
        function: object = importlib.import_module(module_name)
        for part in name.split("."):
            function = getattr(function, part)
    except (ImportError, AttributeError) as error:
        raise CommandError(f"--model {argument}: {error}.") from None
    except Exception as error:  # noqa: BLE001 - the module's own code may raise anything
        raise CommandError(
            f"--model {argument}: importing {module_name} raised {type(error).__name__}: {error}"
        ) from None
    if not callable(function):
        raise UsageError(f"--model {argument}: it is a {type(function).__name__}, not a function.")
    ref = ref or f"{server.username}/{name.rpartition('.')[2].strip('_').replace('_', '-').lower()}"
    try:
        server.add_model(ref, function)
    except (TypeError, ValueError) as error:
        raise CommandError(f"--model {argument}: {error}") from None
    return ref


def _not_listening(host: str, port: int, error: OSError) -> CommandError:
    if error.errno == errno.EADDRINUSE:
        return CommandError(f"port {port} of {host} is in use; choose another with --port, or 0.")
    return CommandError(f"cannot listen at {host} port {port}: {error.strerror or error}.")

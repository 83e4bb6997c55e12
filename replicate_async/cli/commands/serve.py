"""``serve``: the embedded server as a program."""

from __future__ import annotations

import asyncio
import errno
import importlib
import os
import sys
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter, validators

from replicate_async.cli.console import note, write, write_json_line
from replicate_async.cli.errors import CommandError, UsageError, one_line

if TYPE_CHECKING:
    from replicate_async.local import LocalReplicate

DEFAULT_PORT: Final = 8080
_HERE: Final = {"127.0.0.1", "::1", "localhost"}


async def serve(
    *,
    host: Annotated[str, Parameter(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[
        int,
        Parameter(help="0 takes a free one.", validator=validators.Number(gte=0, lte=65_535)),
    ] = DEFAULT_PORT,
    token: Annotated[
        str | None,
        Parameter(
            help="The token that clients must send; one is made up unless given. The environment "
            "is the better place for it: other users can see a command line.",
            env_var="REPLICATE_LOCAL_TOKEN",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        tuple[str, ...],
        Parameter(
            help='A function to serve, "module:name" or "owner/model=module:name"; repeatable.',
            show_default=False,
        ),
    ] = (),
    json: Annotated[
        bool, Parameter(help="Print the ready line as JSON.", show_default=False)
    ] = False,
) -> None:
    """Serve the API on this machine, with real models made of Python functions.

    It comes with a few models, such as local/storyteller. Ctrl-C stops it, and all that runs.
    """
    from replicate_async.local import LocalReplicate  # noqa: PLC0415 - so that --help is quick

    server = LocalReplicate(host, port, api_token=token or None)
    added = [_add(server, argument) for argument in model]
    try:
        await server.start()
    except OSError as error:
        raise _not_listening(host, port, error) from None
    try:
        _say_ready(server, added, own_token=not token, json=json)
        if host not in _HERE:
            note(
                f"warning: {host} may be reached by other machines, and tokens go over it in clear"
            )
        await asyncio.Event().wait()
    finally:
        await server.close()
        if not json:
            note("stopped")


def _say_ready(server: LocalReplicate, added: list[str], *, own_token: bool, json: bool) -> None:
    if json:
        ready = {"url": server.url, "api_token": server.api_token if own_token else None}
        write_json_line(ready)
        return
    # A token that was given is known, and may be one that serves elsewhere too.
    token = server.api_token if own_token else "(the one that you gave)"
    exported = token if own_token else "..."
    yours = f"Of your own it has {', '.join(added)}\n" if added else ""
    write(
        f"Serving the Replicate API at {server.url}\n"
        f"The token is {token}\n{yours}\n"
        f"  export REPLICATE_BASE_URL={server.url}\n"
        f"  export REPLICATE_API_TOKEN={exported}\n\n"
        'Then, in another terminal: replicate-async stream local/storyteller prompt="Once upon"\n'
        "Ctrl-C stops the server.\n"
    )


def _add(server: LocalReplicate, argument: str) -> str:
    """Register the function that ``--model`` names; returns the model's name."""
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
    except ImportError as error:
        raise CommandError(f"--model {argument}: {error}.") from None
    except AttributeError as error:
        raise CommandError(f"--model {argument}: {error}.") from None
    except Exception as error:  # noqa: BLE001 - the module's own code may raise anything
        raise CommandError(
            f"--model {argument}: importing {module_name} raised {type(error).__name__}: {error}"
        ) from None
    if not callable(function):
        raise UsageError(f"--model {argument}: it is a {type(function).__name__}, not a function.")
    ref = ref or f"{server.username}/{_model_name(name)}"
    try:
        server.add_model(ref, function)
    except (TypeError, ValueError) as error:
        raise CommandError(f"--model {argument}: {one_line(error)}") from None
    return ref


def _model_name(name: str) -> str:
    return name.rpartition(".")[2].strip("_").replace("_", "-").lower()


def _not_listening(host: str, port: int, error: OSError) -> CommandError:
    if error.errno == errno.EADDRINUSE:
        return CommandError(f"port {port} of {host} is in use; choose another with --port, or 0.")
    return CommandError(f"cannot listen at {host} port {port}: {error.strerror or error}.")

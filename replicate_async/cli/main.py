"""The program: from its arguments to its exit code."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import re
import sys
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from itertools import filterfalse
from typing import Any, Final

from cyclopts import (
    CycloptsError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from replicate_async.cli.app import build
from replicate_async.cli.console import note
from replicate_async.cli.errors import FAILED, CommandError, UsageError, is_utf8
from replicate_async.cli.signals import SIGNALS, StopSignals
from replicate_async.errors import InvalidArgumentError, ReplicateError, TargetExistsError

INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
"""The exit code that shells give a program whose output is not read any more."""

_FOR_TOKENS: Final = re.compile(r"token|api.?key|auth|bearer|secret|password", re.IGNORECASE)
_LONGEST_NAME: Final = 24
"""Characters of an unknown option or command that are shown; a longer one may be a token."""

_STREAMS: Final = (
    ("stdin", os.O_WRONLY, "r"),
    ("stdout", os.O_RDONLY, "w"),
    ("stderr", os.O_WRONLY, "w"),
)


def run(arguments: Sequence[str]) -> int:
    """Run the command that *arguments* name and return its exit code."""
    # Log records of libraries are not output of a command; without a handler they are on stderr.
    logging.getLogger().addHandler(logging.NullHandler())
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")
    try:
        command, bound, _ = build().parse_args(
            list(arguments), exit_on_error=False, print_error=False
        )
        result: Any = command(*bound.args, **bound.kwargs)
        return asyncio.run(_supervised(result)) if inspect.iscoroutine(result) else 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - a user of the command line gets no traceback
        if isinstance(error, OSError):
            _drop_output()
        return _fail(_explained(error, arguments))


def _open_closed_streams() -> None:
    """Open the standard streams that are closed, else a journal or a socket gets their numbers.

    Reading and writing them fail as before; messages on stderr are lost.
    """
    for name, flags, mode in _STREAMS:
        if getattr(sys, name) is None:
            stream = os.fdopen(os.open(os.devnull, flags), mode, closefd=False)
            setattr(sys, name, stream)


def _drop_output() -> None:
    """Drop text that stdout could not write; else Python complains at its exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def _supervised(command: Coroutine[Any, Any, int | None]) -> int:
    """Run *command*; a signal cancels it, so that it can clean up."""
    signals = StopSignals()
    SIGNALS.set(signals)
    task = asyncio.ensure_future(command)
    with signals.received(task.cancel):
        try:
            return await task or 0
        except asyncio.CancelledError:
            return signals.code or FAILED
        except ReplicateError:
            if signals.code:  # the error is a result of the cancellation
                return signals.code
            raise


def _fail(error: CommandError) -> int:
    """Print *error* and return its exit code."""
    with suppress(OSError):
        note(f"error: {error}")
        if error.listing:
            print(f"\n{error.listing}", file=sys.stderr)
    return error.code


def _explained(error: Exception, arguments: Sequence[str]) -> CommandError:
    """Return *error* with the text and the exit code that the program has for it."""
    if isinstance(error, CommandError):
        return error
    if isinstance(error, CycloptsError):
        return UsageError(_readable(error, arguments))
    if isinstance(error, InvalidArgumentError):
        return UsageError(str(error))
    if isinstance(error, UnicodeEncodeError) and (wrong := [*filterfalse(is_utf8, arguments)]):
        return UsageError(f"{wrong[0]!a} is not UTF-8; write it in UTF-8.")
    text = str(error)
    if isinstance(error, TargetExistsError):
        text = f"{error.path} exists; --force replaces it."
    elif isinstance(error, OSError) and error.strerror:
        where = error.filename2 or error.filename  # of a rename, its target
        text = error.strerror if where is None else f"{where}: {error.strerror}."
    elif not isinstance(error, ReplicateError | OSError):
        text = f"{type(error).__name__}: {text}"
    return CommandError(text)


def _readable(error: CycloptsError, arguments: Sequence[str]) -> str:
    """Return what is wrong with *arguments*, without a value that may be a token."""
    if flag := _token_flag(arguments):
        return (
            f"{flag} is not taken, for other users can see a command line; set "
            "REPLICATE_API_TOKEN instead."
        )
    said = str(error).rstrip(".")
    unknown = (error.unused_tokens or [""])[0]
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        name = error.argument.name
        name = name if name.startswith("-") else name.upper()
        said = f"{name} needs a value" if name in arguments else f"{name} is missing"
    elif isinstance(error, UnusedCliTokensError):
        said = f'There is one argument too many: "{unknown}"'
    elif isinstance(error, UnknownOptionError):
        said = said.partition("=")[0]
        short = re.match(r"Unknown option: -[^-.]", said)  # "-tTOKEN" is one argument
        said = short[0] if short else said
    elif isinstance(error, UnknownCommandError):
        said = said.replace(f'"{unknown}"', f'"{_name_in(unknown)}"')
        if str(error).endswith("..."):  # of more commands, cyclopts lists the first eight
            said = said.partition(" Available commands")[0].removesuffix(".")
        if unknown.startswith("-"):
            said = f"Unknown option: {_name_in(unknown)}"
    command = " ".join(("replicate-async", *(error.command_chain or ())))
    return f"{said}{' See' if said.endswith('?') else '; see'} '{command} --help'."


def _name_in(argument: str) -> str:
    """Return the part of an argument that is not a value: ``--name=value``, ``-nvalue``."""
    name = argument.partition("=")[0]
    if name.startswith("-") and not name.startswith("--"):
        return name[:2]
    return name if len(name) <= _LONGEST_NAME else f"{name[:4]}..."


def _token_flag(arguments: Sequence[str]) -> str | None:
    """Return the first option that was meant to give a token, other than the one of ``serve``."""
    for at, argument in enumerate(arguments):
        flag = argument.partition("=")[0]
        if flag == "--token" and "serve" in arguments[:at]:
            continue
        if flag.startswith("-") and _FOR_TOKENS.search(flag):
            return flag if len(flag) <= _LONGEST_NAME else "A token"
    return None

"""The commands, and how their arguments become calls."""

from __future__ import annotations

import inspect
import logging
import re
import sys
from collections.abc import Sequence
from typing import Any, Final

from cyclopts import App, CycloptsError, Parameter, UnknownCommandError, UnknownOptionError

from replicate_async.cli.commands import batch, files
from replicate_async.cli.commands import predictions as listing
from replicate_async.cli.commands import run as running
from replicate_async.cli.commands import serve as serving
from replicate_async.cli.errors import USAGE, UsageError
from replicate_async.cli.main import execute, fail
from replicate_async.core.version import __version__

_FOR_TOKENS: Final = re.compile(r"token|api.?key|auth|bearer|secret|password", re.IGNORECASE)
_LONGEST_NAME: Final = 24
"""Characters of an unknown option or command that are shown; what is longer may be a token."""


def build() -> App:
    """Return the program with all its commands."""
    app = App(
        name="replicate-async",
        help="Run models through the Replicate API, or through an embedded server.",
        help_format="plaintext",
        default_parameter=Parameter(negative=()),
        version_flags=["--version"],
        version=__version__,
    )
    app.command(running.run)
    app.command(running.stream)
    batches = App(
        name="batch", help="Run a model for every row of a file; the same command resumes."
    )
    batches.default(batch.batch)
    batches.command(batch.batch_status, name="status")
    batches.command(batch.batch_export, name="export")
    batches.command(batch.batch_resolve, name="resolve")
    app.command(batches)
    app.command(serving.serve)
    predictions = App(name="predictions", help="List, show and cancel predictions.")
    predictions.command(listing.list_predictions, name="list")
    predictions.command(listing.get_prediction, name="get")
    predictions.command(listing.cancel_prediction, name="cancel")
    app.command(predictions)
    models = App(name="models", help="List, show and search models.")
    models.command(listing.list_models, name="list")
    models.command(listing.get_model, name="get")
    models.command(listing.search_models, name="search")
    app.command(models)
    uploads = App(name="files", help="Upload, list and delete files; download outputs.")
    uploads.command(files.list_files, name="list")
    uploads.command(files.upload_file, name="upload")
    uploads.command(files.get_file, name="get")
    uploads.command(files.delete_file, name="delete")
    uploads.command(files.download_file, name="download")
    app.command(uploads)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run the command that *arguments* name and return its exit code."""
    # What a library logs is no part of a command's output; without a handler it would be on stderr.
    logging.getLogger().addHandler(logging.NullHandler())
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")
    try:
        command, bound, _ = build().parse_args(
            list(arguments), exit_on_error=False, print_error=False
        )
    except CycloptsError as error:
        return fail(_readable(error, arguments), code=USAGE)
    try:
        result: Any = command(*bound.args, **bound.kwargs)
        return execute(result) if inspect.iscoroutine(result) else 0
    except UsageError as error:
        return fail(error, error.listing, error.code)
    except KeyboardInterrupt:
        return 130


def _readable(error: CycloptsError, arguments: Sequence[str]) -> str:
    """Return what is wrong with *arguments*, without a value that may be a token."""
    if flag := _token_flag(arguments):
        return (
            f"{flag} is not taken, for other users can see a command line; set "
            "REPLICATE_API_TOKEN instead."
        )
    said = str(error).rstrip(".")
    if isinstance(error, UnknownOptionError):
        said = said.partition("=")[0]
        short = re.match(r"Unknown option: -[^-]", said)  # "-tTOKEN" is one argument
        said = short[0] if short else said
    elif isinstance(error, UnknownCommandError):
        unknown = (error.unused_tokens or [""])[0]
        said = said.replace(f'"{unknown}"', f'"{_name_in(unknown)}"')
        if unknown.startswith("-"):
            said = f"Unknown option: {_name_in(unknown)}"
    return f"{said}; see 'replicate-async --help'."


def _name_in(argument: str) -> str:
    """Return the part of an argument that is no value: ``--name=value``, ``-nvalue``."""
    name = argument.partition("=")[0]
    if name.startswith("-") and not name.startswith("--"):
        return name[:2]
    return name if len(name) <= _LONGEST_NAME else f"{name[:4]}..."


def _token_flag(arguments: Sequence[str]) -> str | None:
    """Return the first option that was meant to give a token, but for the one of ``serve``."""
    for at, argument in enumerate(arguments):
        flag = argument.partition("=")[0]
        if flag == "--token" and "serve" in arguments[:at]:
            continue
        if flag.startswith("-") and _FOR_TOKENS.search(flag):
            return flag if len(flag) <= _LONGEST_NAME else "A token"
    return None

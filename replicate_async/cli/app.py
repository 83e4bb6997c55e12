"""The commands, and how their arguments become calls."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Sequence
from typing import Any, Final

from cyclopts import App, CycloptsError, Parameter, UnknownOptionError

from replicate_async.cli import batch, files, listing, running, serving
from replicate_async.cli.failure import USAGE, UsageError
from replicate_async.cli.process import execute, fail
from replicate_async.core.version import __version__

_TOKEN_FLAGS: Final = ("--token", "--api-token")


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
    said = str(error).rstrip(".")
    if isinstance(error, UnknownOptionError):
        # Never its value, which may be a token.
        said = said.partition("=")[0]
        flags = {argument.partition("=")[0] for argument in arguments}
        if given := flags.intersection(_TOKEN_FLAGS):
            return (
                f"{given.pop()} is not taken, for other users can see a command line; set "
                "REPLICATE_API_TOKEN instead."
            )
    return f"{said}; see 'replicate-async --help'."

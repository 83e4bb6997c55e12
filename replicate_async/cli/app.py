"""The program and its commands."""

from __future__ import annotations

from typing import Any, Final

from cyclopts import App, Parameter
from cyclopts.config import Dict

from replicate_async.cli import config
from replicate_async.cli.commands import (
    account,
    batch,
    check,
    deployments,
    files,
    models,
    predictions,
    run,
    serve,
    trainings,
    types,
)
from replicate_async.core.version import __version__

_COMPLETION: Final = """Install the completion of commands and options in a shell.

$ replicate-async completion --shell bash
"""


def _shown_default(default: object) -> object:
    """Return the default that help shows: not that of a flag or a list."""
    return None if default is False or default == () else default


_PARAMETER: Final = Parameter(negative=(), show_default=_shown_default)


def build() -> App:
    """Return the program with all its commands."""

    def apply_defaults(*parsed: Any) -> None:
        """Apply the file of defaults to the arguments of a command, which `App` passes."""
        defaults = config.read()
        config.check(defaults, app)
        Dict(defaults, source=config.path())(*parsed)

    app = App(
        name="replicate-async",
        help="Run models through the Replicate API, or through an embedded server.",
        help_format="plaintext",
        default_parameter=_PARAMETER,
        version_flags=["--version"],
        version=__version__,
        config=apply_defaults,
    )
    for command in (run.run, run.stream, serve.serve, account.account, check.check, types.types):
        app.command(command)
    for group in (batch, predictions, trainings, models, deployments, files):
        group.app.default_parameter = _PARAMETER  # the reference does not inherit it
        app.command(group.app)
    app.register_install_completion_command(  # pyright: ignore[reportUnknownMemberType] - **kwargs
        name="completion", help=_COMPLETION
    )
    return app

"""The program and its commands."""

from __future__ import annotations

from typing import Any, Final

from cyclopts import App
from cyclopts.config import Dict

from replicate_async.cli import config
from replicate_async.cli.options import PARAMETER
from replicate_async.core.version import __version__

_COMMANDS: Final = (
    "run:run",
    "run:stream",
    "serve:serve",
    "account:account",
    "check:check",
    "types:types",
    "batch:app",
    "predictions:app",
    "trainings:app",
    "models:app",
    "deployments:app",
    "files:app",
)
"""The modules of the commands, which are imported when they are used, and the names in them."""

_COMPLETION: Final = """Install the completion of commands and options in a shell.

It writes a file below the home folder and, unless the shell finds that by itself, a line into the
startup file of the shell. It prints both.

$ replicate-async completion --shell bash
"""


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
        default_parameter=PARAMETER,
        version_flags=["--version"],
        version=__version__,
        config=apply_defaults,
    )
    for command in _COMMANDS:
        module, name = command.split(":")
        where = f"replicate_async.cli.commands.{command}"
        app.command(where, name=module if name == "app" else name)
    app.register_install_completion_command(  # pyright: ignore[reportUnknownMemberType] - **kwargs
        name="completion", help=_COMPLETION
    )
    return app

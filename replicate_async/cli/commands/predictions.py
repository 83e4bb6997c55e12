"""``predictions``: list, show and cancel them."""

from __future__ import annotations

from cyclopts import App

from replicate_async.cli.options import PARAMETER
from replicate_async.cli.records import add_run_commands

app: App = App(
    name="predictions", help="List, show and cancel predictions.", default_parameter=PARAMETER
)
add_run_commands(app, "prediction", "gm3qorzdhgbfurvjtvhg6dckhu", lambda client: client.predictions)

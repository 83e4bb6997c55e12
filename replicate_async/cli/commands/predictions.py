"""``predictions``: list, show and cancel them."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from replicate_async.cli.options import DEFAULTS, Limit, Options
from replicate_async.cli.records import (
    RUN_HEADER,
    run_row,
    show_canceled,
    show_list,
    show_record,
    show_run,
)

app: App = App(name="predictions", help="List, show and cancel predictions.")

PredictionId = Annotated[str, Parameter(name="id", help="The id of the prediction.")]


@app.command(name="list")
async def list_predictions(*, limit: Limit = 20, options: Options = DEFAULTS) -> None:
    """List the predictions of the account, newest first.

    $ replicate-async predictions list --limit 5
    """
    await show_list(options, lambda client: client.predictions.list(), limit, RUN_HEADER, run_row)


@app.command(name="get")
async def get_prediction(id: PredictionId, /, *, options: Options = DEFAULTS) -> None:
    """Show a prediction.

    $ replicate-async predictions get gm3qorzdhgbfurvjtvhg6dckhu
    """
    await show_record(
        options, f"prediction {id}", lambda client: client.predictions.get(id), show_run
    )


@app.command(name="cancel")
async def cancel_prediction(id: PredictionId, /, *, options: Options = DEFAULTS) -> None:
    """Cancel a prediction.

    $ replicate-async predictions cancel gm3qorzdhgbfurvjtvhg6dckhu
    """
    await show_record(
        options, f"prediction {id}", lambda client: client.predictions.cancel(id), show_canceled
    )

"""Running a prediction to its end, and decoding its output; what ``client.run`` does."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from replicate_async.core.endpoint import shorten
from replicate_async.errors import DecodeError, InvalidArgumentError
from replicate_async.refs import VersionRef
from replicate_async.resources._prediction_calls import PredictionCalls
from replicate_async.resources._prediction_request import PredictionRequest
from replicate_async.runs.run import run_to_end, wait_for_created
from replicate_async.runs.waiting.wait_options import WaitOptions
from replicate_async.schemas import Prediction

T = TypeVar("T")


async def run_prediction(
    calls: PredictionCalls,
    model: VersionRef,
    request: PredictionRequest,
    options: WaitOptions,
    *,
    delete_uploads: bool,
) -> Prediction:
    """Create a prediction and return it succeeded; raises what `run_to_end` raises."""
    async with request.input.sent(delete=delete_uploads):
        return await run_to_end(
            calls.create(model, request),
            lambda created: wait_for_created(calls.waits, created, options),
            calls.cancel,
        )


def check_type(type: object) -> None:
    """Raise `InvalidArgumentError` for a type that msgspec cannot decode, before a run is paid."""
    try:
        msgspec.convert(None, type)
    except msgspec.ValidationError:
        pass
    except TypeError as error:
        raise InvalidArgumentError(
            f"type={shorten(type)} cannot be decoded ({error}); give a type such as str, "
            "list[str] or a msgspec Struct."
        ) from None


def decode_output(calls: PredictionCalls, prediction: Prediction, type: type[T]) -> T:
    """Return the output as a *type*; raises `DecodeError`, with the prediction."""
    try:
        return calls.output_as(prediction, type)
    except msgspec.ValidationError as error:
        fault = DecodeError(f"{prediction.id}: {error}")
        fault.prediction = prediction
        raise fault from None

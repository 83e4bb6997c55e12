"""Running a prediction to its end, and decoding its output; what ``client.run`` does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec

from replicate_async.core.endpoint import shorten
from replicate_async.errors import AmbiguousCreateError, DecodeError, InvalidArgumentError
from replicate_async.files.find import Shape
from replicate_async.resources._prediction_calls import PredictionCalls
from replicate_async.resources._prediction_request import PredictionRequest
from replicate_async.resources._target import Target
from replicate_async.runs.repeats import repeated
from replicate_async.runs.run import cancel_after_hint, error_of, run_to_end, wait_for_created
from replicate_async.runs.waiting.wait_options import WaitOptions
from replicate_async.schemas import Prediction
from replicate_async.tracing import traced
from replicate_async.typed import Contract


async def run_prediction(
    calls: PredictionCalls,
    target: Target,
    request: PredictionRequest,
    options: WaitOptions,
    *,
    type: type[Any] | None,
    files: bool,
    delete_uploads: bool,
    retries: int,
    renew: bool,
) -> Any:
    """Create a prediction and return its output; raises the error of one that has none.

    With *renew*, a repeat has the deadline of the cancel scopes that is left then.
    """
    create = partial(calls.create, target.ref, request)
    attempt = partial(
        run_to_end,
        partial(_renewed, request, create) if retries and renew else create,
        lambda created: wait_for_created(calls.waits, created, options),
        calls.cancel,
    )
    with traced(calls.context.start_span(target.ref)) as span:
        await request.input.send()
        try:
            prediction = await (repeated(attempt, retries, span.seen) if retries else attempt())
            if (failed := error_of(prediction)) is not None:
                raise failed
            span.seen(prediction)
        except AmbiguousCreateError:
            delete_uploads = False  # a prediction may exist that reads them
            raise
        finally:
            if delete_uploads:
                await request.input.delete_uploads()
    if type is not None:
        return decode_output(calls, prediction, type, target.contract)
    return calls.output(prediction) if files else prediction.output


def _renewed(
    request: PredictionRequest, create: Callable[[], Awaitable[Prediction]]
) -> Awaitable[Prediction]:
    request.set_deadline(cancel_after_hint())
    return create()


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


def output_type_of(contract: Contract, type: object, *, files: bool = True) -> Any:
    """Return the type of a typed model's output, None for one without a type.

    Raises `InvalidArgumentError` for a *type* or *files* of the caller's own.
    """
    if type is not None or not files:
        given = f"type={shorten(type)}" if files else "files=False"
        raise InvalidArgumentError(
            f"{given} is not for a TypedModel, which has a type of its own; pass its name "
            f"{contract.model.ref!r} to choose another."
        )
    return None if contract.output_type is Any else contract.output_type


def decode_output(
    calls: PredictionCalls, prediction: Prediction, type: type[Any], contract: Contract | None
) -> Any:
    """Return the output as a *type*; raises `DecodeError`, with the prediction."""
    try:
        return as_type(calls, prediction, type, contract)
    except msgspec.ValidationError as error:
        fault = DecodeError(f"{prediction.id}: {error}")
        fault.prediction = prediction
        if contract is not None:
            contract.add_drift_note(fault)
        raise fault from None


def as_type(
    calls: PredictionCalls, prediction: Prediction, type: type[Any], contract: Contract | None
) -> Any:
    """Return the output as a *type*; raises `msgspec.ValidationError`.

    With a *contract*, a list of strings is one text where the type is a text.
    """
    shape = calls.context.models.shape_of(prediction)
    if shape is None and contract is not None:
        shape = Shape(is_text=True)
    return calls.files.output_as(prediction, type, shape)

"""``client.batch``: the checks of its arguments, and the calls that a batch makes."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import (
    AsyncGenerator,
    Callable,
    Mapping,
)
from datetime import datetime
from functools import partial
from typing import Any, TypeVar, cast, get_args

import msgspec
from msgspec import Raw

from replicate_async.arguments import check_choice, check_count, check_flags, check_instance
from replicate_async.context import ClientContext
from replicate_async.core.api_clock import answered_at
from replicate_async.core.endpoint import shorten
from replicate_async.core.hooks import RequestHooks
from replicate_async.core.numbers import is_number
from replicate_async.core.usage import Price
from replicate_async.errors import (
    DecodeError,
    InvalidArgumentError,
    NotFoundError,
)
from replicate_async.files.inputs import FileEncoding, encode_input, without_field
from replicate_async.files.save import checked_path
from replicate_async.refs import VersionRef
from replicate_async.resources._dataframe import Rows, is_dataframe
from replicate_async.resources._options import check_events, check_webhook, create_headers
from replicate_async.resources._prediction_calls import PredictionCalls
from replicate_async.resources._prediction_request import PredictionRequest
from replicate_async.resources._running import as_type
from replicate_async.resources.endpoints import MODELS_GET, MODELS_VERSIONS_GET
from replicate_async.runs.batch.api import BatchApi, ListedPage
from replicate_async.runs.batch.batch import Batch
from replicate_async.runs.batch.inputs import open_source
from replicate_async.runs.batch.journal import JournalHeader
from replicate_async.runs.batch.journal.resolve import resolve
from replicate_async.runs.batch.keys import Key, Match
from replicate_async.runs.batch.options import BatchOptions, BatchTimeouts, OnError
from replicate_async.runs.batch.results import ItemInput
from replicate_async.runs.batch.scheduler import BatchScheduler
from replicate_async.runs.repeats import check_retries
from replicate_async.runs.streaming.stream import check_on_exit
from replicate_async.runs.waiting.listed_run import decode
from replicate_async.runs.waiting.wait_options import WaitOptions
from replicate_async.schemas import Prediction
from replicate_async.schemas.redaction import redact_run
from replicate_async.typed import Contract

T = TypeVar("T")


def make_batch(
    calls: PredictionCalls,
    inputs: object,
    options: BatchOptions,
    contract: Contract | None = None,
) -> Batch[Any]:
    """Return the batch that ``client.batch`` describes; raises if an option is wrong."""
    context, version = calls.context, options.ref
    wait_options = WaitOptions(options.timeout, options.queue_timeout, options.poll)
    _check(options)
    price = _price_of(context.tracker.usage.prices, version, contract)
    if options.max_cost is not None and price(None) is None:
        raise InvalidArgumentError(
            f"max_cost= needs the price of {version.deployment or version.model or version}: give "
            'prices={"owner/name": ...} to the client, and the model by its name.'
        )
    events = check_events(options.webhook_events_filter)
    header = JournalHeader(
        model=options.model,
        version=version.version,
        options=_digest(
            create_headers(None, options.cancel_after).headers,
            check_webhook(options.webhook),
            events,
        ),
        sdk=context.sender.user_agent,
    )

    async def schema() -> Mapping[str, Any] | None:
        return await _schema(context, version) if contract is None else contract.document

    async def create(given: ItemInput, latest: str | None, hooks: RequestHooks) -> Prediction:
        request = PredictionRequest(
            context,
            input=given,
            cancel_after=options.cancel_after,
            webhook=options.webhook,
            webhook_events_filter=events,
            file_encoding=options.file_encoding,
            contract=contract,
            hooks=hooks,
        )
        exact = version if latest is None else version._replace(version=latest)
        return calls.recorded(await calls.create(exact, request, look_up=False))

    async def wait(prediction_id: str, last: Prediction | None) -> Prediction:
        return await calls.waits.wait(prediction_id, wait_options, last=last)

    def typed_output(prediction: Prediction) -> Any:
        if options.type is None:
            return calls.output(prediction)
        return as_type(calls, prediction, options.type, contract)

    def is_text(prediction: Prediction) -> bool:
        known = context.models.shape_of(prediction)
        return known is not None and known.is_text

    api = BatchApi(
        create=create,
        latest_version=calls.latest_version,
        learn_time=calls.probe_clock,
        wait=wait,
        get=calls.get,
        holds_token=context.sender.token.is_in,
        cancel=calls.cancel,
        pages=partial(_pages, calls),
        clock=context.sender.clock,
        output=calls.output,
        typed_output=typed_output,
        is_text=is_text,
        input_schema=schema,
        check=None if contract is None else partial(_check_input, contract, options.key),
        requests=lambda: context.requests_sent,
        record_end=context.tracker.record_end,
        price=price,
        start_span=partial(context.start_span, version),
    )
    source = open_source(Rows(inputs) if is_dataframe(inputs) else inputs)
    return Batch(BatchScheduler(source, options, header, api, context.batches))


def _price_of(
    prices: Mapping[str, Price], ref: VersionRef, contract: Contract | None
) -> Callable[[str | None], Price | None]:
    """Return `BatchApi.price`; the price of a deployment comes before that of its model."""
    model = ref.model if contract is None else contract.ref.model
    of_all = prices.get(str(ref.deployment)) or prices.get(str(model))
    return lambda named: of_all or prices.get(named or "")


def _check_input(contract: Contract, key: Key, given: ItemInput) -> None:
    """Raise `InvalidInputError` if the model does not take an input, but for the field *key*."""
    known = contract.input_check.interface.inputs or ()
    sent = without_field(given, key) if isinstance(key, str) and key not in known else given
    contract.check(given, encode_input(sent))


async def resolve_item(
    calls: PredictionCalls,
    journal: str | os.PathLike[str],
    key: str,
    *,
    prediction: str | Prediction | None,
    absent: bool,
) -> None:
    """Record what became of an uncertain create; ``client.resolve_batch_item`` describes it."""
    path = checked_path(journal, "journal")
    if (prediction is None) is not absent:
        raise InvalidArgumentError(
            "give either prediction= or absent=True: what became of the create."
        )
    made = None
    if prediction is not None:
        made_id = prediction.id if isinstance(prediction, Prediction) else prediction
        try:
            made = await calls.get(made_id)
        except NotFoundError:
            raise InvalidArgumentError(
                f"there is no prediction {made_id!r}, or this token may not see it: copy its id "
                "from https://replicate.com/predictions."
            ) from None
    await resolve(path, key, made)


class _WrittenAt(RequestHooks):
    """The time of the latest page of a listing, by the clock of the API."""

    def __init__(self) -> None:
        self.time: float | None = None

    def answered(self, status: int, headers: Mapping[str, str]) -> None:  # noqa: ARG002 - as any hook has it
        self.time = answered_at(headers)


async def _pages(
    calls: PredictionCalls, after: datetime, before: datetime
) -> AsyncGenerator[ListedPage]:
    written_at = _WrittenAt()
    async for page in calls.pages(after, before, written_at):
        listed = [_listed(item, calls.context.redact) for item in page.results]
        yield ListedPage(listed, written_at.time)


def _listed(item: Raw, redact: Callable[[str], str]) -> Prediction:
    found = decode(item, Prediction)
    if found is None:
        raise DecodeError("the list of predictions shows one that cannot be read")
    return redact_run(found, redact)


def _check(options: BatchOptions) -> None:
    check_choice("file_encoding", options.file_encoding, get_args(FileEncoding))
    check_on_exit(options.on_exit)
    for name in ("journal", "save_files"):
        if (path := getattr(options, name)) is not None:
            # The journal names the files in the folder.
            checked_path(path, name, is_recorded=name == "save_files" and bool(options.journal))
    check_choice("match", options.match, get_args(Match))
    if options.match == "key" and options.key is None:
        raise InvalidArgumentError('match="key" needs key=, which names each input.')
    check_choice("on_error", options.on_error, get_args(OnError))
    check_flags(ordered=options.ordered, retry_failed=options.retry_failed, dry_run=options.dry_run)
    check_instance("batch_timeouts", options.timeouts, BatchTimeouts)
    check_count("concurrency", options.concurrency, 1, 100_000)
    check_retries(options.retries)
    check_count("max_predictions", options.max_predictions, 0, 10**9)
    for name, unit in (("max_seconds", " of seconds"), ("max_cost", "")):
        limit = cast("object", getattr(options, name))
        if limit is not None and not is_number(limit, 0, math.inf):
            raise InvalidArgumentError(
                f"{name}={shorten(limit)} must be a number{unit}, 0 or more."
            )
    key = cast("object", options.key)
    if key is not None and not callable(key) and not (isinstance(key, str) and key):
        raise InvalidArgumentError(
            f"key={shorten(key)} must name a field of the inputs, or be a function of an input."
        )
    for name, of in (
        ("on_progress", "a function of a BatchProgress"),
        ("prepare", "an async function of an input"),
        ("finish", "an async function of a BatchResult"),
    ):
        function = getattr(options, name)
        if function is not None and not callable(function):
            raise InvalidArgumentError(f"{name}={shorten(function)} must be {of}.")


def _digest(*options: object) -> str:
    """Return a digest of the *options* of a create for the journal; empty without options."""
    if all(option is None for option in options):
        return ""
    return hashlib.sha256(msgspec.json.encode(options)).hexdigest()[:16]


async def _schema(context: ClientContext, ref: VersionRef) -> Mapping[str, Any] | None:
    if ref.model is None:
        return None
    path = ref.model.path("model")
    try:
        if ref.version is not None:
            path |= {"version_id": ref.version}
            return (await context.call(MODELS_VERSIONS_GET, path)).openapi_schema
        latest = (await context.call(MODELS_GET, path)).latest_version
    except NotFoundError:
        if ref.version is not None:  # official models may hide their versions
            return None
        raise
    return None if latest is None else latest.openapi_schema

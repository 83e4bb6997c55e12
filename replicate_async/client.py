"""The client: its options, its resources, and what runs models to their end."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, cast

import msgspec

from replicate_async.config import (
    read_base,
    read_limiter,
    read_options,
    read_proxy,
    read_timeout,
    read_token,
    read_trust_env,
    read_user_agent,
)
from replicate_async.context import ClientContext
from replicate_async.core.endpoint import shorten
from replicate_async.core.limits import Limiter, Limits, RateLimiters
from replicate_async.core.poll import Poll
from replicate_async.core.retry import Retry, RetryBudget
from replicate_async.core.timeout import Timeout
from replicate_async.errors import DecodeError, InvalidArgumentError
from replicate_async.files.inputs import FileEncoding
from replicate_async.files.output import FileSource
from replicate_async.refs import parse_version
from replicate_async.resources._options import Deadline, Wait
from replicate_async.resources._prediction_calls import PredictionCalls
from replicate_async.resources._prediction_request import PredictionRequest
from replicate_async.resources._prepared_input import Input
from replicate_async.resources.account import AccountResource
from replicate_async.resources.collections import Collections
from replicate_async.resources.deployments import Deployments
from replicate_async.resources.files import Files
from replicate_async.resources.hardware import HardwareResource
from replicate_async.resources.models import Models
from replicate_async.resources.predictions import Predictions
from replicate_async.resources.search import search
from replicate_async.resources.trainings import Trainings
from replicate_async.resources.webhooks import Webhooks
from replicate_async.runs.run import (
    cancel_after_hint,
    run_to_end,
    sync_wait_hint,
    sync_wait_within,
    wait_for_created,
)
from replicate_async.runs.streaming.stream import OnExit, Stream, check_on_exit
from replicate_async.runs.waiting.run_api import (
    PREDICTION_QUEUE_TIMEOUT,
    PREDICTION_TIMEOUT,
    OnUpdate,
    check_on_update,
    check_timeout,
    given_poll,
)
from replicate_async.schemas import Prediction, SearchResults, Version, WebhookEvent
from replicate_async.transport.sender import RequestSender

if TYPE_CHECKING:
    import os
    from ssl import SSLContext

    import aiohttp
    from typing_extensions import TypeVar

    from replicate_async.runs.batch.batch import Batch
    from replicate_async.runs.batch.calls import BatchTimeouts, OnError
    from replicate_async.runs.batch.keys import Key, Match
    from replicate_async.runs.batch.results import BatchProgress, ItemInput

    T = TypeVar("T", default=Any)


class Replicate:
    """A client of the Replicate API.

    *api_token* is taken from REPLICATE_API_TOKEN and *base_url* from REPLICATE_BASE_URL when they
    are not given; the token goes to the base URL's origin and nowhere else. *timeout* is a
    `Timeout`, or a number of seconds for its ``read``. *retry* says how failed requests are
    repeated, *limits* how requests are paced; a *limiter* that processes share takes the place of
    *limits*, but for its ``connects``. A base URL with ``http:`` is refused unless it is on this
    machine, or *allow_insecure*. *trusted_hosts* are names of hosts, such as "files.corp.example",
    from which files and streams are read over https at any address, a private one too, and so from
    the names below them; the service's own hosts always are.

    *proxy* (``"http://host:port"``), *ssl* (an ``ssl.SSLContext``, or False for no verification)
    and *trust_env* (use the proxies that the environment names) hold for every connection: to the
    API, for files and for streams. *session* is an ``aiohttp.ClientSession`` to use for the API
    and leave open; files and streams of other hosts take its proxy and connector, too, without its
    headers and cookies. By default the client makes one at its first request, for the running
    event loop.

    Use it with ``async with``, or call ``aclose()`` at the end. Raises `InvalidArgumentError` for
    a token or base URL that cannot be right.
    """

    def __init__(
        self,
        api_token: str | None = None,
        *,
        base_url: str | None = None,
        timeout: Timeout | float | None = None,
        retry: Retry | None = None,
        limits: Limits | None = None,
        limiter: Limiter | None = None,
        session: aiohttp.ClientSession | None = None,
        proxy: str | None = None,
        ssl: SSLContext | bool | aiohttp.Fingerprint = True,
        trust_env: bool = False,
        user_agent: str | None = None,
        allow_insecure: bool = False,
        trusted_hosts: Collection[str] = (),
    ) -> None:
        # Here and not above: `import replicate_async` stays quick for those who only want types.
        from replicate_async.transport.connections import (  # noqa: PLC0415 - imports aiohttp
            Connections,
            read_tls,
        )
        from replicate_async.transport.transport import (  # noqa: PLC0415 - imports aiohttp
            Transport,
        )

        retry = read_options(Retry, retry, "retry")
        limits = read_options(Limits, limits, "limits")

        try:
            base = read_base(base_url, allow_insecure=allow_insecure, trusted_hosts=trusted_hosts)
            token = read_token(api_token)
            connections = Connections(
                connects=limits.connects,
                proxy=read_proxy(proxy),
                tls=read_tls(ssl),
                trust_env=read_trust_env(trust_env, session),
            )
        finally:
            del api_token, base_url, proxy  # tracebacks may be printed with their locals
        sender = RequestSender(
            base=base,
            token=token,
            user_agent=read_user_agent(user_agent),
            timeout=read_timeout(timeout),
            retry=retry,
            budget=RetryBudget(retry.budget),
            rate_limiters=RateLimiters(limits),
            limiter=read_limiter(limiter),
            transport=Transport(session=session, connections=connections),
        )
        self._bind(ClientContext.of(sender))

    def _bind(self, context: ClientContext) -> None:
        self._context = context
        self._calls = PredictionCalls(context)
        self.account: AccountResource = AccountResource(context)
        self.collections: Collections = Collections(context)
        self.deployments: Deployments = Deployments(context)
        self.files: Files = Files(context)
        self.hardware: HardwareResource = HardwareResource(context)
        self.models: Models = Models(context)
        self.predictions: Predictions = Predictions(self._calls)
        self.trainings: Trainings = Trainings(context)
        self.webhooks: Webhooks = Webhooks(context)

    @property
    def _file_source(self) -> FileSource:
        return self._calls.files

    def with_options(
        self,
        *,
        api_token: str | None = None,
        timeout: Timeout | float | None = None,
        retry: Retry | None = None,
        limits: Limits | None = None,
        limiter: Limiter | None = None,
        user_agent: str | None = None,
    ) -> Self:
        """Return a copy with other options, over the same connections: closing one closes both.

        Copies keep one pace together, but for one with another token or other *limits*.
        """
        sender = self._context.sender
        changes: dict[str, Any] = {}
        if api_token is not None:
            try:
                token = read_token(api_token)
            finally:
                del api_token  # tracebacks may be printed with their locals
            if token.bearer != sender.token.bearer:
                # The API counts by account.
                changes |= {
                    "token": token,
                    "rate_limiters": RateLimiters(sender.rate_limiters.limits),
                }
        if timeout is not None:
            changes["timeout"] = read_timeout(timeout)
        if retry is not None:
            retry = read_options(Retry, retry, "retry")
            changes |= {"retry": retry, "budget": RetryBudget(retry.budget)}
        if limiter is not None:
            changes["limiter"] = read_limiter(limiter)
        if limits is not None:
            changes["rate_limiters"] = RateLimiters(read_options(Limits, limits, "limits"))
        if user_agent is not None:
            changes["user_agent"] = read_user_agent(user_agent)
        copy = object.__new__(type(self))
        copy._bind(self._context.with_sender(replace(sender, **changes)))
        return copy

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; the client cannot be used after that."""
        for batch in list(self._context.batches):
            await batch.aclose()
        await self._context.sender.transport.aclose()

    def __repr__(self) -> str:
        sender = self._context.sender
        return f"<Replicate {sender.base.url} {sender.transport.state}>"

    async def search(self, query: str, *, limit: int | None = None) -> SearchResults:
        """Search models, collections and documentation pages; a beta of the API.

        *limit*, 1 to 50 and 20 unless set, is for the models (search).
        """
        return await search(self._context, query, limit)

    async def run(
        self,
        model: str,
        input: Input | None = None,
        *,
        type: type[T] | None = None,
        files: bool = True,
        wait: Wait = None,
        cancel_after: Deadline = None,
        webhook: str | None = None,
        webhook_events_filter: Sequence[WebhookEvent] | None = None,
        file_encoding: FileEncoding = "auto",
        delete_uploads: bool = False,
        timeout: float | None = PREDICTION_TIMEOUT,
        queue_timeout: float | None = PREDICTION_QUEUE_TIMEOUT,
        poll: Poll | None = None,
        on_update: OnUpdate[Prediction] | None = None,
    ) -> T:
        """Run a model to its end and return its output, whole.

        *model* and the options are those of ``predictions.create``, *timeout* (35 minutes of work),
        *queue_timeout* (60 minutes before it) and *poll* those of ``predictions.wait``. *type*
        decodes the output, such as ``type=str`` for the text of a language model or
        ``type=list[FileOutput]``; `DecodeError`, with the prediction, says that it is something
        else. `str` joins a list where the model's schema says that it is one text in chunks or,
        where no schema was looked up, where no item is a URL. Without a *type*, files are
        `FileOutput`, and with ``files=False`` the strings that the API gives. Raises
        `PredictionFailed`, `PredictionCanceled` or `PredictionAborted` with the prediction. When
        the task is cancelled or one of the two times is over (`WaitTimeout`), the prediction is
        cancelled. When the API has refused every poll for 30 seconds, that error is raised with
        ``.prediction``, and the prediction goes on.

        ``delete_uploads=True`` deletes, when the run has ended, the files of the input that were
        uploaded for it; they expire after a day otherwise.

        *on_update*, a function or an async function, is called with the prediction as it was
        created and with each change; what it raises ends the run. Where *wait* is left out, a
        model whose last runs took at most 3 seconds is run in one request that the API holds;
        False never does that. Where *cancel_after* is left out and an anyio cancel scope around
        the call has a deadline, such as ``fail_after``, the API ends the run by then (after 5
        seconds at least); ``asyncio.timeout`` does not show its deadline, and cancels the run as
        ever.
        """
        if type is not None:
            _check_type(type)
        check_on_update(on_update)
        check_timeout(timeout)
        check_timeout(queue_timeout, "queue_timeout")
        given_poll(poll)
        parsed = parse_version(model)
        held = wait
        if wait is None and on_update is None:
            held = sync_wait_hint(self._context.tracker.durations, parsed)
        request = PredictionRequest(
            self._context,
            input=input,
            wait=sync_wait_within(held, timeout, queue_timeout),
            cancel_after=cancel_after_hint() if cancel_after is None else cancel_after,
            webhook=webhook,
            webhook_events_filter=webhook_events_filter,
            file_encoding=file_encoding,
        )
        calls = self._calls
        async with request.input.sent(delete=delete_uploads):
            prediction = await run_to_end(
                calls.create(parsed, request),
                lambda made: wait_for_created(
                    calls.waits,
                    made,
                    timeout=timeout,
                    queue_timeout=queue_timeout,
                    poll=poll,
                    on_update=on_update,
                ),
                calls.cancel,
            )
        if type is None:
            # Without a type, T is Any.
            return cast("T", calls.output(prediction) if files else prediction.output)
        try:
            return calls.output_as(prediction, type)
        except msgspec.ValidationError as error:
            fault = DecodeError(f"{prediction.id}: {error}")
            fault.prediction = prediction
            raise fault from None

    def stream(
        self,
        model: str,
        input: Input | None = None,
        *,
        cancel_after: Deadline = None,
        webhook: str | None = None,
        webhook_events_filter: Sequence[WebhookEvent] | None = None,
        file_encoding: FileEncoding = "auto",
        on_exit: OnExit = "cancel",
        poll: Poll | None = None,
    ) -> Stream:
        """Run a model and follow its output as it is made; use it with ``async with``.

        *model* and the options are those of ``predictions.create``. When the block is left early,
        the prediction is cancelled, unless ``on_exit="continue"``. *poll* sets the pace for models
        without a stream. See `Stream` for what it yields and raises.
        """
        request = PredictionRequest(
            self._context,
            input=input,
            cancel_after=cancel_after,
            webhook=webhook,
            webhook_events_filter=webhook_events_filter,
            file_encoding=file_encoding,
        )
        parsed = parse_version(model)
        return Stream(
            self._calls.stream_deps,
            lambda: self._calls.create(parsed, request),
            prepare=request.input.send,
            on_exit=check_on_exit(on_exit),
            poll=poll,
        )

    def batch(
        self,
        model: str,
        inputs: Iterable[ItemInput] | AsyncIterable[ItemInput] | object,
        *,
        type: type[T] | None = None,
        concurrency: int | None = None,
        ordered: bool = False,
        journal: str | os.PathLike[str] | None = None,
        key: Key = None,
        match: Match = "input",
        on_error: OnError = "collect",
        on_exit: OnExit = "cancel",
        retries: int = 0,
        retry_failed: bool = False,
        save_files: str | os.PathLike[str] | None = None,
        max_seconds: float | None = None,
        max_predictions: int | None = None,
        dry_run: bool = False,
        on_progress: Callable[[BatchProgress], object] | None = None,
        cancel_after: Deadline = None,
        webhook: str | None = None,
        webhook_events_filter: Sequence[WebhookEvent] | None = None,
        file_encoding: FileEncoding = "auto",
        timeout: float | None = None,
        queue_timeout: float | None = None,
        poll: Poll | None = None,
        batch_timeouts: BatchTimeouts | None = None,
    ) -> Batch[T]:
        """Run a model over *inputs*, each created once; iterate over what this returns.

        *model*, *cancel_after*, *webhook*, *webhook_events_filter* and *file_encoding* are those of
        ``predictions.create``, *timeout* and *queue_timeout* (no limits unless set) and *poll*
        those of ``predictions.wait``, *type* that of ``client.run``. *inputs* is an iterable, an
        asynchronous iterable or a data frame, of any length; a few hundred are read ahead. A slow
        iterator blocks the event loop, unless it is asynchronous. What an iterator raises is raised
        when all that it gave before has ended and was handed over.

        *concurrency* is how many predictions run at a time; by default as many as it takes to
        create at the pace of ``Limits(creates=...)``, at most 1,000. Results come as they are
        there, or with *ordered* in the order of the inputs, which at most 4 times *concurrency*
        items wait for.

        *journal* is a file that makes the batch one to resume: what is done is not asked again,
        what was created is waited for, and a create that may have happened is looked for in the
        list of predictions and never repeated on a guess. *key* names a field, or is a function,
        that gives each input a name of its own; else the name is a digest of model and input. A
        field that is no input of the model, by its schema, is not sent: that is looked up once,
        before the first create. With ``match="key"`` the key alone says which item an input is: its
        values, such as signed URLs, may differ at each run. Otherwise a key with other values than
        the journal knows is refused.

        An item that fails has an `error`, or raises it with ``on_error="raise"``. *retries* is how
        often a prediction is made again that was aborted, or failed because of the service and not
        of the model; *retry_failed* runs once more what the journal has as failed. What would hit
        every item (401, 402 or 403 of a create, 401 of every poll for 30 seconds, an unknown model,
        a journal that fails) is raised, and ends the batch.

        *save_files* is a folder where output files are saved before an item counts as done. They
        are named after the key, with a digest of it where it is no plain name in lower case, so
        that no two keys share a name; a file that is there already is never replaced.
        *max_predictions* and *max_seconds* end the creating, not what runs then.
        *on_exit* says whether leaving early cancels what runs ("cancel") or not ("continue").
        *dry_run* creates nothing: each input is looked at and compared with the model's schema,
        and the `summary` says how many would be created. *on_progress* is called with a
        `BatchProgress`, 10 times a second at most, once at least, and at the end. *batch_timeouts*
        holds the times after which lost creates, outages and failures are given up.

        Raises `InvalidArgumentError` for arguments that cannot be right.
        """
        from replicate_async.resources._batch import make_batch  # noqa: PLC0415 - brings SQLite

        return make_batch(
            self._calls,
            model,
            inputs,
            type=type,
            concurrency=concurrency,
            ordered=ordered,
            journal=journal,
            key=key,
            match=match,
            on_error=on_error,
            on_exit=on_exit,
            retries=retries,
            retry_failed=retry_failed,
            save_files=save_files,
            max_seconds=max_seconds,
            max_predictions=max_predictions,
            dry_run=dry_run,
            on_progress=on_progress,
            cancel_after=cancel_after,
            webhook=webhook,
            webhook_events_filter=webhook_events_filter,
            file_encoding=file_encoding,
            timeout=timeout,
            queue_timeout=queue_timeout,
            poll=poll,
            batch_timeouts=batch_timeouts,
        )

    async def resolve_batch_item(
        self,
        journal: str | os.PathLike[str],
        key: str,
        *,
        prediction: str | Prediction | None = None,
        absent: bool = False,
    ) -> None:
        """Record in a batch's *journal* what became of a create that the batch could not find out.

        *key* is that of a result that is `uncertain`. Look for its prediction on the website or
        with ``predictions.list``; give the *prediction* that you found, which the next run of the
        batch waits for, or *absent* when there is none, and the next run creates it.

        Raises `InvalidArgumentError` for a key that is unknown or not undecided, and for a
        prediction that is not there, of another model, or another item's; `JournalLocked` while a
        batch uses the journal.
        """
        from replicate_async.resources._batch import resolve_item  # noqa: PLC0415 - brings SQLite

        await resolve_item(self._calls, journal, key, prediction=prediction, absent=absent)

    def parse_output(self, prediction: Prediction, *, version: Version | None = None) -> Any:
        """Return the output of *prediction*, with its files as `FileOutput`.

        By the schema of *version*, where it is given or was looked up, every URL is a file where
        the model gives one. Otherwise those are that Replicate delivers, that are the API's own,
        and data URLs; what else begins with "https:" stays text.
        """
        return self._calls.output(prediction, version)


def _check_type(type: object) -> None:
    """Raise for a type that no output can be decoded as, before a run is paid for."""
    try:
        msgspec.convert(None, type)
    except msgspec.ValidationError:
        pass
    except TypeError as error:
        raise InvalidArgumentError(
            f"type={shorten(type)} is nothing to decode as ({error}); give a type such as str, "
            "list[str] or a msgspec Struct."
        ) from None

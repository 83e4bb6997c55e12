"""An asyncio-first, fully typed client of the Replicate HTTP API.

    from replicate_async import Replicate

    async with Replicate() as client:
        output = await client.run("owner/name", {"prompt": "Hi"})

`replicate_async.local` is an embedded server of the same API, `replicate_async.webhooks` verifies
webhooks, and `replicate_async.schemas` has every struct.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from replicate_async.core.version import __version__ as __version__

if TYPE_CHECKING:
    from replicate_async.bound import BoundModel
    from replicate_async.client import Replicate
    from replicate_async.core.limits import Limiter, Limits
    from replicate_async.core.poll import Poll
    from replicate_async.core.problem import Problem
    from replicate_async.core.retry import Retry
    from replicate_async.core.secret import Secret
    from replicate_async.core.timeout import Timeout
    from replicate_async.core.usage import ModelUsage, Usage
    from replicate_async.errors import (
        AmbiguousConflictError,
        AmbiguousConnectionError,
        AmbiguousCreateError,
        AmbiguousDecodeError,
        AmbiguousRedirectError,
        AmbiguousServerError,
        AmbiguousStatusError,
        AmbiguousTimeoutError,
        APIConnectionError,
        APIStatusError,
        APITimeoutError,
        AuthenticationError,
        BadRequestError,
        ClientStateError,
        ConflictError,
        ContentTooLargeError,
        DecodeError,
        FileError,
        FileTooLargeError,
        FinishError,
        InvalidArgumentError,
        InvalidInputError,
        JournalDamagedError,
        JournalError,
        JournalLockedError,
        JournalLostError,
        JournalMismatchError,
        JournalTooNewError,
        JournalWriteError,
        LimiterError,
        NotFoundError,
        OutputExpiredError,
        OutputRemovedError,
        PaginationLoopError,
        PaymentRequiredError,
        PermissionDeniedError,
        PredictionAborted,
        PredictionCanceled,
        PredictionError,
        PredictionFailed,
        PredictionGone,
        PrepareError,
        RateLimitError,
        RedirectError,
        ReplicateError,
        ServerError,
        StreamError,
        StreamIncompleteError,
        StreamLimitError,
        StreamResponseError,
        StreamRestartedError,
        TargetExistsError,
        TLSError,
        TruncatedBodyError,
        UnprocessableEntityError,
        UntrustedURLError,
        WaitError,
        WaitTimeout,
        WebhookVerificationError,
    )
    from replicate_async.files.file_input import FileInput
    from replicate_async.files.inputs import FileEncoding
    from replicate_async.files.output import FileOutput
    from replicate_async.files.save_all import SaveProgress, save_all
    from replicate_async.hooks import Hooks, RequestEvent, ResponseEvent, RetryEvent
    from replicate_async.resources._paginator import Paginator
    from replicate_async.runs.batch.batch import Batch
    from replicate_async.runs.batch.options import BatchTimeouts
    from replicate_async.runs.batch.results import BatchProgress, BatchResult, BatchSummary
    from replicate_async.runs.streaming.events import (
        DoneEvent,
        ErrorEvent,
        LogsEvent,
        OutputEvent,
        StreamEvent,
        UnknownEvent,
    )
    from replicate_async.runs.streaming.stream import Stream
    from replicate_async.runs.waiting.watch import RunUpdates
    from replicate_async.schemas import (
        Account,
        Collection,
        CollectionItem,
        Deployment,
        File,
        Hardware,
        Model,
        Page,
        Prediction,
        Progress,
        SearchResults,
        Training,
        Version,
        WebhookSecret,
    )
    from replicate_async.typed import TypedModel

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "Account",
    "AmbiguousConflictError",
    "AmbiguousConnectionError",
    "AmbiguousCreateError",
    "AmbiguousDecodeError",
    "AmbiguousRedirectError",
    "AmbiguousServerError",
    "AmbiguousStatusError",
    "AmbiguousTimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "Batch",
    "BatchProgress",
    "BatchResult",
    "BatchSummary",
    "BatchTimeouts",
    "BoundModel",
    "ClientStateError",
    "Collection",
    "CollectionItem",
    "ConflictError",
    "ContentTooLargeError",
    "DecodeError",
    "Deployment",
    "DoneEvent",
    "ErrorEvent",
    "File",
    "FileEncoding",
    "FileError",
    "FileInput",
    "FileOutput",
    "FileTooLargeError",
    "FinishError",
    "Hardware",
    "Hooks",
    "InvalidArgumentError",
    "InvalidInputError",
    "JournalDamagedError",
    "JournalError",
    "JournalLockedError",
    "JournalLostError",
    "JournalMismatchError",
    "JournalTooNewError",
    "JournalWriteError",
    "Limiter",
    "LimiterError",
    "Limits",
    "LogsEvent",
    "Model",
    "ModelUsage",
    "NotFoundError",
    "OutputEvent",
    "OutputExpiredError",
    "OutputRemovedError",
    "Page",
    "PaginationLoopError",
    "Paginator",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "Poll",
    "Prediction",
    "PredictionAborted",
    "PredictionCanceled",
    "PredictionError",
    "PredictionFailed",
    "PredictionGone",
    "PrepareError",
    "Problem",
    "Progress",
    "RateLimitError",
    "RedirectError",
    "Replicate",
    "ReplicateError",
    "RequestEvent",
    "ResponseEvent",
    "Retry",
    "RetryEvent",
    "RunUpdates",
    "SaveProgress",
    "SearchResults",
    "Secret",
    "ServerError",
    "Stream",
    "StreamError",
    "StreamEvent",
    "StreamIncompleteError",
    "StreamLimitError",
    "StreamResponseError",
    "StreamRestartedError",
    "TLSError",
    "TargetExistsError",
    "Timeout",
    "Training",
    "TruncatedBodyError",
    "TypedModel",
    "UnknownEvent",
    "UnprocessableEntityError",
    "UntrustedURLError",
    "Usage",
    "Version",
    "WaitError",
    "WaitTimeout",
    "WebhookSecret",
    "WebhookVerificationError",
    "save_all",
]

# Each name is imported at its first use, from its module here or else from `errors`: a program that
# needs one error class, or a subcommand, does not load the client.
_MODULES = {
    "bound": "BoundModel",
    "client": "Replicate",
    "core.limits": "Limiter Limits",
    "core.poll": "Poll",
    "core.problem": "Problem",
    "core.retry": "Retry",
    "core.secret": "Secret",
    "core.timeout": "Timeout",
    "core.usage": "ModelUsage Usage",
    "files.file_input": "FileInput",
    "files.inputs": "FileEncoding",
    "files.output": "FileOutput",
    "files.save_all": "SaveProgress save_all",
    "hooks": "Hooks RequestEvent ResponseEvent RetryEvent",
    "resources._paginator": "Paginator",
    "runs.batch.batch": "Batch",
    "runs.batch.options": "BatchTimeouts",
    "runs.batch.results": "BatchProgress BatchResult BatchSummary",
    "runs.streaming.events": "DoneEvent ErrorEvent LogsEvent OutputEvent StreamEvent UnknownEvent",
    "runs.streaming.stream": "Stream",
    "runs.waiting.watch": "RunUpdates",
    "schemas": "Account Collection CollectionItem Deployment File Hardware Model Page Prediction "
    "Progress SearchResults Training Version WebhookSecret",
    "typed": "TypedModel",
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}


if not TYPE_CHECKING:  # otherwise a type checker accepts any name

    def __getattr__(name: str) -> object:
        if name in __all__:
            module = import_module(f"{__name__}.{_HOMES.get(name, 'errors')}")
            globals()[name] = found = getattr(module, name)
            return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})

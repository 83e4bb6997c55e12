"""The base of every resource, and the check of the runs that methods are given."""

from __future__ import annotations

from replicate_async.context import ClientContext
from replicate_async.core.endpoint import shorten
from replicate_async.errors import InvalidArgumentError, UntrustedURLError
from replicate_async.schemas import Prediction, Training


class Resource:
    """A group of operations, such as ``client.models``; the client makes it."""

    __slots__ = ("_context",)

    def __init__(self, context: ClientContext) -> None:
        self._context = context


def run_id(context: ClientContext, run: Prediction | Training | str) -> str:
    """Return the id of *run*, which is a snapshot or the id itself.

    Raises `UntrustedURLError` for a snapshot whose ``urls`` are not at the API of this client.
    """
    if isinstance(run, str):
        return run
    if not isinstance(run, Prediction | Training):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
        raise InvalidArgumentError(
            f"prediction_id={shorten(run)} is a {type(run).__name__}; give an id, or the "
            "Prediction or Training itself."
        )
    for url in (run.urls.get, run.urls.cancel):
        if url is not None and context.base.target(url) is None:
            shown = context.redact(url)
            raise UntrustedURLError(
                f"{run.id} is at {shorten(shown)}, not at {context.base.url}; use a client with "
                "that base_url, or pass the id alone if both are the same API.",
                url=shown,
            )
    return run.id

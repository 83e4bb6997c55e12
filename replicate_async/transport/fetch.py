"""Streams and files, by GET from URLs that the API names.

The URLs may be on other hosts. `core.origin` says which may be fetched; the token goes along only
to the API's own origin, and for files only to the API's own uploads.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import time
from typing import TYPE_CHECKING, Final

from replicate_async.core import problem as problems
from replicate_async.core.endpoint import shorten
from replicate_async.core.origin import origin_of
from replicate_async.core.retry import phase_of_status
from replicate_async.errors import APIStatusError, RedirectError, UntrustedURLError
from replicate_async.transport.observation import Observation, is_observed
from replicate_async.transport.redirects import follow_redirects

if TYPE_CHECKING:
    from replicate_async.transport.byte_stream import ByteStream
    from replicate_async.transport.sender import RequestSender

_MOST_REDIRECTS: Final = 3
_MOST_FILE_REDIRECTS: Final = 5


class _FileRefusedError(APIStatusError):
    """The host of a file answered with a status after which the request may be repeated."""

    stream: ByteStream


async def open_stream(sender: RequestSender, url: str, last_event_id: str = "") -> ByteStream:
    """Open the event stream at *url*, after the event *last_event_id* if it is given.

    Raises `UntrustedURLError` for a URL that must not be fetched, without a request.
    """
    fields = {
        "Accept": "text/event-stream",
        "Cache-Control": "no-store",
        # An encoder would hold events back until it has enough of them to write.
        "Accept-Encoding": "identity",
        "User-Agent": sender.user_agent,
    }
    if last_event_id:
        fields["Last-Event-ID"] = last_event_id
    return await _observed_fetch(sender, url, fields, is_file=False)


async def open_file(
    sender: RequestSender, url: str, *, start: int = 0, validator: str = ""
) -> ByteStream:
    """Open the file at *url*, from byte *start* on if its strong ETag is still *validator*.

    Retries as API requests are. The answer may have any status; after a 429 or 5xx it is closed.
    Raises `UntrustedURLError` for a URL that must not be fetched, without a request.
    """
    # As few headers as there can be: the host may be a third party's.
    fields = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": sender.user_agent}
    if start:
        fields["Range"] = f"bytes={start}-"
        fields["If-Range"] = validator

    async def attempt(number: int) -> ByteStream:
        stream = await _observed_fetch(sender, url, fields, is_file=True, attempt=number)
        if phase_of_status(stream.status) is not None:
            stream.close()
            raise _refused(stream)
        return stream

    try:
        return await sender.repeat(attempt)
    except _FileRefusedError as error:
        return error.stream


def _refused(stream: ByteStream) -> _FileRefusedError:
    problem = problems.parse(stream.status, "", b"")
    after = problems.retry_after(stream.headers, problem, now=time())
    error = _FileRefusedError(
        str(problem), status=stream.status, problem=problem, operation="GET", retry_after=after
    )
    error.stream = stream
    return error


async def _observed_fetch(
    sender: RequestSender, url: str, fields: Mapping[str, str], *, is_file: bool, attempt: int = 1
) -> ByteStream:
    """Fetch *url*, and tell hooks, captures and the log of it."""
    if not is_observed(sender.hooks):
        return await _fetch(sender, url, fields, is_file=is_file)
    operation = "GET file" if is_file else "GET stream"
    # Its path may be all that it takes to read the output.
    origin = origin_of(sender.base.localize(url)) or ""
    observation = Observation(
        *(sender.transport, sender.hooks, operation, attempt),
        redact=sender.token.redact,
        url=str(origin),
    )
    async with observation:
        await observation.begin()
        stream = await _fetch(sender, url, fields, is_file=is_file)
        observation.answered(stream.status, stream.headers)
        return stream


async def _fetch(
    sender: RequestSender, url: str, fields: Mapping[str, str], *, is_file: bool
) -> ByteStream:
    """Send a GET to *url* and follow redirects; each URL is checked before it is requested."""
    base, timeout = sender.base, sender.timeout
    what, most = ("file", _MOST_FILE_REDIRECTS) if is_file else ("stream", _MOST_REDIRECTS)
    first_party = True

    async def get(url: str, redirect: ByteStream | None = None) -> ByteStream:
        nonlocal first_party
        if redirect is not None:
            redirect.close()
        url = base.localize(url)
        if not base.may_fetch(url, any_port=is_file):
            shown = url = sender.token.redact(url)
            raise UntrustedURLError(
                f"The {what} is said to be at {shorten(shown)}, which is no public https URL; it "
                "was not asked for.",
                url=shown,
            )
        # A URL that another host has chosen gets no token, even if it leads back to the API.
        first_party = first_party and base.owns(url)
        attached = first_party and (not is_file or (base.target(url) or "").startswith("/files/"))
        transport = sender.transport if attached else sender.transport.public_transport(base)
        hooks = sender.hooks if attached else None
        sent = fields if hooks is None else {**hooks.tracing.headers(), **fields}
        return await transport.open(
            url,
            fields=sent,
            token=sender.token,
            attached=attached,
            timeout=timeout,
            silence=timeout.read if is_file else timeout.stream,
            decompress=not is_file,
        )

    def refused(redirect: ByteStream) -> RedirectError:
        redirect.close()
        location = sender.token.redact(redirect.headers.get("Location", ""))
        return RedirectError(
            f"The {what} was redirected ({redirect.status}) to {shorten(location)}; {most} "
            "redirects at most are followed.",
            status=redirect.status,
            location=location,
        )

    return await follow_redirects(await get(url), url, hop=get, refused=refused, most=most)

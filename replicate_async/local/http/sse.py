"""Server-sent events over HTTP.

The service's streams are nginx with nchan, and these behave alike: the `: hi` prelude, ids of Unix
time and a counter, replay from the start for a late subscriber, resume after `Last-Event-ID`, and a
comment with a 408 before a silent connection is closed.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aiohttp import web

from replicate_async.local.clock import Clock
from replicate_async.local.faults import Fault
from replicate_async.local.http.errors import not_found
from replicate_async.local.settings import Settings
from replicate_async.local.store.events import Stream, Streams

PRELUDE = b": hi\n\n"
TIMEOUT = b":408: 408 Request Timeout\n\n"


class EventSender:
    """Sends the events of streams to their subscribers."""

    def __init__(self, streams: Streams, settings: Settings, clock: Clock) -> None:
        self._streams = streams
        self._settings = settings
        self._clock = clock

    async def subscribe(
        self, request: web.Request, fault: Fault | None = None
    ) -> web.StreamResponse:
        """Send the events of the stream at *request* until it ends or the client disconnects."""
        stream = self._streams.find(request.path)
        if stream is None:
            raise not_found()
        last = request.headers.get("Last-Event-ID") or request.query.get("last_event_id", "")
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
                "Access-Control-Allow-Origin": request.headers.get("Origin", "*"),
                **({} if fault is None else fault.mark),
            }
        )
        at = stream.after(last)
        with suppress(ConnectionResetError):  # the client has disconnected
            await response.prepare(request)
            await response.write(PRELUDE)
            if fault is None:
                await self._follow(stream, response, at)
            else:
                await self._disturb(stream, response, at, fault)
        return response

    async def _follow(self, stream: Stream, response: web.StreamResponse, at: int) -> None:
        while True:
            chunk, at = stream.batch(at)
            if chunk:
                await response.write(chunk)
            elif not await self._more(stream):
                await response.write(TIMEOUT)
                return

    async def _more(self, stream: Stream) -> bool:
        """Wait for events; False after the idle timeout, or the linger time of a done stream."""
        if self._streams.closing:
            return False
        limit = self._settings.stream_linger if stream.done else self._settings.stream_idle_timeout
        try:
            async with asyncio.timeout(limit):
                await stream.changed()
        except TimeoutError:
            return False
        return True

    async def _disturb(
        self, stream: Stream, response: web.StreamResponse, at: int, fault: Fault
    ) -> None:
        """Send the stream event by event, with its *fault*."""
        budget = fault.cut_after
        sent = 0
        while True:
            if at >= len(stream):
                if not await self._more(stream):
                    return
                continue
            chunk = stream.event(at)
            at += 1
            if fault.omit_done and chunk.startswith(b"event: done"):
                return
            if fault.pause:
                await self._clock.sleep(fault.pause)
            if budget is not None and len(chunk) >= budget:
                await response.write(chunk[:budget])
                return
            await response.write(chunk)
            budget = None if budget is None else budget - len(chunk)
            sent += 1
            if fault.cut_after_events is not None and sent >= fault.cut_after_events:
                return

"""Bytes of event streams, cut into chunks."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from replicate_async.core.sse import Event, Parser


def run(chunks: Iterable[bytes], parser: Parser | None = None) -> list[Event]:
    """Return the events of *chunks*."""
    parser = Parser() if parser is None else parser
    return [event for chunk in chunks for event in parser.feed(chunk)]


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    """Return *data*, cut at each of *at*."""
    bounds = [0, *sorted(at), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(bounds)]


def single(data: bytes) -> list[bytes]:
    """Return the single bytes of *data*."""
    return [data[i : i + 1] for i in range(len(data))]

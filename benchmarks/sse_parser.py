"""Our event-stream parser against httpx-sse's decoders, on the same bytes.

    python benchmarks/sse_parser.py [rounds]

Both get the chunks as bytes and return events; httpx-sse reads text, so its side decodes UTF-8
first, as its users' HTTP client does. Rounds alternate, and each figure is the median of them.
"""

from __future__ import annotations

import codecs
import statistics
import sys
import time
from collections.abc import Callable, Sequence

# The public entry point needs an HTTP response; the decoders behind it are what is measured here.
from httpx_sse._decoders import SSEDecoder, SSELineDecoder

from replicate_async.core.sse import Parser, encode

EVENTS = 8_192
SHAPES = {
    "tokens": [" the", " quick", " brown", " fox", ",", " jumps", " naïve", "."],
    "a line end in every 8th": [" the", " quick", "\n\n", " fox", ",", " jumps", " over", "."],
    "1 kB each": [" word" * 200] * 8,
}


def chunks_of(tokens: Sequence[str], per_chunk: int) -> list[bytes]:
    """Return the wire bytes of all events, *per_chunk* in each piece."""
    events = [encode("output", tokens[i % len(tokens)], f"1690212292:{i}") for i in range(EVENTS)]
    return [b"".join(events[i : i + per_chunk]) for i in range(0, EVENTS, per_chunk)]


def ours(chunks: Sequence[bytes]) -> int:
    """Parse with `Parser` and count the events."""
    parser = Parser()
    return sum(len(parser.feed(chunk)) for chunk in chunks)


def theirs(chunks: Sequence[bytes]) -> int:
    """Parse with httpx-sse's decoders and count the events."""
    text = codecs.getincrementaldecoder("utf-8")(errors="replace")
    lines, decoder = SSELineDecoder(), SSEDecoder()
    count = 0
    for chunk in chunks:
        events = [
            event
            for line in lines.decode(text.decode(chunk))
            if (event := decoder.decode(line)) is not None
        ]
        count += len(events)
    return count


def nanoseconds(parse: Callable[[Sequence[bytes]], int], chunks: Sequence[bytes]) -> float:
    """Return the time per event of one pass."""
    start = time.perf_counter_ns()
    count = parse(chunks)
    elapsed = time.perf_counter_ns() - start
    if count != EVENTS:
        raise AssertionError(f"{parse.__name__} returned {count} events of {EVENTS}")
    return elapsed / EVENTS


def main(rounds: int) -> None:
    """Print the table."""
    print("| events | a chunk | ours, ns an event | httpx-sse | ours, events/s | times as fast |")
    print("|---|---|---|---|---|---|")
    for shape, tokens in SHAPES.items():
        for per_chunk in (1, 8, 64):
            chunks = chunks_of(tokens, per_chunk)
            pairs = [
                (nanoseconds(ours, chunks), nanoseconds(theirs, chunks)) for _ in range(rounds)
            ]
            mine, other = (statistics.median(side) for side in zip(*pairs, strict=True))
            ratio = statistics.median(b / a for a, b in pairs)
            print(
                f"| {shape} | {per_chunk} | {mine:,.0f} | {other:,.0f} "
                f"| {1e9 / mine:,.0f} | {ratio:.2f} |"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 25)

"""The timeouts of a request."""

from __future__ import annotations

import msgspec

from replicate_async.core.numbers import is_number


class Timeout(msgspec.Struct, frozen=True, kw_only=True):
    """Timeouts of one attempt of a request, in seconds.

    A call as a whole has no timeout: put it under `asyncio.timeout`.

    Args:
        connect: For name lookup, TCP and TLS together; 10.
        read: Without a byte of the answer; 30. A create with ``wait=n`` has n seconds more.
        stream: Without a byte of a stream, until it is opened again, and without an event, until
            the prediction is fetched; 60.

    Raises:
        ValueError: A value is not positive and finite.
    """

    connect: float = 10.0
    read: float = 30.0
    stream: float = 60.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            seconds: object = getattr(self, name)
            if not (is_number(seconds, 0) and seconds):
                raise ValueError(f"Timeout({name}={seconds!r}): use a number of seconds above 0.")

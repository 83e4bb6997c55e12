"""How long a client waits for the network."""

from __future__ import annotations

import math

import msgspec


class Timeout(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one attempt of a request, in seconds.

    *connect* bounds name lookup, TCP and TLS together; *read* the silence while an answer is due
    (a create with ``wait=n`` may be silent for n seconds longer); *stream* the silence within a
    stream before it is opened again, and the time without an event, though bytes come, before the
    prediction itself is looked at. There is no limit on a whole call: put it under
    `asyncio.timeout`.

    Raises `ValueError` for values that are not positive and finite.
    """

    connect: float = 10.0
    read: float = 30.0
    stream: float = 60.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            seconds: float = getattr(self, name)
            if not 0 < seconds < math.inf:
                raise ValueError(f"Timeout({name}={seconds}): use a number of seconds above 0.")

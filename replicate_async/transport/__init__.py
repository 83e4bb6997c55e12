"""The network: the only part of the client that knows aiohttp.

Its errors are ours from here on. No aiohttp exception escapes, not even as a cause: some of them
print the request's headers, and with them the token.
"""

from __future__ import annotations

from replicate_async.transport.byte_stream import ByteStream
from replicate_async.transport.headers import SecretHeaders
from replicate_async.transport.session import Connections, read_tls
from replicate_async.transport.transport import Response, Transport

__all__ = ["ByteStream", "Connections", "Response", "SecretHeaders", "Transport", "read_tls"]

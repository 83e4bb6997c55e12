"""What breaks on the network, as our own errors."""

from __future__ import annotations

from typing import Final

import aiohttp

from replicate_async.errors import (
    APIConnectionError,
    APITimeoutError,
    ForeignURLError,
    ReplicateError,
    TLSError,
    TruncatedBodyError,
)


class InwardError(OSError):
    """A name that leads to an address where strangers must not send us."""

    def __init__(self, host: str, address: str) -> None:
        super().__init__(f"{host} leads to {address}")
        self.host = host
        self.address = address


# Everything that aiohttp and the sockets under it raise; a ValueError comes from a header or a
# chunk that its parsers cannot make sense of.
NETWORK_ERRORS: Final = (aiohttp.ClientError, OSError, TimeoutError, ValueError)


def translated(error: BaseException) -> APIConnectionError:
    """Return our error for one of the network's; nothing of the original is kept but its kind."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return APITimeoutError(
            "No connection in time; check the network, or raise Timeout(connect=...).",
            phase="not_sent",
        )
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError):
        return _unconnected(error)
    if isinstance(error, TimeoutError):
        return APITimeoutError(
            "The server did not answer in time; raise Timeout(read=...) if it may take longer."
        )
    if isinstance(error, aiohttp.ClientPayloadError):
        return TruncatedBodyError(
            "The answer broke off before its end, or cannot be decompressed; try again."
        )
    if isinstance(error, aiohttp.ClientResponseError | ValueError):
        return TruncatedBodyError(
            "The answer is not well-formed HTTP; is base_url an HTTP server, and the right port?"
        )
    return APIConnectionError("The connection broke before the answer came; try again.")


def inward(error: BaseException, url: str) -> ReplicateError | None:
    """Return what *error* is if it says that the host of *url* is none to connect to."""
    reason = error.os_error if isinstance(error, aiohttp.ClientConnectorDNSError) else None
    if not isinstance(reason, InwardError):
        return None
    return ForeignURLError(
        f"{reason.host} leads to {reason.address}, which is not a public address; nothing was "
        "sent there.",
        url=url,
    )


def _unconnected(
    error: aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError,
) -> APIConnectionError:
    where = f"{error.host}:{error.port}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        message = f"The certificate of {where} is not valid for that name; check base_url."
        return TLSError(message, phase="not_sent")
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        message = f"The TLS handshake with {where} failed; check base_url."
        return TLSError(message, phase="not_sent")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        what = f"The name {error.host} could not be looked up"
    else:
        what = f"No connection to {where} ({error.strerror or type(error).__name__})"
    return APIConnectionError(f"{what}; check base_url and the network.", phase="not_sent")

"""What breaks on the network, as our own errors."""

from __future__ import annotations

import asyncio
import traceback
from ssl import SSLCertVerificationError, SSLError
from typing import Any, Final, TypeVar, cast

import aiohttp

from replicate_async.errors import (
    APIConnectionError,
    APITimeoutError,
    ReplicateError,
    TLSError,
    TruncatedBodyError,
    UntrustedURLError,
)

E = TypeVar("E", bound=BaseException)

_PAGE: Final = '"Behind a proxy" in the documentation (howto/proxy) says how'

# Of OpenSSL: the name, the e-mail or the address is another.
_OTHER_NAME: Final = frozenset({62, 63, 64})


class InwardError(OSError):
    """A name that leads to an address where strangers must not send us."""

    def __init__(self, host: str, address: str) -> None:
        super().__init__(f"{host} leads to {address}")
        self.host = host
        self.address = address


# Everything that aiohttp and the sockets under it raise; a ValueError comes from a header or a
# chunk that its parsers cannot make sense of.
NETWORK_ERRORS: Final = (aiohttp.ClientError, OSError, TimeoutError, ValueError)

_NOT_SENT: Final = (
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ClientConnectorError,
    aiohttp.ClientConnectorCertificateError,
)


def translated(error: BaseException, url: str = "") -> ReplicateError:
    """Return our error for one of the network's, met on the way to *url*.

    Nothing of the original is kept but its kind.
    """
    if inward := _inward(error, url):
        return inward
    if isinstance(error, _NOT_SENT):
        try:
            return _unconnected(error)
        except AttributeError:  # a connector of the caller's left half of it out
            return _by_connector(error)
    if (cause := _raised_connecting(error)) is not None:
        return _by_connector(cause)
    return _broken(error)


def _broken(error: BaseException) -> APIConnectionError:
    """Return our error for one that came when the request may have been sent."""
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


def unexpected(error: BaseException) -> BaseException:
    """Return what to raise for *error*, which is none of the network's.

    A connector, a trace or a cookie jar of the caller's may raise anything. An error that is not
    ours would end a wait for a paid run, and would not say whether a create was sent.
    """
    if not isinstance(error, Exception) or isinstance(error, ReplicateError):
        return isolated(error)
    if _raised_connecting(error) is not None:
        return _by_connector(error)
    fault = APIConnectionError(
        f"The request broke off with {type(error).__name__}, which is no error of the network; see "
        "to what session= brings along."
    )
    _note_origin(fault, error)
    return fault


def _raised_connecting(error: BaseException) -> BaseException | None:
    """Return what a connector raised in place of a connection, so that nothing was sent, or None.

    The frames of *error* show it. Its context says nothing: it may be that of another request.
    """
    if type(error) is aiohttp.ClientOSError and isinstance(error.__cause__, OSError):
        error = error.__cause__  # aiohttp raises the one for the other
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "connect":
            me = frame.f_locals.get("self")
            if isinstance(me, aiohttp.BaseConnector):
                return error
    return None


def _by_connector(error: BaseException) -> APIConnectionError:
    """Return our error for *error*, which a connector raised; its text may hold a password."""
    kind = type(error).__name__
    fault: APIConnectionError
    if isinstance(error, SSLError):
        reason = (
            error.verify_message if isinstance(error, SSLCertVerificationError) else error.reason
        )
        fault = TLSError(
            f"The TLS handshake failed ({reason or kind}); check base_url and ssl=. {_PAGE}.",
            phase="not_sent",
        )
    else:
        fault = APIConnectionError(
            f"No connection: the connector raised {kind}, and nothing was sent. Check the proxy, "
            "the network, and the connector of session= if you pass one.",
            phase="not_sent",
        )
    _note_origin(fault, error)
    return fault


def _note_origin(fault: BaseException, error: BaseException) -> None:
    """Note on *fault* which line raised *error*."""
    if frames := traceback.extract_tb(error.__traceback__):
        last = frames[-1]
        fault.add_note(f"raised in {last.filename}, line {last.lineno}, in {last.name}")


def _inward(error: BaseException, url: str) -> ReplicateError | None:
    """Return what *error* is if it says that the host of *url* is none to connect to."""
    reason = error.os_error if isinstance(error, aiohttp.ClientConnectorDNSError) else None
    if not isinstance(reason, InwardError):
        return None
    return UntrustedURLError(
        f"{reason.host} leads to {reason.address}, which is not a public address; nothing was "
        "sent there.",
        url=url,
    )


def isolated(error: E) -> E:
    """Return *error*, which was raised below aiohttp, without the frames that it passed there.

    Their local variables hold the request and its headers, a proxy's password among them, for
    tools that print a traceback with its locals. The line that raised it stays, as a note.
    """
    if isinstance(error, Exception):
        _note_origin(error, error)
    behind = error.__context__
    while isinstance(error, asyncio.CancelledError) and not error.args:
        if not isinstance(behind, asyncio.CancelledError):
            break
        # anyio tells its own cancellations by their message.
        error.args, behind = behind.args, behind.__context__
    error.__cause__ = error.__context__ = None
    members: tuple[BaseException, ...] = getattr(error, "exceptions", ())
    for member in members:
        isolated(member)
    return error.with_traceback(None)


def _no_tunnel(status: int) -> APIConnectionError:
    said = f"The proxy answered {status} and made no connection"
    if status == 407:
        return APIConnectionError(
            f"{said}: it wants a user name and password; give them as "
            f'proxy="http://user:password@host:port". {_PAGE}.',
            phase="not_sent",
        )
    return APIConnectionError(f"{said}; {_PAGE} it is set.", phase="not_sent")


def _unconnected(error: Any) -> APIConnectionError:
    """Return our error for one of `_NOT_SENT`; aiohttp leaves what they hold unannotated."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return APITimeoutError(
            "No connection in time; check the network, or raise Timeout(connect=...).",
            phase="not_sent",
        )
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _no_tunnel(error.status)
    where = f"{error.host}:{error.port}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return TLSError(_certificate(where, error.certificate_error), phase="not_sent")
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        broken = cast("OSError", error.os_error)  # pyright: ignore[reportUnknownMemberType] - aiohttp's
        reason = getattr(broken, "reason", None) or type(broken).__name__
        message = f"The TLS handshake with {where} failed ({reason}); check base_url."
        return TLSError(message, phase="not_sent")
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        what = f"No connection to the proxy {where} ({error.strerror or type(error).__name__})"
        return APIConnectionError(f"{what}; {_PAGE} it is set.", phase="not_sent")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        what = f"The name {error.host} could not be looked up"
    else:
        what = f"No connection to {where} ({error.strerror or type(error).__name__})"
    return APIConnectionError(f"{what}; check base_url and the network.", phase="not_sent")


def _certificate(where: str, error: Exception) -> str:
    """Say why the certificate of *where* is refused, in OpenSSL's own words."""
    if not isinstance(error, SSLCertVerificationError):
        return f"The certificate of {where} is refused ({type(error).__name__}); check base_url."
    said = f"The certificate of {where} is refused: {error.verify_message.rstrip('.')}"
    if error.verify_code in _OTHER_NAME:
        return f"{said}; check base_url."
    return (
        f"{said}. If a proxy or a company's own authority issued it, pass its certificates with "
        f"ssl=; {_PAGE}."
    )

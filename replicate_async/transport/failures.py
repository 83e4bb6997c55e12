"""Translates errors of aiohttp and of sockets into errors of this package."""

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
    """A name of a public host that leads to a private address."""

    def __init__(self, host: str, address: str) -> None:
        super().__init__(f"{host} leads to {address}")
        self.host = host
        self.address = address


# All errors of aiohttp and of sockets; its parsers raise ValueError for headers and chunks.
NETWORK_ERRORS: Final = (aiohttp.ClientError, OSError, TimeoutError, ValueError)

_NOT_SENT: Final = (
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ClientConnectorError,
    aiohttp.ClientConnectorCertificateError,
)


def translated(error: BaseException, url: str = "") -> ReplicateError:
    """Return the error of this package for a network *error* of a request to *url*.

    Only the kind of the original is kept.
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
    """Return the error for one that came when the request may have been sent."""
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
    """Return the error to raise for *error*, which is no network error.

    A connector, a trace or a cookie jar of the caller's session may raise any error. As it is, it
    would end a wait for a paid run, and would not say whether a create was sent.
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
    """Return the error that a connector raised, before anything was sent, or None.

    The frames of *error* show it; its context may be that of another request.
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
    """Return the error for one that a connector raised, whose text may hold a password."""
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
    """Return the error for an address of *url* that is not public, if *error* reports one."""
    reason = error.os_error if isinstance(error, aiohttp.ClientConnectorDNSError) else None
    if not isinstance(reason, InwardError):
        return None
    return UntrustedURLError(
        f"{reason.host} leads to {reason.address}, which is not a public address; nothing was "
        "sent there.",
        url=url,
    )


def isolated(error: E) -> E:
    """Return *error*, raised below aiohttp, without the frames of its traceback.

    Tools print tracebacks with local variables, and those of aiohttp hold the request headers and a
    proxy's password. A note names the line that raised it.
    """
    if isinstance(error, Exception):
        _note_origin(error, error)
    behind = error.__context__
    while isinstance(error, asyncio.CancelledError) and not error.args:
        if not isinstance(behind, asyncio.CancelledError):
            break
        # anyio recognizes its own cancellations by their message.
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
    """Return the error for one of `_NOT_SENT`; aiohttp does not annotate their attributes."""
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
    """Return why the certificate of *where* is refused, in the words of OpenSSL."""
    if not isinstance(error, SSLCertVerificationError):
        return f"The certificate of {where} is refused ({type(error).__name__}); check base_url."
    said = f"The certificate of {where} is refused: {error.verify_message.rstrip('.')}"
    if error.verify_code in _OTHER_NAME:
        return f"{said}; check base_url."
    return (
        f"{said}. If a proxy or a company's own authority issued it, pass its certificates with "
        f"ssl=; {_PAGE}."
    )

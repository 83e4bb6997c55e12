"""Checks of the client's arguments, and the environment variables that replace them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from replicate_async.core.endpoint import shorten
from replicate_async.core.limits import Limiter, Limits
from replicate_async.core.origin import Base, check_host_name
from replicate_async.core.retry import Retry
from replicate_async.core.timeout import Timeout
from replicate_async.core.token import Token
from replicate_async.core.version import __version__
from replicate_async.errors import InvalidArgumentError

if TYPE_CHECKING:
    import aiohttp

Options = TypeVar("Options", Limits, Retry)

DEFAULT_BASE_URL: Final = "https://api.replicate.com/v1"


def read_token(given: str | None) -> Token:
    """Return *given* or REPLICATE_API_TOKEN as a `Token`."""
    name, text = "api_token", given
    if text is None:
        name, text = "REPLICATE_API_TOKEN", os.environ.get("REPLICATE_API_TOKEN", "")
        if text != text.strip():
            warnings.warn(
                "REPLICATE_API_TOKEN has white space around it, which is ignored.", stacklevel=4
            )
            text = text.strip()
        if not text:
            raise InvalidArgumentError(
                "There is no API token: set REPLICATE_API_TOKEN or pass api_token=. Tokens are at "
                "https://replicate.com/account/api-tokens."
            )
    flaw = Token.flaw(text)
    if flaw is None:
        return Token(text)
    del given, text  # tracebacks may be printed with their locals
    raise InvalidArgumentError(f"{name} {flaw}.")


def read_base(
    given: str | None, *, allow_insecure: bool, trusted_hosts: Collection[str] = ()
) -> Base:
    """Return *given*, REPLICATE_BASE_URL or `DEFAULT_BASE_URL` as a `Base`."""
    hosts = read_hosts(trusted_hosts)
    name, url = "base_url", given
    if url is None:
        name = "REPLICATE_BASE_URL"
        url = os.environ.get(name) or DEFAULT_BASE_URL
    if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
        raise InvalidArgumentError(f"{name} is a {type(url).__name__}; it must be a string.")
    try:
        base = Base.parse(url.strip(), allow_insecure=allow_insecure)
        return replace(base, trusted_hosts=hosts)
    except ValueError as error:
        flaw = str(error)
    del given, url  # there may be a password in it, and tracebacks may be printed with their locals
    raise InvalidArgumentError(f"{name}: {flaw}")


def read_hosts(given: Collection[str]) -> tuple[str, ...]:
    """Return the host names *given*, in lower case."""
    if isinstance(given, str):
        raise InvalidArgumentError(
            f"trusted_hosts={shorten(given)} is one string; give a list of names."
        )
    names: list[str] = []
    for name in given:
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
            raise InvalidArgumentError(f"trusted_hosts: {shorten(name)} is no string.")
        try:
            names.append(check_host_name(name))
        except ValueError as error:
            raise InvalidArgumentError(f"trusted_hosts: {shorten(name)} {error}.") from None
    return tuple(names)


def read_proxy(given: str | None) -> str | None:
    """Return the URL of a proxy *given*, if any."""
    if given is None:
        return None
    kind, scheme, host = type(given).__name__, "", None
    if isinstance(given, str):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
        try:
            parts = urlsplit(given)
            scheme, host, _ = parts.scheme, parts.hostname, parts.port
        except ValueError:
            scheme = ""
    if scheme in {"http", "https"} and host:
        return given
    del given  # there may be a password in it, and tracebacks may be printed with their locals
    if kind != "str":
        raise InvalidArgumentError(f"proxy is a {kind}; it must be a string.")
    if scheme.startswith("socks"):
        raise InvalidArgumentError(
            f"proxy: {scheme} is not supported; pass session= with a connector for it, such as "
            "aiohttp_socks.ProxyConnector."
        )
    raise InvalidArgumentError(
        'proxy must be an absolute URL with a host, such as "http://proxy.internal:3128".'
    )


def read_trust_env(given: bool, session: aiohttp.ClientSession | None) -> bool:  # noqa: FBT001 - the argument itself
    """Return *given*, whether to use the proxies of the environment."""
    if given and session is not None and not session.trust_env:
        raise InvalidArgumentError(
            "trust_env=True does not reach into session=; make it with "
            "aiohttp.ClientSession(trust_env=True), or leave session= out."
        )
    return given


def read_timeout(given: Timeout | float | None) -> Timeout:
    """Return *given* as a `Timeout`; a number is its ``read`` in seconds."""
    if isinstance(given, Timeout):
        return given
    try:
        return Timeout() if given is None else Timeout(read=given)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"timeout: {error}") from None


def read_user_agent(given: str | None) -> str:
    """Return *given*, or the User-Agent of this package."""
    if given is None:
        return f"replicate-async/{__version__}"
    if not _is_text(given):
        raise InvalidArgumentError(
            f"user_agent={shorten(given)} must be printable ASCII, such as 'my-app/1.0'."
        )
    return given


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value) and value.isascii() and value.isprintable()


def read_options(kind: type[Options], given: Options | None, argument: str) -> Options:
    """Return *given*, or the defaults of *kind*; *argument* is its name in an error."""
    if given is None:
        return kind()
    if not isinstance(given, kind):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
        name = kind.__name__
        raise InvalidArgumentError(
            f"{argument}={shorten(given)} is a {type(given).__name__}; pass {name}(...)."
        )
    return given


def read_limiter(given: Limiter | None) -> Limiter | None:
    """Return *given*, which must have the methods of `Limiter`."""
    for name in ("acquire", "on_rate_limited"):
        if given is not None and not callable(getattr(given, name, None)):
            raise InvalidArgumentError(
                f"limiter={shorten(given)} has no {name}(); pass a Limiter, or None for the "
                "client's own pace."
            )
    return given

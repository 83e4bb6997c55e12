"""Checks of the client's arguments, and the environment variables that replace them."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit

from replicate_async.arguments import check_flags
from replicate_async.core.endpoint import shorten
from replicate_async.core.limits import Limiter, Limits
from replicate_async.core.origin import Base, check_host_name
from replicate_async.core.retry import Retry
from replicate_async.core.timeout import Timeout
from replicate_async.core.token import Token, secret_words
from replicate_async.core.usage import Price
from replicate_async.core.version import __version__
from replicate_async.errors import InvalidArgumentError
from replicate_async.hooks import Hooks
from replicate_async.tracing import Tracing

if TYPE_CHECKING:
    import aiohttp

Options = TypeVar("Options", Limits, Retry)

DEFAULT_BASE_URL: Final = "https://api.replicate.com/v1"

Auth: TypeAlias = Literal["token", "headers"]
"""What authenticates requests: the API token, or *headers* of the caller alone."""

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OWN_HEADERS: Final[Mapping[str, str]] = {
    "accept": "the client needs answers in the API's own form",
    "accept-encoding": "the client says what it can read",
    "cache-control": "the client says what may be cached",
    "cancel-after": "pass cancel_after= to the call",
    "cf-aig-max-attempts": "a gateway that repeats a create would pay for it twice",
    "connection": "it is for one connection",
    "expect": "the connection decides it",
    "host": "it is that of base_url",
    "keep-alive": "it is for one connection",
    "last-event-id": "the stream sends it",
    "prefer": "pass wait= to the call",
    "te": "it is for one connection",
    "trailer": "it is for one connection",
    "transfer-encoding": "it is for one connection",
    "upgrade": "it is for one connection",
    "user-agent": "pass user_agent=",
}
"""Headers that the client sends itself, or that are not for a caller to set, and why."""


def read_auth(
    api_token: str | None, headers: Mapping[str, str] | None = None, auth: Auth = "token"
) -> Token:
    """Return the token and the *headers* that go with it as a `Token`."""
    try:
        given = Token(None, read_headers({} if headers is None else headers))
        if auth == "token":
            return read_token_with(api_token, given)
        if auth != "headers":
            raise InvalidArgumentError(f'auth={shorten(auth)} is neither "token" nor "headers".')
        if api_token is not None:
            raise InvalidArgumentError(
                'api_token and auth="headers" exclude each other; leave one out.'
            )
        if not given.header_names:
            raise InvalidArgumentError(
                'auth="headers" needs headers=, such as {"cf-aig-authorization": "Bearer ..."}.'
            )
        return given
    finally:
        del api_token, headers  # tracebacks may be printed with their locals


def read_token_with(api_token: str | None, headers: Token) -> Token:
    """Return the token *api_token* or of the environment, with the headers of *headers*."""
    try:
        if "authorization" in headers.header_names:
            raise InvalidArgumentError(
                'headers has Authorization, which the API token takes; pass auth="headers" to '
                "send yours in its place."
            )
        return read_token(api_token).with_headers_of(headers)
    finally:
        del api_token


def read_headers(given: Mapping[str, str]) -> dict[str, str]:
    """Return the headers *given*, which go to the API's origin; errors show names only."""
    flaw = _header_flaw(given)
    if flaw is None:
        return dict(given)
    del given  # tracebacks may be printed with their locals
    raise InvalidArgumentError(f"headers{flaw}.")


def _header_flaw(given: object) -> str | None:
    if not isinstance(given, Mapping):
        return f" is a {type(given).__name__}; give a mapping of names to values"
    headers = cast("Mapping[object, object]", given)
    seen: set[str] = set()
    for name, value in headers.items():
        if not isinstance(name, str):
            return f": a name is a {type(name).__name__}; it must be a string"
        if _NAME.fullmatch(name) is None:  # it may be a value: its text is not shown
            return f": name {len(seen) + 1} is empty or has a character that no header's name has"
        lower = name.lower()
        flaw = "cannot be set: it is given twice" if lower in seen else _flaw_of(lower, value)
        if flaw is not None:
            shown = f"name {len(seen) + 1}" if secret_words(name) else name
            return f": {shown} {flaw}"
        seen.add(lower)
    return None


def _flaw_of(name: str, value: object) -> str | None:
    if name in _OWN_HEADERS:
        return f"cannot be set: {_OWN_HEADERS[name]}"
    if name.startswith(("content-", "proxy-")):
        return "cannot be set: it is for one body or connection"
    if not isinstance(value, str) or not value:
        return "must have a string for a value, and not an empty one"
    if not value.isascii() or not value.isprintable() or value != value.strip():
        return "has a value with a line break, a space at an end or a character that is not ASCII"
    return None


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
    check_flags(allow_insecure=allow_insecure)
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
    hosts = cast("object", given)
    if isinstance(given, str) or not isinstance(hosts, Iterable):
        raise InvalidArgumentError(
            f"trusted_hosts={shorten(given)} is not a list; give a list of names."
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
    check_flags(trust_env=given)
    if given and not getattr(session, "trust_env", True):
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


def read_hooks(given: Hooks | None) -> Hooks | None:
    """Return the hooks *given*, and log as REPLICATE_LOG says, if it does."""
    level = os.environ.get("REPLICATE_LOG", "").strip().upper()
    if level:
        log_to_stderr(level)
    if given is not None and not isinstance(given, Hooks):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
        raise InvalidArgumentError(
            f"hooks={shorten(given)} is a {type(given).__name__}; pass Hooks(...)."
        )
    tracing: object = Tracing() if given is None else given.tracing
    if not isinstance(tracing, Tracing):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
        raise InvalidArgumentError(
            f"tracing={shorten(tracing)} makes no spans; pass an object such as "
            "integrations.otel.OpenTelemetry()."
        )
    return given


def read_prices(given: Mapping[str, Price] | None) -> Mapping[str, Price]:
    """Return the prices *given*, functions by "owner/name"."""
    prices = cast("object", {} if given is None else given)
    if not isinstance(prices, Mapping):
        raise InvalidArgumentError(
            f'prices={shorten(prices)} is no mapping; give functions by "owner/name".'
        )
    for model, price in cast("Mapping[object, object]", prices).items():
        if not callable(price) or not isinstance(model, str) or "/" not in model:
            raise InvalidArgumentError(
                f"prices[{shorten(model)}]={shorten(price)}: give a function of a run's metrics "
                'for an "owner/name".'
            )
    return given or {}


def log_to_stderr(level: str) -> None:
    """Write the log of this package from *level*, INFO or DEBUG, to stderr."""
    if level not in {"INFO", "DEBUG"}:
        raise InvalidArgumentError(
            f'REPLICATE_LOG={shorten(level.lower())} is neither "info" nor "debug".'
        )
    log = logging.getLogger("replicate_async")
    log.setLevel(level)
    if not log.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        log.addHandler(handler)


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

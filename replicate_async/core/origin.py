"""Decides which URLs belong to the API, and which others may be fetched.

The API answers with URLs (`next`, `urls.get`, `urls.stream`, output files, redirects), and models
print URLs of their own, so that each one is untrusted. `Base` says whether a URL is an API call,
may get the token, or may be fetched without it. The parser is stricter than `urllib.parse` and
yarl: a URL that they would repair is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final, NamedTuple
from urllib.parse import quote, unquote, urljoin

__all__ = ["SERVICE_HOSTS", "Base", "Origin", "check_host_name", "origin_of", "resolve"]

# ASCII matters: without it IGNORECASE lets U+017F stand for "s" and U+212A for "k".
_FLAGS: Final = re.ASCII | re.IGNORECASE
_URL: Final = re.compile(r"(https?)://([^/?#]+)([^?#]*)(\?[^#]*)?(#.*)?", _FLAGS)
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*:", _FLAGS)
_AUTHORITY: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([1-9][0-9]{0,4}))?", _FLAGS)
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
# URL parsers take a host whose last label looks like this for an IPv4 address.
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_BEFORE_PATH: Final = re.compile(r"(?:(?:[a-z][a-z0-9+.-]*:)?//[^/?#\\]*)?", _FLAGS)
_UNESCAPED: Final = re.compile(r'[ "<>]|[^\x00-\x7f]+')
_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PORTS: Final = {"http": 80, "https": 443}
# An IPv4 address behind a translator; where names are looked up through one, all have such.
_TRANSLATED: Final = IPv6Network("64:ff9b::/96")
# Not reachable from the public internet; the tables of older Python releases lack some of them.
_NOT_PUBLIC: Final = tuple(
    IPv6Network(block)
    for block in (
        "::/96",  # IPv4-compatible, RFC 4291
        "::ffff:0:0:0/96",  # IPv4-translated, RFC 2765
        "64:ff9b:1::/48",  # translation inside a network, RFC 8215
        "3fff::/20",  # documentation, RFC 9637
        "5f00::/16",  # segment routing, RFC 9602
        "fec0::/10",  # site-local, RFC 3879
    )
)
_ISATAP: Final = (bytes.fromhex("00005efe"), bytes.fromhex("02005efe"))
"""The middle of an interface id that ends in an IPv4 address, RFC 5214."""
_PRIVATE_SUFFIXES: Final = (".localhost", ".local", ".internal", ".localdomain", ".home.arpa")
_SERVICE_PREFIX: Final = "/v1"
_CLOUDFLARE_HOST: Final = "gateway.ai.cloudflare.com"
_CLOUDFLARE_PATH: Final = re.compile(r"/v1/[^/]+/[^/]+/replicate")
SERVICE_HOSTS: Final = ("replicate.com", "replicate.delivery", "replicate.net")
"""The service's own names. Their certificate counts, not their address: proxies that route by name
hand out addresses of 198.18.0.0/15 or 100.64.0.0/10."""


class Origin(NamedTuple):
    """Scheme, host (lower case, IPv6 in brackets, otherwise as written) and port of a URL."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"


_SERVICE: Final = Origin("https", "api.replicate.com", 443)


class _Absolute(NamedTuple):
    origin: Origin
    path: str
    query: str
    fragment: str


@dataclass(frozen=True, slots=True)
class Base:
    """The base URL of the API; URLs in answers are checked against it."""

    origin: Origin
    prefix: str
    trusted_hosts: tuple[str, ...] = ()
    """Names, with their subdomains, that may be at any address over https, as the service's may."""
    url: str = field(init=False)
    """The base URL in its normal form."""

    def __post_init__(self) -> None:
        # Every request begins with it.
        object.__setattr__(self, "url", f"{self.origin}{self.prefix}")

    @classmethod
    def parse(cls, base_url: str, *, allow_insecure: bool = False) -> Base:
        """Parse a base URL; one without a path gets `/v1`, and any other path stays.

        Plain `http` is taken for loopback hosts only, unless *allow_insecure*. Raises
        `ValueError`, whose message shows no part of the URL but its host.
        """
        if not _is_clean(base_url):
            raise ValueError(
                "The base URL has a space, a control character or a backslash in it; remove it."
            )
        match = _URL.fullmatch(base_url)
        if match is None:
            raise ValueError(
                "The base URL must be absolute and start with https:// (or http:// on loopback), "
                'for example "https://api.replicate.com/v1".'
            )
        if "@" in match[2]:
            raise ValueError(
                "The base URL must not hold a user name or password; pass the token as api_token."
            )
        if match[4] is not None or match[5] is not None:
            raise ValueError("The base URL must not have a query (?) or a fragment (#).")
        url = _absolute(base_url)
        if url is None:
            raise ValueError(
                "The host of the base URL must be an ASCII DNS name or a complete IP address, "
                "with a port from 1 to 65535 or none; write international names in punycode."
            )
        path = url.path.removesuffix("/")
        if not _is_plain_path(path):
            raise ValueError(
                "The path of the base URL must be ASCII, without empty or dot segments."
            )
        if url.origin.scheme == "http" and not (_is_loopback(url.origin.host) or allow_insecure):
            raise ValueError(
                f"The base URL would send the token unencrypted to {url.origin.host}; use https, "
                "or pass allow_insecure=True if the network in between is yours."
            )
        return cls(url.origin, path or _SERVICE_PREFIX)

    @property
    def is_cloudflare(self) -> bool:
        """Whether Cloudflare's AI Gateway is there, which may repeat and cache requests."""
        return (
            self.origin.host == _CLOUDFLARE_HOST
            or _CLOUDFLARE_PATH.fullmatch(self.prefix) is not None
        )

    @property
    def is_loopback(self) -> bool:
        """Whether the API is on this machine."""
        return _is_loopback(self.origin.host)

    def target(self, url: str, *, upgrade: bool = False) -> str | None:
        """Reduce *url* to path and query under the prefix, or None if it is not an API URL of ours.

        Takes absolute URLs on exactly this origin, references that start with one "/", and links of
        the service itself, which a gateway leaves as they are. With *upgrade*, `http` on its
        default port stands for our `https` origin on its own: right where nothing but the result is
        used, as for `next`.
        """
        found = self._own(url, upgrade=upgrade)
        if found is None or not found.startswith(f"{self.prefix}/"):
            return None
        return found[len(self.prefix) :]

    def same_origin_target(self, url: str) -> str | None:
        """Reduce *url* to its whole path and query, or None if it is not on this origin.

        For the `Location` of a redirect, which may leave the prefix.
        """
        return self._own(url)

    def localize(self, url: str) -> str:
        """Return where *url* is requested: a link of the service, below this base.

        Gateways leave the links in answers as they are. Any other URL stays.
        """
        found = None if self.origin == _SERVICE else _absolute(url)
        if found is None or not self._is_service_link(found) or found.fragment:
            return url
        return f"{self.url}{found.path.removeprefix(_SERVICE_PREFIX)}{found.query}"

    def _is_service_link(self, url: _Absolute, *, upgrade: bool = False) -> bool:
        origins = {_SERVICE, _SERVICE._replace(scheme="http", port=80)} if upgrade else {_SERVICE}
        return url.origin in origins and url.path.startswith(f"{_SERVICE_PREFIX}/")

    def owns(self, url: str) -> bool:
        """Return whether *url* is absolute and on exactly this origin: it may get the token."""
        return not url.startswith("/") and self._own(url) is not None

    def may_fetch(self, url: str, *, any_port: bool = False) -> bool:
        """Return whether *url*, of a stream or an output file, may be fetched without the token.

        The API's own origin may be; so may `https` on a public DNS name, on the default port unless
        *any_port*. IP addresses and names of private networks are refused. If this base is on
        loopback, any port of loopback is allowed. A name may still resolve to a private address:
        `may_connect` is for the address.
        """
        found = _absolute(url)
        if found is None:
            return False
        origin = found.origin
        if origin == self.origin:
            return True
        if self.is_loopback and _is_loopback(origin.host):
            return True
        if origin.scheme != "https":
            return False
        if not _is_public_name(origin.host) and not _is_at_or_below(
            origin.host, self.trusted_hosts
        ):
            return False
        return any_port or origin.port == _PORTS["https"]

    def may_connect(self, host: str, address: str, *, verified: bool = True) -> bool:
        """Return whether *host*, of a URL that `may_fetch` allows, may be reached at *address*.

        The address must be public. Any address will do for the API's own host, for every host if
        the API is on loopback, and, while certificates are *verified*, for the hosts of the service
        and the trusted ones.
        """
        host = host.lower()
        if host == self.origin.host or self.is_loopback:
            return True
        if verified and _is_at_or_below(host, (*SERVICE_HOSTS, *self.trusted_hosts)):
            return True
        return _is_public_address(address)

    def _own(self, url: str, *, upgrade: bool = False) -> str | None:
        """Path and query of *url* if it is on this origin, else None."""
        if url.startswith("/"):
            if not _is_clean(url) or "#" in url:
                return None
            path, mark, query = url.partition("?")
            query = mark + query
        else:
            found = _absolute(url)
            if found is None or found.fragment:
                return None
            origin, path, query, _ = found
            ours = [self.origin]
            if self.origin != _SERVICE and self._is_service_link(found, upgrade=upgrade):
                origin, path = self.origin, self.prefix + path.removeprefix(_SERVICE_PREFIX)
            if upgrade and self.origin == ("https", self.origin.host, 443):
                ours.append(Origin("http", self.origin.host, 80))
            if origin not in ours:
                return None
            path = path or "/"
        if not _is_plain_path(path) or not query.isascii():
            return None
        return path + query


def check_host_name(name: str) -> str:
    """Return *name* in lower case; raises `ValueError` unless it is a DNS name."""
    host = name.lower()
    if not _is_host(host) or host.startswith("[") or _ipv4(host) is not None or host[-1] == ".":
        raise ValueError(
            "is no DNS name; give names such as 'files.example.com', without scheme, port or "
            "wildcard (what is below a name is trusted with it)"
        )
    return host


def resolve(url: str, location: str) -> str:
    """Return the URL that *location* in an answer from *url* means, by RFC 3986.

    Behind its host, spaces, quotes, angle brackets and what is not ASCII are escaped, as browsers
    do. It is not judged here. A *location* that is absolute, or that URL parsers would have to
    repair further, stays as it is.
    """
    host = _BEFORE_PATH.match(location)
    at = host.end() if host else 0
    location = location[:at] + _UNESCAPED.sub(_escape, location[at:])
    if _SCHEME.match(location) or not _is_clean(location):
        return location
    try:
        return urljoin(url, location)
    except ValueError:  # such as an open bracket
        return location


def _escape(found: re.Match[str]) -> str:
    return quote(found[0], safe="", errors="surrogateescape")


def origin_of(url: str) -> Origin | None:
    """Return the origin of *url*, None unless it is an absolute http URL that needs no repair."""
    found = _absolute(url)
    return None if found is None else found.origin


def _absolute(url: str) -> _Absolute | None:
    if not _is_clean(url):
        return None
    match = _URL.fullmatch(url)
    if match is None:
        return None
    authority = _AUTHORITY.fullmatch(match[2])
    if authority is None:
        return None
    scheme, host = match[1].lower(), authority[1].lower()
    port = int(authority[2]) if authority[2] else _PORTS[scheme]
    if port > 65535 or not _is_host(host):
        return None
    return _Absolute(Origin(scheme, host, port), match[3], match[4] or "", match[5] or "")


def _is_clean(url: str) -> bool:
    # isprintable refuses controls, every space but U+0020, bidi marks and lone surrogates.
    return url.isprintable() and " " not in url and "\\" not in url


def _is_host(host: str) -> bool:
    if host.startswith("["):
        return _is_ipv6(host)
    if _NAME.fullmatch(host) is None or len(host) > 253:
        return False
    last = host.removesuffix(".").rpartition(".")[2]
    return _NUMBER.fullmatch(last) is None or _ipv4(host) is not None


def _is_ipv6(host: str) -> bool:
    try:
        IPv6Address(host[1:-1])
    except AddressValueError:
        return False
    return True


def _ipv4(host: str) -> IPv4Address | None:
    try:
        return IPv4Address(host)
    except AddressValueError:
        return None


def _is_loopback(host: str) -> bool:
    if host in ("localhost", "[::1]"):
        return True
    address = _ipv4(host)
    return address is not None and address.is_loopback


def _is_public_name(host: str) -> bool:
    """Whether a well-formed *host* is a name of the public DNS, not an address."""
    if host.startswith("[") or host.endswith(".") or "." not in host:
        return False
    return _ipv4(host) is None and not host.endswith(_PRIVATE_SUFFIXES)


def _is_public_address(address: str) -> bool:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        if any(found in block for block in _NOT_PUBLIC):
            return False
        inner = found.ipv4_mapped or found.sixtofour
        if found in _TRANSLATED or found.packed[8:12] in _ISATAP:
            inner = IPv4Address(found.packed[-4:])
        found = inner or found
    return found.is_global and not found.is_multicast


def _is_at_or_below(host: str, names: tuple[str, ...]) -> bool:
    return host in names or host.endswith(tuple(f".{name}" for name in names))


def _is_plain_path(path: str) -> bool:
    """Whether *path* means the same to every server: ASCII, no empty and no dot segments."""
    if not path.isascii() or "//" in path or _PERCENT.search(path):
        return False
    # Some proxies decode once more than they should; three rounds cover those that are known.
    for _ in range(4):
        segments = path.replace("\\", "/").split("/")
        if "." in segments or ".." in segments:
            return False
        path = unquote(path, encoding="latin-1")
    return True

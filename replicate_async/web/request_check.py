"""Recognizing requests that another website makes a browser send."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from replicate_async.core.endpoint import shorten
from replicate_async.web.resume import header_value

LOCAL_HOSTS: Final[frozenset[str]] = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""The names of a program that serves its own machine, with any port."""

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_PORT: Final = re.compile(r":[0-9]+\Z")
_JSON: Final = "application/json"


class RequestRefusal(NamedTuple):
    """Why a request should be refused."""

    status: int
    """The HTTP status of the answer."""
    detail: str
    """What is wrong, for the body of the answer."""


def request_refusal(
    method: str,
    headers: Mapping[str, str],
    *,
    hosts: Collection[str] = LOCAL_HOSTS,
    origins: Collection[str] = (),
) -> RequestRefusal | None:
    """Return why a request should be refused because of where it comes from, or None.

    Every page that a user visits can make the browser send requests to your server, also to one
    on the user's own machine, and those would start paid runs. A request is refused

    - when its Host is none of *hosts*, names with or without a port: another site's name may have
      been made to resolve to your server (DNS rebinding);
    - when its Origin is neither its own Host nor one of *origins*, such as
      ``"https://chat.example.com"``, and when the browser says that it is a cross-site request
      other than a GET;
    - when it has a body that is not ``application/json``, which a page can send to other sites
      without asking them.

    Programs that are no browser send no Origin, and pass. It does not replace a login. A GET must
    not start a run: a link or an image of another site can be one.

    Args:
        method: The HTTP method.
        headers: The headers, their names in any case.
        hosts: The names under which browsers reach the server.
        origins: Further sites whose pages may send requests.
    """
    host = header_value(headers, "host").lower()
    if not _names(hosts).intersection((host, _PORT.sub("", host))):
        return RequestRefusal(403, f"The host {shorten(host)} is not served here.")
    origin = header_value(headers, "origin").lower()
    own = {f"http://{host}", f"https://{host}"}
    if origin and origin not in own | _names(origins):
        return RequestRefusal(403, f"Pages of {shorten(origin)} may not send requests here.")
    if method.upper() in _SAFE:
        return None
    site = header_value(headers, "sec-fetch-site").lower()
    if not origin and site not in ("", "none", "same-origin"):
        return RequestRefusal(403, f"A {shorten(site)} request may not change anything here.")
    return _body_refusal(headers)


def _body_refusal(headers: Mapping[str, str]) -> RequestRefusal | None:
    length = header_value(headers, "content-length")
    if not header_value(headers, "transfer-encoding") and length in ("", "0"):
        return None
    sent = header_value(headers, "content-type")
    if sent.partition(";")[0].strip().lower() == _JSON:
        return None
    return RequestRefusal(415, f"The body is {shorten(sent)}; it must be {_JSON}.")


def _names(given: Collection[str]) -> set[str]:
    names = {given} if isinstance(given, str) else given
    return {name.lower().rstrip("/") for name in names}

from __future__ import annotations

import pytest
from yarl import URL

from replicate_async.local.runtime.outbound_hosts import OutboundHosts


@pytest.mark.parametrize(
    ("hosts", "url", "allowed"),
    [
        (("localhost",), "http://localhost:1/x", True),
        (("localhost",), "https://example.com/x", False),
        (("example.com",), "https://EXAMPLE.com/x", True),
        (("*",), "https://example.com/x", True),
        (("*",), "http://example.com/x", False),
        (("*",), "https://10.0.0.1/x", False),
        (("*",), "https://169.254.169.254/x", False),
        (("*",), "https://[::ffff:127.0.0.1]/x", False),
        (("*",), "https://[fe80::1]/x", False),
        (("*",), "https://8.8.8.8/x", True),
        (("10.0.0.1",), "http://10.0.0.1/x", True),
        (("*",), "ftp://example.com/x", False),
    ],
    ids=str,
)
def test_only_listed_hosts_are_allowed(hosts: tuple[str, ...], url: str, allowed: bool) -> None:
    assert OutboundHosts(hosts).allows(URL(url)) is allowed


@pytest.mark.parametrize(
    ("hosts", "host", "address", "allowed"),
    [
        (("*",), "example.com", "93.184.216.34", True),
        (("*",), "example.com", "127.0.0.1", False),
        (("*",), "example.com", "10.1.2.3", False),
        (("*",), "example.com", "::ffff:10.1.2.3", False),
        (("localhost",), "localhost", "::1", True),
        (("db",), "DB", "10.1.2.3", True),
        (("*",), "example.com", "nonsense", False),
    ],
    ids=str,
)
def test_a_public_name_for_a_private_address_is_refused(
    hosts: tuple[str, ...], host: str, address: str, allowed: bool
) -> None:
    assert OutboundHosts(hosts).allows_address(host, address) is allowed

"""The base URL of the API, and what a URL of an answer is reduced to on it."""

from __future__ import annotations

import pytest

from replicate_async.core.origin import Base, Origin, resolve

API = Base.parse("https://api.replicate.com")
LOCAL = Base.parse("http://127.0.0.1:8000")
PROXY = Base.parse("https://proxy.example/replicate")


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("b.png", "https://h.example/a/b.png"),
        ("../b.png", "https://h.example/b.png"),
        ("?x=1", "https://h.example/a/s.png?x=1"),
        ("/b//c", "https://h.example/b//c"),
        ("//other.example/b", "https://other.example/b"),
        ("http://other.example/b", "http://other.example/b"),
        ("https:b", "https:b"),
        ("javascript:x", "javascript:x"),
        ("\\\\evil.example", "\\\\evil.example"),
        ("//evil\\@h.example/", "//evil\\@h.example/"),
        ("//é.example/é", "https://é.example/%C3%A9"),
        ("https://é.example/", "https://é.example/"),
        ("//a b.example/b c", "//a b.example/b%20c"),
        ("a\tb", "a\tb"),
        ("//[::1", "//[::1"),
    ],
)
def test_a_location_is_resolved_and_not_repaired(location: str, target: str) -> None:
    assert resolve("https://h.example/a/s.png", location) == target


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("b c.png", "https://h.example/a/b%20c.png"),
        ("/é%20ü?q=ß #top <x>", "https://h.example/%C3%A9%20%C3%BC?q=%C3%9F%20#top%20%3Cx%3E"),
        ("https://o.example/\u202e\u2028", "https://o.example/%E2%80%AE%E2%80%A8"),
        ("//o.example?é", "https://o.example?%C3%A9"),
        ("/\udce9", "https://h.example/%E9"),
        ("/a%zz'~!$&()*+,;=:@[]|^`{}", "https://h.example/a%zz'~!$&()*+,;=:@[]|^`{}"),
    ],
    ids=["space", "all parts", "bidi", "query", "no UTF-8", "left alone"],
)
def test_a_location_is_escaped_as_browsers_do(location: str, target: str) -> None:
    assert resolve("https://h.example/a/s.png", location) == target


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://api.replicate.com/v1/predictions?cursor=a%3D%3D", "/predictions?cursor=a%3D%3D"),
        ("HTTPS://API.Replicate.Com:443/v1/predictions", "/predictions"),
        ("/v1/models/a/b/versions?cursor=x/../y", "/models/a/b/versions?cursor=x/../y"),
        ("/v1/predictions?next=https://evil.example", "/predictions?next=https://evil.example"),
        ("/v1/predictions?", "/predictions?"),
        ("/v1/models/a/b..c/versions", "/models/a/b..c/versions"),
    ],
)
def test_our_urls_are_reduced_to_path_and_query(url: str, target: str) -> None:
    assert API.target(url) == target
    assert API.same_origin_target(url) == f"/v1{target}"


@pytest.mark.parametrize(
    "url",
    [
        "https://api.replicate.com/",
        "https://api.replicate.com",
        "https://api.replicate.com/v1",
        "https://api.replicate.com/v1?x=1",
        "https://api.replicate.com/v2/predictions",
        "https://api.replicate.com/v10/predictions",
        "https://api.replicate.com/V1/predictions",
        "/predictions",
    ],
)
def test_urls_outside_the_prefix_are_followed_by_redirects_only(url: str) -> None:
    assert API.target(url) is None
    assert API.same_origin_target(url) is not None


def test_a_path_is_never_empty_in_a_redirect() -> None:
    assert API.same_origin_target("https://api.replicate.com") == "/"
    assert API.same_origin_target("https://api.replicate.com?x=1") == "/?x=1"


def test_the_prefix_of_a_proxy_is_kept_out_of_the_target() -> None:
    assert PROXY.target("https://proxy.example/replicate/account") == "/account"
    assert PROXY.target("/replicate/account") == "/account"
    assert PROXY.target("/v1/account") is None
    assert PROXY.target("https://proxy.example/other/v1/account") is None
    assert PROXY.same_origin_target("/login") == "/login"


@pytest.mark.parametrize(
    "link", ["https://api.replicate.com/v1/a?b=c", "HTTPS://API.replicate.com:443/v1/a?b=c"]
)
@pytest.mark.parametrize("base", [PROXY, LOCAL], ids=["gateway", "bare origin"])
def test_a_link_of_the_service_is_joined_to_the_base(base: Base, link: str) -> None:
    assert base.target(link) == "/a?b=c"
    assert base.same_origin_target(link) == f"{base.prefix}/a?b=c"
    assert base.localize(link) == f"{base.url}/a?b=c"


@pytest.mark.parametrize(
    "link",
    [
        "http://api.replicate.com/v1/a",
        "https://api.replicate.com:8443/v1/a",
        "https://api.replicate.com/v2/a",
        "https://api.replicate.com/v1",
        "https://api.replicate.com/v1/../v2",
        "https://api.replicate.com/v1/a#b",
        "https://api.replicate.com@evil.example/v1/a",
        "https://stream.replicate.com/v1/a",
        "https://evil.example/v1/a",
        "//api.replicate.com/v1/a",
    ],
)
def test_other_links_are_not_joined_to_the_base(link: str) -> None:
    assert PROXY.target(link) is None
    assert not PROXY.owns(PROXY.localize(link))


def test_upgrade_joins_plain_http_links_of_the_service_too() -> None:
    assert PROXY.target("http://api.replicate.com/v1/a", upgrade=True) == "/a"


def test_the_service_itself_has_no_gateway() -> None:
    assert API.localize("https://api.replicate.com/v1/a") == "https://api.replicate.com/v1/a"


def test_upgrade_takes_plain_http_for_our_own_https_origin_only() -> None:
    url = "http://api.replicate.com/v1/deployments?cursor=x"
    assert API.target(url, upgrade=True) == "/deployments?cursor=x"
    assert API.target(url) is None
    assert API.target("http://api.replicate.com:80/v1/account", upgrade=True) == "/account"
    assert API.target("http://api.replicate.com:443/v1/account", upgrade=True) is None
    assert API.target("http://api.replicate.com:8080/v1/account", upgrade=True) is None
    assert API.target("http://evil.example/v1/account", upgrade=True) is None
    other_port = Base.parse("https://api.example:8443")
    assert other_port.target("http://api.example/v1/account", upgrade=True) is None
    plain = Base.parse("http://localhost")
    assert plain.target("https://localhost/v1/account", upgrade=True) is None
    assert plain.target("http://localhost/v1/account", upgrade=True) == "/account"


@pytest.mark.parametrize(
    ("base_url", "url", "prefix"),
    [
        ("https://api.replicate.com", "https://api.replicate.com/v1", "/v1"),
        ("https://api.replicate.com/", "https://api.replicate.com/v1", "/v1"),
        ("https://api.replicate.com/v1", "https://api.replicate.com/v1", "/v1"),
        ("HTTPS://API.replicate.com:443/v1/", "https://api.replicate.com/v1", "/v1"),
        ("https://proxy.example/replicate", "https://proxy.example/replicate", "/replicate"),
        ("https://proxy.example/a/v1/", "https://proxy.example/a/v1", "/a/v1"),
        ("https://proxy.example/v12", "https://proxy.example/v12", "/v12"),
        ("https://proxy.example:8443/v1", "https://proxy.example:8443/v1", "/v1"),
        ("https://10.0.0.1", "https://10.0.0.1/v1", "/v1"),
        ("http://localhost:8000", "http://localhost:8000/v1", "/v1"),
        ("http://127.5.0.1:80", "http://127.5.0.1/v1", "/v1"),
        ("http://[::1]:8000/", "http://[::1]:8000/v1", "/v1"),
    ],
)
def test_base_urls_have_one_normal_form(base_url: str, url: str, prefix: str) -> None:
    base = Base.parse(base_url)
    assert (base.url, base.prefix) == (url, prefix)
    assert Base.parse(base.url) == base
    assert base.target(f"{url}/account") == "/account"
    assert base.owns(f"{url}/account")


def test_the_origin_is_scheme_host_and_port() -> None:
    assert API.origin == Origin("https", "api.replicate.com", 443)
    assert str(API.origin) == "https://api.replicate.com"
    assert str(LOCAL.origin) == "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("base_url", "says"),
    [
        ("", "absolute"),
        ("api.replicate.com", "absolute"),
        ("ftp://api.replicate.com", "absolute"),
        ("https:/api.replicate.com", "absolute"),
        ("https://", "absolute"),
        ("https:///v1", "absolute"),
        ("https://api.replicate.com\n", "control character"),
        (" https://api.replicate.com", "space"),
        ("https:\\\\api.replicate.com", "backslash"),
        ("https://user:r8_sentinel@api.replicate.com", "api_token"),
        ("https://r8_sentinel@api.replicate.com", "api_token"),
        ("https://api.replicate.com?token=r8_sentinel", "query"),
        ("https://api.replicate.com/v1#r8_sentinel", "fragment"),
        ("https://127.1", "host"),
        ("https://2130706433", "host"),
        ("https://0x7f.1", "host"),
        ("https://1.2.3.400", "host"),
        ("https://api.replicate.com:0", "port"),
        ("https://api.replicate.com:65536", "port"),
        ("https://\u0430pi.replicate.com", "punycode"),
        ("https://api%2ereplicate.com", "host"),
        ("https://[::1", "host"),
        ("https://[::zz]", "host"),
        ("https://[1.2.3.4]", "host"),
        ("https://api.replicate.com/a/../v1", "dot segments"),
        ("https://api.replicate.com//v1", "empty"),
        ("https://api.replicate.com/v\u00e9", "ASCII"),
        ("http://api.replicate.com", "allow_insecure"),
        ("http://10.0.0.1", "allow_insecure"),
        ("http://0.0.0.0:8000", "allow_insecure"),
        ("http://localhost.evil.example", "allow_insecure"),
        ("http://127.0.0.1.evil.example", "allow_insecure"),
        ("http://localhost.", "allow_insecure"),
        ("http://[::ffff:127.0.0.1]", "allow_insecure"),
    ],
    ids=ascii,
)
def test_a_bad_base_url_is_refused_with_the_reason(base_url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        Base.parse(base_url)
    assert "sentinel" not in str(caught.value)


def test_plain_http_is_taken_on_request() -> None:
    base = Base.parse("http://replicate:8000", allow_insecure=True)
    assert base.url == "http://replicate:8000/v1"
    assert base.may_fetch("http://replicate:8000/files/x")
    assert not base.may_fetch("http://other:8000/files/x", any_port=True)

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import NotRequired, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_async.core.origin import Base

API = Base.parse("https://api.replicate.com")
LOCAL = Base.parse("http://127.0.0.1:8000")
PROXY = Base.parse("https://proxy.example/replicate")


class Vector(TypedDict):
    base_url: NotRequired[str]
    url: str
    route: str
    may_request: bool
    may_send_token: bool
    why: str


def read_vectors() -> list[Vector]:
    text = (Path(__file__).parents[1] / "data" / "urls.json").read_text("utf-8")
    vectors: list[Vector] = json.loads(text)["vectors"]
    return vectors


VECTORS = read_vectors()


def judge(base: Base, route: str, url: str) -> tuple[bool, bool]:
    """Whether *url* may be requested, and with the token, when it comes by *route*."""
    if route == "page.next":
        allowed = base.target(url, upgrade=True) is not None
    elif route in {"urls.get", "urls.cancel"}:
        allowed = base.target(url) is not None
    elif route.startswith("redirect"):
        allowed = base.same_origin_target(url) is not None
    elif route == "urls.stream":
        return base.may_fetch(url), base.owns(url)
    else:
        assert route == "output file"
        return base.may_fetch(url, any_port=True), base.owns(url)
    return allowed, allowed


@pytest.mark.parametrize("vector", VECTORS, ids=[f"{i}" for i in range(len(VECTORS))])
def test_every_url_vector_is_judged_as_written(vector: Vector) -> None:
    base = Base.parse(vector.get("base_url", "https://api.replicate.com"))
    expected = (vector["may_request"], vector["may_send_token"])
    assert judge(base, vector["route"], vector["url"]) == expected, vector["why"]


# None of these may be asked with the token, by any route.
NOT_OURS = [
    "",
    " ",
    "predictions",
    "?cursor=abc",
    "#x",
    ".",
    "../predictions",
    "//api.replicate.com/v1/predictions",
    "///v1/predictions",
    "/\\evil.example/v1/predictions",
    "\\\\evil.example/v1/predictions",
    "/v1//evil.example",
    "/v1/../account",
    "/v1/./predictions",
    "/v1/predictions/..",
    "/v1/%2e%2e/account",
    "/v1/%2E./account",
    "/v1/%252e%252e/account",
    "/v1/%25%32%65%25%32%65/account",
    "/v1/..%2faccount",
    "/v1/..%5caccount",
    "/v1/x%2f..%2fy",
    "/v1/%",
    "/v1/%zz",
    "/v1/%2",
    "/v1/predictions\n",
    "/v1/predictions\r\nX-Evil: 1",
    "/v1/predictions\tx",
    "/v1/predictions\x00",
    "/v1/predictions x",
    "/v1/pr\u00e9dictions",
    "/v1/predictions?x=\u00e9",
    "/v1/predictions?x=\u2028",
    "/v1/predictions#x",
    " https://api.replicate.com/v1/predictions",
    "https://api.replicate.com/v1/predictions ",
    "https://api.replicate.com/v1/predictions#",
    "https://api.replicate.com/v1/predictions#@evil.example",
    "https://api.replicate.com/v1/../predictions",
    "https://api.replicate.com/v1/%2e%2e/predictions",
    "https://api.replicate.com//evil.example/v1/predictions",
    "https://api.replicate.com:/v1/predictions",
    "https://api.replicate.com:0/v1/predictions",
    "https://api.replicate.com:0443/v1/predictions",
    "https://api.replicate.com:65979/v1/predictions",
    "https://api.replicate.com:99999/v1/predictions",
    "https://api.replicate.com:443443443443443/v1/predictions",
    "https://api.replicate.com:+443/v1/predictions",
    "https://api.replicate.com:-443/v1/predictions",
    "https://api.replicate.com:4 43/v1/predictions",
    "https://api.replicate.com:\u0664\u0664\u0663/v1/predictions",
    "https://api.replicate.com:443:443/v1/predictions",
    "https://api.replicate.com:443@evil.example/v1/predictions",
    "https://@api.replicate.com/v1/predictions",
    "https://:@api.replicate.com/v1/predictions",
    "https://evil.example@api.replicate.com/v1/predictions",
    "https://api.replicate.com%40evil.example/v1/predictions",
    "https://api.replicate.com%00.evil.example/v1/predictions",
    "https://api.replicate.com%2f.evil.example/v1/predictions",
    "https://api%2ereplicate%2ecom/v1/predictions",
    "https://api.replicate.com;evil.example/v1/predictions",
    "https://api.replicate.com,evil.example/v1/predictions",
    "https://api.replicate.com&evil.example/v1/predictions",
    "https://api.replicate.com\u2025/v1/predictions",
    "https://api\u3002replicate\u3002com/v1/predictions",
    "https://\uff41pi.replicate.com/v1/predictions",
    "https://api.replicate.\u212aom/v1/predictions",
    "http\u017f://api.replicate.com/v1/predictions",
    "https://api.replicate.com\u200b/v1/predictions",
    "https://api.replicate.com\u00ad/v1/predictions",
    "https://\u202eapi.replicate.com/v1/predictions",
    "https://api.replicate.com\ud800/v1/predictions",
    "https://api\t.replicate.com/v1/predictions",
    "ht\ntps://api.replicate.com/v1/predictions",
    "https:api.replicate.com/v1/predictions",
    "https:///api.replicate.com/v1/predictions",
    "https:////api.replicate.com/v1/predictions",
    "https:\\/\\/api.replicate.com/v1/predictions",
    "https:/\\api.replicate.com/v1/predictions",
    "://api.replicate.com/v1/predictions",
    "wss://api.replicate.com/v1/predictions",
    "data:text/plain,https://api.replicate.com/v1/predictions",
    "blob:https://api.replicate.com/v1/predictions",
    "view-source:https://api.replicate.com/v1/predictions",
    "replicate.com/v1/predictions",
    "https://replicate.com/v1/predictions",
    "https://api.replicate.com.:443/v1/predictions",
    "https://.api.replicate.com/v1/predictions",
    "https://api..replicate.com/v1/predictions",
    "https://x.api.replicate.com/v1/predictions",
    "https://api.replicate.co/v1/predictions",
    "https://[api.replicate.com]/v1/predictions",
    "https://[::1]/v1/predictions",
    "https://[::1/v1/predictions",
    "https://[::1]api.replicate.com/v1/predictions",
    "https://[fe80::1%25eth0]/v1/predictions",
]


@pytest.mark.parametrize("url", NOT_OURS, ids=ascii)
def test_hostile_urls_never_get_the_token(url: str) -> None:
    assert API.target(url) is None
    assert API.target(url, upgrade=True) is None
    assert API.same_origin_target(url) is None
    assert not API.owns(url)


# These may not even be fetched without the token.
NOT_FETCHED = [
    "http://replicate.delivery/x.png",
    "https://localhost/x",
    "https://LOCALHOST/x",
    "https://x.localhost/x",
    "https://localhost./x",
    "https://localhost.localdomain/x",
    "https://metadata/x",
    "https://metadata.google.internal/x",
    "https://printer.local/x",
    "https://router.home.arpa/x",
    "https://127.0.0.1/x",
    "https://127.0.0.1./x",
    "https://10.0.0.1/x",
    "https://8.8.8.8/x",
    "https://127.1/x",
    "https://0/x",
    "https://0177.0.0.1/x",
    "https://0x7f.0.0.1/x",
    "https://0x7f000001/x",
    "https://0x7f.1/x",
    "https://evil.0x/x",
    "https://1.2.3.4.5/x",
    "https://999.1.1.1/x",
    "https://017700000001/x",
    "https://[::]/x",
    "https://[::1]/x",
    "https://[fd00::1]/x",
    "https://[::ffff:a9fe:a9fe]/x",
    "https://[64:ff9b::7f00:1]/x",
    "https://evil.example./x",
    "https://-evil.example/x",
    "https://evil-.example/x",
    "https://evil..example/x",
    "https://" + "a" * 64 + ".example/x",
    "https://" + "a." * 130 + "example/x",
    "https://evil.example:/x",
    "https://evil.example:70000/x",
    "https://user@evil.example/x",
    "https://evil.example\\@replicate.delivery/x",
    "https://evil.example/a b",
    "https://evil.example/a\nb",
    "https://evil%2eexample/x",
    "https://\u0435vil.example/x",
    "https://169\u30024.169.254/x",
    "https://\u2460\u2461\u2466.0.0.1/x",
    "https:evil.example/x",
    "//evil.example/x",
    "/v1/predictions",
    "x.png",
    "data:image/png;base64,AAAA",
    "file:///etc/passwd",
    "gopher://evil.example/x",
]


@pytest.mark.parametrize("url", NOT_FETCHED, ids=ascii)
def test_private_or_malformed_urls_are_not_fetched(url: str) -> None:
    assert not API.may_fetch(url)
    assert not API.may_fetch(url, any_port=True)
    assert not API.owns(url)


def test_output_files_may_be_on_any_port_and_streams_may_not() -> None:
    assert API.may_fetch("https://files.example:8443/x.png", any_port=True)
    assert not API.may_fetch("https://files.example:8443/x.png")


@pytest.mark.parametrize(
    "url",
    [
        "https://replicate.delivery/pbxt/abc/caf\u00e9.png",
        "https://replicate.delivery/a//b/../c.png",
        "https://replicate.delivery/video.mp4#t=10",
        "https://xn--caf-dma.example",
        "https://files.example?x=1",
        "https://my_bucket.s3.example/x|y",
        "https://1.2.3.4.example/x",
    ],
    ids=ascii,
)
def test_unusual_but_public_file_urls_are_fetched_without_the_token(url: str) -> None:
    assert API.may_fetch(url)
    assert not API.owns(url)


def test_only_a_loopback_base_reaches_loopback() -> None:
    for url in (
        "http://127.0.0.1:9000/x",
        "http://127.8.8.8:1/x",
        "http://localhost/x",
        "https://localhost:8443/x",
        "http://[::1]:9000/x",
    ):
        assert LOCAL.may_fetch(url)
        assert not LOCAL.owns(url)
        assert not API.may_fetch(url, any_port=True)
    assert LOCAL.may_fetch("http://127.0.0.1:8000/files/x")
    assert LOCAL.owns("http://127.0.0.1:8000/files/x")
    for url in ("http://10.0.0.1/x", "http://files.example/x", "http://127.1/x", "http://0/x"):
        assert not LOCAL.may_fetch(url, any_port=True)


# Addresses that proxies hand out which route by name.
STAND_INS = ["198.18.0.7", "198.19.255.1", "100.64.0.9", "10.0.0.1", "fd00::1"]


@pytest.mark.parametrize("address", STAND_INS)
def test_the_hosts_of_the_service_may_be_at_any_address(address: str) -> None:
    for host in ("replicate.delivery", "pbxt.Replicate.Delivery", "stream.replicate.com"):
        assert API.may_connect(host, address)
        assert not API.may_connect(host, address, verified=False)
    for host in ("evil.example", "evilreplicate.delivery", "replicate.delivery.evil.example"):
        assert not API.may_connect(host, address)


@pytest.mark.parametrize("address", STAND_INS)
def test_trusted_hosts_may_be_at_any_address(address: str) -> None:
    base = replace(API, trusted_hosts=("files.corp.example", "store.internal"))
    for host in ("files.corp.example", "a.FILES.corp.example", "store.internal"):
        assert base.may_connect(host, address)
        assert not base.may_connect(host, address, verified=False)
        assert base.may_fetch(f"https://{host}/x.png")
        assert not base.may_fetch(f"http://{host}/x.png")
    assert not base.may_connect("corp.example", address)
    assert not base.may_fetch("https://other.internal/x.png")


@pytest.mark.parametrize(
    "address",
    [
        "64:ff9b:1::808:808",
        "64:ff9b:1:fffe::1",
        "fec0::1",
        "::8.8.8.8",
        "::10.0.0.1",
        "::ffff:0:8.8.8.8",
        "5f00::1",
        "3fff::1",
        "2600::5efe:10.0.0.1",
        "2600::200:5efe:127.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:a00:1::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "fe80::1%eth0",
    ],
)
def test_an_address_that_stands_for_a_private_one_is_not_connected_to(address: str) -> None:
    assert not API.may_connect("files.example", address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2600::1", "64:ff9b::8.8.8.8", "2600::5efe:8.8.8.8", "2002:808:808::1"]
)
def test_a_public_address_is_connected_to(address: str) -> None:
    assert API.may_connect("files.example", address)


HOSTS = st.text(st.characters(blacklist_characters="/?#"), max_size=40)


@given(HOSTS, st.sampled_from(["https://", "http://", "//", "https:", "https:/", "\\\\"]))
def test_no_other_authority_is_ours(authority: str, start: str) -> None:
    url = f"{start}{authority}/v1/predictions"
    if start == "https://" and authority.lower() in {"api.replicate.com", "api.replicate.com:443"}:
        return
    assert not API.owns(url)
    assert API.target(url) is None
    assert API.same_origin_target(url) is None


@given(st.text(max_size=60) | st.from_regex(r"(https?:)?/?/?[a-z.]*(:[0-9]*)?[/%.25eE\\a]*"))
def test_what_is_accepted_goes_back_to_our_origin(text: str) -> None:
    for url in (text, f"/{text}", f"https://api.replicate.com/{text}", f"/v1/{text}"):
        found = API.same_origin_target(url)
        if found is None:
            assert not API.owns(url)
            continue
        assert found.startswith("/")
        assert not found.startswith("//")
        assert found.isascii()
        assert found.isprintable()
        assert not {"..", "."} & set(found.partition("?")[0].split("/"))
        assert API.owns(f"https://api.replicate.com{found}")


@given(
    st.from_regex(
        r"/v1/[a-z0-9]{1,8}(/[A-Za-z0-9_.-]{1,9}x)*(\?[a-zA-Z0-9=&%/?:]*)?", fullmatch=True
    )
)
def test_what_the_api_would_send_is_accepted_unchanged(path: str) -> None:
    assert API.target(f"https://api.replicate.com{path}") == path.removeprefix("/v1")

"""``check``, as a program."""

from __future__ import annotations

import json

import pytest

from replicate_async.local import LocalGateway, LocalReplicate
from tests.cli.program import Ran, environment, forked, run
from tests.support.ports import free_port
from tests.support.sentinel import TOKEN, assert_silent

KEY = "sk-live-51abcdef23456789"

pytestmark = pytest.mark.anyio


async def check(*arguments: str, env: dict[str, str]) -> Ran:
    return await forked("check", *arguments, env=env)


async def test_what_works_is_shown(server: LocalReplicate) -> None:
    ran = await run("check", server=server)

    assert (ran.code, ran.err) == (0, "")
    shown = dict(line.split(None, 1) for line in ran.out.replace("way out", "way").splitlines())
    assert shown["base"] == server.url
    assert shown["auth"] == "authorization"
    assert shown["account"] == "dev (user)"
    assert "models on" in shown["listing"]
    assert ":" in shown["version"]
    assert shown["clock"] == "agrees with the API's"
    assert "more requests at once" in shown["limits"]


async def test_a_gateway_is_gone_through(server: LocalReplicate) -> None:
    async with LocalGateway(server, stored_token=True) as gateway:
        given = {
            "REPLICATE_BASE_URL": gateway.url,
            "REPLICATE_HEADERS": json.dumps(dict(gateway.headers)),
        }
        ran = await check("--json", env=environment() | given)

    found = json.loads(ran.out)["found"]
    assert ran.code == 0, ran.err
    assert (found["base"], found["auth"]) == (gateway.url, "cf-aig-authorization")
    assert next(iter(gateway.headers.values())).split()[1] not in ran.out


async def test_a_wrong_token_is_named(server: LocalReplicate) -> None:
    ran = await check(env=environment(server) | {"REPLICATE_API_TOKEN": TOKEN})

    assert ran.code == 1
    assert "account" in ran.out
    assert "error: account: " in ran.err
    assert "set REPLICATE_API_TOKEN to a token of the account" in " ".join(ran.err.split())
    assert_silent(ran.out + ran.err, "the output")


async def test_an_address_where_nothing_is_leads_to_a_page(server: LocalReplicate) -> None:
    lost = {"REPLICATE_BASE_URL": f"http://127.0.0.1:{free_port()}"}
    ran = await check(env=environment(server) | lost)

    assert ran.code == 1
    assert "docs/howto/proxy.md" in ran.err


async def test_headers_that_are_no_object_are_refused() -> None:
    ran = await check(env=environment() | {"REPLICATE_HEADERS": TOKEN})

    assert ran.code == 2
    assert "REPLICATE_HEADERS is no JSON object" in " ".join(ran.err.split())
    assert_silent(ran.out + ran.err, "the output")


async def test_a_key_in_the_path_of_the_base_url_is_hidden(server: LocalReplicate) -> None:
    async with LocalGateway(server, prefix=f"/v1/{KEY}/replicate") as gateway:
        headers = json.dumps(dict(gateway.headers))
        given = {"REPLICATE_BASE_URL": gateway.url, "REPLICATE_HEADERS": headers}
        works = await check(env=environment(server) | given)
        given["REPLICATE_BASE_URL"] = gateway.url.replace("/replicate", "/nothing")
        fails = await check("--json", env=environment(server) | given)

    assert (works.code, works.err) == (0, "")
    assert "/v1/[hidden]/replicate" in works.out
    assert (fails.code, json.loads(fails.out)["found"]["account"]) == (1, "failed")
    assert KEY not in works.out + works.err + fails.out + fails.err


@pytest.mark.parametrize(("value", "code"), [("from a clipboard", 0), ("", 2)])
async def test_a_key_for_the_name_of_a_header_is_hidden(
    server: LocalReplicate, value: str, code: int
) -> None:
    headers = {KEY: value, TOKEN: "pasted twice"}
    ran = await check(env=environment(server) | {"REPLICATE_HEADERS": json.dumps(headers)})

    assert ran.code == code, ran.err
    assert KEY not in ran.out + ran.err
    assert_silent(ran.out + ran.err, "the output")

"""``predictions`` and ``models``, and what every command does with wrong arguments."""

from __future__ import annotations

import json

import pytest

from replicate_async import Replicate
from replicate_async.local import LocalReplicate
from tests.cli.program import ended, environment, forked, run, start

pytestmark = pytest.mark.anyio


async def test_predictions_are_listed_shown_and_canceled(server: LocalReplicate) -> None:
    async with Replicate(server.api_token, base_url=server.url) as client:
        first = await client.predictions.create("acme/spell", {"word": "abc"})
        await client.predictions.wait(first)
        second = await client.predictions.create("local/slow", {"seconds": 50})

        listed = await run("predictions", "list", server=server)
        latest = await run("predictions", "list", "--limit=1", "--json", server=server)
        shown = await run("predictions", "get", first.id, server=server)
        canceled = await run("predictions", "cancel", second.id, server=server)
        again = await run("predictions", "cancel", first.id, server=server)
        unknown = await run("predictions", "get", "nope", server=server)

        assert (await client.predictions.get(second.id)).status == "canceled"
    rows = [line.split("\t") for line in listed.out.splitlines()]
    assert [row[0] for row in rows] == [second.id, first.id]
    assert rows[1][1:3] == ["acme/spell", "succeeded"]
    assert [p["id"] for p in json.loads(latest.out)] == [second.id]
    assert "input    word=abc\noutput   abc\n" in shown.out
    assert canceled.out == f"canceled prediction {second.id}\n"
    assert again.err == f"prediction {first.id} had succeeded already\n"
    assert (unknown.code, unknown.err) == (
        1,
        "error: There is no prediction nope, or the token may not see it.\n",
    )


async def test_models_are_listed_found_and_shown_with_their_inputs(server: LocalReplicate) -> None:
    listed = await run("models", "list", "--json", server=server)
    found = await run("models", "search", "mandelbrot", server=server)
    shown = await run("models", "get", "acme/shapes", server=server)

    assert "acme/shapes" in {f"{m['owner']}/{m['name']}" for m in json.loads(listed.out)}
    assert found.out.startswith("local/mandelbrot\t")
    assert shown.out.startswith("acme/shapes\nGive back what it was given.\n")
    assert "  sizes  list of integer" in shown.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(("run", "a/b"), "REPLICATE_API_TOKEN is not set. ", id="no-token"),
        pytest.param(("run", "a/b", "--token=r8_x"), "--token is not taken, for", id="token"),
        pytest.param(("run", "a/b", "--lcal=r8_x"), "Unknown option: --lcal; see", id="option"),
        pytest.param(("rnu",), 'Unknown command "rnu". Did you mean "run"?', id="command"),
        pytest.param(("models", "list", "--limit", "0"), 'Invalid value "0" for', id="value"),
    ],
)
async def test_a_wrong_command_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    ran = await run(*arguments)

    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"error: {said}")
    assert ran.err.count("\n") == 1
    assert "r8_x" not in ran.err


async def test_an_api_that_is_not_there_is_one_line(server: LocalReplicate) -> None:
    env = environment(server) | {"REPLICATE_BASE_URL": "http://127.0.0.1:9"}

    ran = await forked("models", "get", "a/b", env=env)

    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    assert server.api_token not in ran.err


async def test_without_the_extra_it_says_which_to_install() -> None:
    program = (
        "import sys; sys.modules['cyclopts'] = None; import replicate_async.__main__ as m; m.main()"
    )

    ran = await ended(await start(env=environment(), program=("-c", program)))

    assert ran.code == 1
    assert ran.err == "The command line needs an extra: pip install 'replicate-async[cli]'\n"


async def test_a_command_loads_no_other() -> None:
    program = (
        "import sys; sys.argv[1:] = ['account', '--help']; import atexit;"
        "import replicate_async.__main__ as m;"
        "atexit.register(lambda: print(*sys.modules)); m.main()"
    )

    ran = await ended(await start(env=environment(), program=("-c", program)))

    commands = {
        name for name in ran.out.split() if name.startswith("replicate_async.cli.commands.")
    }
    assert commands == {"replicate_async.cli.commands.account"}


async def test_help_loads_no_http_library() -> None:
    program = (
        "import sys; sys.argv[1:] = ['--help']; import atexit, replicate_async.__main__ as m;"
        "atexit.register(lambda: print(*sys.modules)); m.main()"
    )

    ran = await ended(await start(env=environment(), program=("-c", program)))

    assert ran.code == 0
    assert "stream" in ran.out
    assert {"aiohttp", "httpx"}.isdisjoint(ran.out.split())

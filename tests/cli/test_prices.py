"""Prices in the file of defaults, and what commands say that was used and paid."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from replicate_async.cli.progress import figures_of
from replicate_async.core.usage import ModelUsage
from replicate_async.local import LocalReplicate
from replicate_async.runs.batch.stats import BatchStats
from tests.cli.program import Ran, Terminal, environment, forked, run

pytestmark = pytest.mark.anyio

PRICES = """\
[prices."local/echo"]
run = 0.5

[prices."local/storyteller"]
output_token_count = 0.25
"""


def write(config: Path, text: str) -> None:
    config.write_text(text)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    found = tmp_path / "config.toml"
    write(found, PRICES)
    return found


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    found = tmp_path / "in.jsonl"
    found.write_text("".join(f'{{"value": {at}}}\n' for at in range(5)))
    return found


async def priced(config: Path, *arguments: str, server: LocalReplicate | None = None) -> Ran:
    return await forked(*arguments, env=environment(server, config))


async def batch(config: Path, rows: Path, server: LocalReplicate, *options: str) -> Ran:
    out = str(rows.with_name("out.jsonl"))
    return await priced(
        config, "batch", "local/echo", "-i", str(rows), "-o", out, *options, server=server
    )


async def test_a_sum_of_small_costs_has_three_digits(
    config: Path, rows: Path, server: LocalReplicate
) -> None:
    write(config, PRICES.replace("run = 0.5", "run = 0.0001"))

    ran = await batch(config, rows, server, "--max-cost", "0.00035")
    status = await priced(config, "batch", "status", f"{rows.with_name('out.jsonl')}.journal")

    assert "cost 0.0003)" in ran.err
    assert "cost\t0.0003\n" in status.out


def test_the_progress_of_a_batch_shows_small_costs() -> None:
    stats = BatchStats(lambda: 0.0, usage=ModelUsage(cost=0.00012))

    assert figures_of(stats.progress(), None).endswith(" · cost 0.00012")


async def test_a_batch_stops_at_a_cost_that_all_runs_share(
    config: Path, rows: Path, server: LocalReplicate
) -> None:
    first = await batch(config, rows, server, "--max-cost", "1.5")
    again = await batch(config, rows, server, "--max-cost", "1.5")
    more = await batch(config, rows, server, "--max-cost", "2.5", "--json")
    status = await priced(config, "batch", "status", f"{rows.with_name('out.jsonl')}.journal")
    as_json = await priced(
        config, "batch", "status", f"{rows.with_name('out.jsonl')}.journal", "--json"
    )

    assert (first.code, again.code, more.code) == (0, 0, 0)
    assert "3 ok in " in first.err
    assert "cost 1.50)" in first.err
    assert "give more: --max-cost counts what earlier runs have spent" in first.err
    assert "3 ok, 3 resumed in " in again.err
    assert "cost 0)" in again.err
    assert json.loads(more.out)["usage"]["cost"] == 1.0
    assert json.loads(more.out)["stopped"] is None
    assert "cost\t2.50\n" in status.out
    assert json.loads(as_json.out)["usage"]["predictions"] == 5


async def test_a_limit_without_a_price_creates_nothing(
    config: Path, rows: Path, server: LocalReplicate
) -> None:
    write(config, "")

    ran = await batch(config, rows, server, "--max-cost", "1")
    listed = await run("predictions", "list", server=server)

    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert f"--max-cost needs the price of local/echo: write it in {config}" in ran.err
    assert listed.out == ""


async def test_a_metric_that_runs_do_not_have_is_named(
    config: Path, rows: Path, server: LocalReplicate
) -> None:
    write(config, '[prices."local/echo"]\npredict_seconds = 0.1\n')

    ran = await batch(config, rows, server, "--max-cost", "1")

    assert ran.code == 2
    assert "1 ok in " in ran.err
    assert "KeyError: 'predict_seconds'" in ran.err


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("prices = 3", "Expected `object`, got `int`"),
        ('[prices."a/b"]\nrun = -1', "Expected `float` >= 0.0"),
        ('[prices."a/b"]\nrun = "1"', "Expected `float`, got `str`"),
        ("[prices]\nrun = 1", "Expected"),
        ("[prices.a]\nrun = 1", "Expected `str` matching"),
    ],
)
async def test_prices_that_are_wrong_are_named(config: Path, text: str, flaw: str) -> None:
    write(config, text)

    ran = await priced(config, "run", "local/echo", "value=1", "--local")

    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith(f"error: {config}: [prices] is wrong: {flaw}")


@pytest.mark.parametrize("command", ["run", "stream"])
async def test_a_terminal_shows_what_a_run_used_and_cost(
    config: Path, server: LocalReplicate, command: str
) -> None:
    arguments = (command, "local/storyteller", "prompt=hi", "max_tokens=5")
    piped = await priced(config, *arguments, server=server)
    terminal = await Terminal.start(*arguments, server=server, config=config)

    assert await terminal.ended() == 0
    last = terminal.text.splitlines()[-1]
    assert "predict seconds, 1 input tokens, 6 output tokens, cost 1.50" in last
    assert (piped.code, piped.err) == (0, "")


async def test_a_terminal_shows_what_a_failed_run_used(server: LocalReplicate) -> None:
    terminal = await Terminal.start("run", "local/fail", server=server)

    assert await terminal.ended() == 1
    *_, used, error = [line for line in terminal.text.splitlines() if line]
    assert used.endswith(" predict seconds")
    assert error.startswith("error: ")

"""The script behind docs/howto/scale.md runs, and the page shows its tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from benchmarks import scale

COSTS = scale.Costs(
    cpu=1e-3,
    paced_cpu=4e-3,
    replay=1e-4,
    journal=3_000,
    memory=50_000_000,
    file_cpu=5e-3,
    commit=5e-3,
    change=3e-4,
    permit=3e-5,
)
MEASURED = ("commits of the journal", "one core of the driver")
"""What the rows begin with whose numbers are of the machine that ran the script."""


@pytest.fixture
def page() -> list[str]:
    """The lines of the page's tables."""
    text = scale.PAGE.read_text(encoding="utf-8")
    return text.partition(scale.START)[2].partition(scale.END)[0].splitlines()


def first_cells(lines: Iterable[str]) -> list[str]:
    return [line.split("|")[1].strip() for line in lines if line.startswith("|")]


@pytest.mark.slow
def test_the_page_has_the_rows_of_the_script(page: list[str]) -> None:
    pytest.importorskip("redis", reason="the integrations session installs it")
    tables = scale.report(scale.SHORT)
    assert set(first_cells(tables.splitlines())) <= set(first_cells(page))


@pytest.mark.slow
def test_the_page_has_the_numbers_of_the_simulation(page: list[str]) -> None:
    size = scale.Size()
    polled = [scale.simulate(seconds, size.minutes) for seconds in size.lengths]
    told = [scale.simulate(seconds, size.minutes, webhooks=True) for seconds in size.lengths]
    limits = scale.limits(COSTS, polled).splitlines()

    assert set(scale.waiting(polled, told).splitlines()) <= set(page)
    assert {line for line in limits if not line.startswith(MEASURED, 2)} <= set(page)


def test_the_limits_of_the_page_follow_from_its_costs(page: list[str]) -> None:
    cells = [line.split("|") for line in page if line.startswith("|")]
    shown = {cell[1].strip(): cell[2].split() for cell in cells}
    cpu = float(shown["CPU of the driver, at full speed"][0]) / 1e3
    commit = float(shown["its commits"][2]) / 1e3
    most = scale.most_a_day(replace(COSTS, cpu=cpu, commit=commit), [])
    del most[f"{MEASURED[0]}, 64 changes together"]  # a change of many is not on the page

    for name, number in most.items():
        assert float(shown[name][0]) == pytest.approx(number / 1e6, rel=0.06)  # it is rounded


def test_webhooks_spare_the_polls_of_simulated_waits() -> None:
    polled = scale.simulate(5.0, 0.2)
    told = scale.simulate(5.0, 0.2, webhooks=True)
    assert 1 <= polled.gets + polled.pages < 3
    assert told.gets + told.pages < 0.1
    assert told.delay == pytest.approx(scale.WEBHOOK, abs=0.1)


def test_the_creates_of_an_account_end_first() -> None:
    waits = [scale.Waits(seconds=5.0, running=58.0, gets=1.5, pages=0.2, delay=0.2)]
    most = scale.most_a_day(COSTS, waits)
    assert min(most, key=lambda each: most[each]) == "creates that an account may send"
    assert most["creates that an account may send"] == 864_000
    assert most["one core of the driver, at full speed"] == pytest.approx(86.4e6)

"""The script behind docs/howto/scale.md runs, and the page shows its tables."""

from __future__ import annotations

import pytest

from benchmarks import scale


def first_cells(tables: str) -> list[str]:
    return [line.split("|")[1].strip() for line in tables.splitlines() if line.startswith("|")]


@pytest.mark.slow
def test_the_page_has_the_rows_of_the_script() -> None:
    pytest.importorskip("redis", reason="the integrations session installs it")
    tables = scale.report(scale.SHORT)
    page = scale.PAGE.read_text(encoding="utf-8").partition(scale.START)[2].partition(scale.END)[0]
    assert set(first_cells(tables)) <= set(first_cells(page))
    assert len(first_cells(page)) > 20


def test_webhooks_spare_the_polls_of_simulated_waits() -> None:
    polled = scale.simulate(5.0, 0.2)
    told = scale.simulate(5.0, 0.2, webhooks=True)
    assert 1 <= polled.gets + polled.pages < 3
    assert told.gets + told.pages < 0.1
    assert told.delay == pytest.approx(scale.WEBHOOK, abs=0.1)


def test_the_creates_of_an_account_end_first() -> None:
    costs = scale.Costs(
        cpu=1e-3,
        replay=1e-4,
        journal=3_000,
        memory=50_000_000,
        file_cpu=5e-3,
        commit=5e-3,
        change=3e-4,
        permit=3e-5,
    )
    waits = [scale.Waits(seconds=5.0, running=58.0, gets=1.5, pages=0.2, delay=0.2)]
    most = scale.most_a_day(costs, waits)
    assert min(most, key=lambda each: most[each]) == "creates that an account may send"
    assert most["creates that an account may send"] == 864_000
    assert most["one core of the driver"] == pytest.approx(86.4e6)

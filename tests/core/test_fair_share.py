from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from replicate_async.core.fair_share import FairShare
from replicate_async.core.limits import Limits, RateLimiters
from tests.support.storm import Server, Storm, World


def contend(
    server: Server, begins: Sequence[float], *, seed: int, seconds: float, creates: float
) -> list[Storm]:
    """Run processes of many tasks, which know nothing of each other, from the times given."""
    storms: list[Storm] = []
    for number, begin in enumerate(begins):
        chance = random.Random(f"{seed} {number}")
        bucket = RateLimiters(Limits(creates=creates)).buckets["create"]
        storms.append(Storm(server, bucket, draw=chance.random))
        for _ in range(60):
            server.world.spawn(storms[-1].task(), at=begin + 0.2 * chance.random())
    server.world.run(seconds)
    return storms


def between(moments: Sequence[float], begin: float, end: float) -> int:
    return sum(begin <= at - 1000 < end for at in moments)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("creates", "burst"),
    [(600, 600), pytest.param(600, 20, marks=pytest.mark.slow), (60, 60), (30, 30)],
)
@pytest.mark.parametrize(
    "begins", [(0, 0), (0, 120), (0, 0, 0), (0, 60, 120), (0, 0, 120, 120)], ids=str
)
def test_processes_with_one_token_come_to_equal_shares(
    begins: Sequence[float], creates: float, burst: float, seed: int
) -> None:
    server = Server(World(), creates / 60, burst, headers=True)
    slow = 600 / creates  # fewer answers tell less
    storms = contend(server, begins, seed=seed, seconds=600 * slow, creates=creates)
    counts = [between(storm.answered_at, 300 * slow, 600 * slow) for storm in storms]
    refused = between(server.rejected, 300 * slow, 600 * slow)
    share = sum(counts) / len(counts)
    assert max(abs(count - share) for count in counts) <= 0.2 * share
    assert sum(counts) >= 0.95 * 300 * 10
    assert refused <= 0.01 * sum(counts)


@pytest.mark.parametrize("burst", [5, 20, 100, 600])
def test_a_process_alone_keeps_the_whole_rate(burst: float) -> None:
    server = Server(World(), 10, burst, headers=True)
    (storm,) = contend(server, [0], seed=1, seconds=300, creates=600)
    assert between(storm.answered_at, 60, 300) >= 0.97 * 240 * 10
    assert between(server.rejected, 60, 300) == 0


def test_a_server_that_never_has_permits_left_tells_nothing() -> None:
    fair = FairShare(0.1)
    for second in range(0, 600, 10):
        fair.observed(float(second), 0)
    assert fair.share == 1.0


def test_a_share_falls_while_few_are_left_and_comes_back() -> None:
    fair = FairShare(10.0)
    fair.observed(0.0, 599)
    for tenth in range(41):
        fair.observed(5 + tenth / 10, 3)
    assert fair.share == pytest.approx(0.85**3)
    fair.observed(19.0, 200)
    assert fair.share == pytest.approx(0.85**3 + 10 / 60)
    fair.observed(99.0, 200)
    assert fair.share == 1.0

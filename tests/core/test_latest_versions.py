from __future__ import annotations

from replicate_async.core.latest_versions import LatestVersions


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_version_lives_for_five_minutes() -> None:
    clock = Clock()
    versions = LatestVersions(clock)
    versions.put("acme/echo", "1")

    clock.now += 299.0
    assert versions.get("acme/echo") == "1"
    clock.now += 1.0
    assert versions.get("acme/echo") is None
    assert len(versions) == 0


def test_a_version_that_is_dropped_leaves_one_that_was_found_since() -> None:
    versions = LatestVersions(Clock())
    versions.put("acme/echo", "1")
    versions.put("acme/echo", "2")

    versions.drop("acme/echo", "1")
    assert versions.get("acme/echo") == "2"
    versions.drop("acme/echo", "2")
    versions.drop("acme/other", "2")
    assert versions.get("acme/echo") is None


def test_the_cache_is_bounded() -> None:
    versions = LatestVersions(Clock())
    for number in range(3000):
        versions.put(f"acme/m{number}", "1")

    assert len(versions) == 1024
    assert versions.get("acme/m2999") == "1"

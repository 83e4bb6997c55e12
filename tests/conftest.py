"""Fixtures for every test: the event loop, an embedded server, and the watch over the token."""

from __future__ import annotations

import gc
import getpass
import logging
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

from replicate_async import Replicate, Retry
from replicate_async.local import LocalReplicate
from tests.support.sentinel import TOKEN, SecretWatch, hidden, shows_secret
from tests.support.virtual_time import VirtualSocketLoop

# How long an example takes says something of the machine alone.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")
settings.register_profile("quick", settings.get_profile("tests"), max_examples=50)
QUICK: Final = "not slow"
"""The tests that run by default; a property has 50 examples there, and 100 in all other runs."""

if sys.dont_write_bytecode:
    # Or each program that a test starts compiles the package again, which takes half its time.
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(
        Path(tempfile.gettempdir(), f"replicate-async-tests-{getpass.getuser()}")
    )
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix

_SOCKETS: Final = tuple(
    f"tests/{folder}/" for folder in ("cli", "faults", "files", "local", "resources", "runs", "web")
)
"""Folders whose tests open sockets or start programs."""
_LARGE: Final = 16
"""Cases of one test there that run by default, evenly spread; the others are slow."""


def pytest_configure(config: pytest.Config) -> None:
    """Choose how many examples of a property are tried."""
    settings.load_profile("quick" if config.getoption("markexpr") == QUICK else "tests")


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """Run a test on a real clock, or on a virtual one where it is marked so."""
    marker = request.node.get_closest_marker("virtual_clock")
    if marker is None:
        return "asyncio", {}
    return "asyncio", {"loop_factory": partial(VirtualSocketLoop, **marker.kwargs)}


@pytest.fixture
async def server() -> AsyncIterator[LocalReplicate]:
    """An embedded server of its own, whose account is "dev"."""
    async with LocalReplicate(api_token=TOKEN, username="dev") as running:
        yield running


@pytest.fixture
async def client(server: LocalReplicate) -> AsyncIterator[Replicate]:
    """A client of `server` that sends every request once."""
    async with Replicate(
        server.api_token, base_url=server.url, retry=Retry(attempts=1)
    ) as connected:
        yield connected


@pytest.fixture(autouse=True)
def secret_watch() -> Iterator[SecretWatch]:
    """Fail any test during which a secret was logged, at any level and by any code."""
    watch, root = SecretWatch(), logging.getLogger()
    level = root.level
    root.addHandler(watch)
    root.setLevel(logging.DEBUG)
    yield watch
    root.removeHandler(watch)
    root.setLevel(level)
    assert not watch.leaks, f"a secret was logged: {watch.leaks}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave most cases of a large parametrisation over one code path to the full run."""
    cases: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        name, _, case = item.nodeid.partition("[")
        if case and name.startswith(_SOCKETS):
            cases[name].append(item)
    for group in cases.values():
        kept = {number * len(group) // _LARGE for number in range(_LARGE)}
        for number, item in enumerate(group):
            if len(group) > _LARGE and number not in kept:
                item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Hide what is collected from the garbage collector, else each full pass walks it: 0.2 s."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail any test that printed a secret or that failed with one in its report."""
    report = yield
    shown = [report.longreprtext, *(text for _, text in report.sections)]
    if any(shows_secret(text) for text in shown):
        report.outcome = "failed"
        said = hidden(report.longreprtext)
        report.longrepr = f"{said}\n{report.nodeid}: a secret was printed ({report.when})"
        report.sections = [(title, hidden(text)) for title, text in report.sections]
    return report


def pytest_warning_recorded(
    warning_message: object,
) -> None:
    """Fail the run if a warning shows a secret."""
    if shows_secret(str(warning_message)):
        pytest.exit("a secret was shown by a warning", returncode=1)

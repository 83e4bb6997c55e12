"""One case of one client, measured by pyperf in processes of its own.

    python -m benchmarks.worker --client NAME --module MODULE --case CASE --url URL [pyperf options]

The case and the client are imported in the client's environment.
"""

from __future__ import annotations

from argparse import Namespace
from functools import cache
from importlib import import_module
from typing import Any

from benchmarks.cases import CASES

pyperf: Any = import_module("pyperf")
_OPTIONS = ("client", "module", "case", "url")


def _forward(command: list[str], options: Namespace) -> None:
    for name in _OPTIONS:
        command += [f"--{name}", getattr(options, name)]
    command += ["--uvloop"] * options.uvloop + ["--quick"] * options.quick


def main() -> None:
    """Measure the case; a client without its method adds nothing to the results."""
    runner = pyperf.Runner(program_args=("-m", "benchmarks.worker"), add_cmdline_args=_forward)
    for name in _OPTIONS:
        runner.argparser.add_argument(f"--{name}", required=True)
    runner.argparser.add_argument("--uvloop", action="store_true")
    runner.argparser.add_argument("--quick", action="store_true")
    options = runner.parse_args()
    case = CASES[options.case]
    units = case.units // (10 if options.quick else 1)
    module: Any = import_module(f"benchmarks.clients.{options.module}")
    if not hasattr(module.Client, case.operation):
        return
    loop: Any = import_module("uvloop" if options.uvloop else "asyncio").new_event_loop()

    @cache
    def client() -> Any:
        async def connect() -> Any:
            return module.Client(options.url)

        return loop.run_until_complete(connect())

    def measure(_: int) -> float:
        took: float = loop.run_until_complete(case.measure(client(), options.url, units))
        return took

    runner.bench_time_func(
        f"{case.title}, {options.client}",
        measure,
        inner_loops=units,
        metadata={"unit": case.unit},
    )


if __name__ == "__main__":
    main()

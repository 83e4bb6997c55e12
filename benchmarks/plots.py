"""Pictures of results, beside them in `benchmarks/results`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.contestants import (
    AIOHTTP,
    AIOHTTP_FAST,
    EVERYONE,
    HTTPX,
    LIMIT,
    LIMIT_FAST,
    LLHTTP,
    OURS,
    OURS_FAST,
    OURS_TUNED,
    V1,
    V2,
    V2_AIOHTTP,
)
from benchmarks.results import FOLDER, Results
from benchmarks.workloads import cycle, get, listing, streams

_COLORS: Final = {
    OURS: "#0b6e4f",
    OURS_FAST: "#4caf7d",
    OURS_TUNED: "#8fd0ac",
    LLHTTP: "#777777",
    AIOHTTP: "#1f4e9c",
    AIOHTTP_FAST: "#6f9ce8",
    LIMIT: "#444444",
    LIMIT_FAST: "#999999",
    HTTPX: "#c98a00",
    V1: "#b3261e",
    V2: "#e0685f",
    V2_AIOHTTP: "#8e4ec6",
}


def draw(results: Results) -> None:
    """Draw what was measured, one picture a workload."""
    mpl.use("Agg")
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    measured = {sample.workload for sample in results.samples}
    if get.NAME in measured:
        _by_concurrency(results)
    if {cycle.NAME, listing.NAME} <= measured:
        _calls(results)
    if streams.NAME in measured:
        _streams(results)


def _by_concurrency(results: Results) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for axes, name, label in (
        (left, "cpu", "CPU a request (µs)"),
        (right, "rate", "requests a second"),
    ):
        for title in EVERYONE:
            points = [
                (in_flight, value)
                for in_flight, case in get.CASES.items()
                if (value := results.median(get.NAME, case.title, title, name)) is not None
            ]
            if points:
                style = "--" if "uvloop" in title else "-"
                axes.plot(
                    [at for at, _ in points],
                    [value for _, value in points],
                    style,
                    marker="o",
                    markersize=3.5,
                    label=title,
                    color=_COLORS[title],
                    linewidth=2.5 if title == OURS else 1.4,
                )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(list(get.CASES), [f"{at:,}" for at in get.CASES])
        axes.minorticks_off()
        axes.set_xlabel("predictions.get in flight")
        axes.set_title(label, loc="left")
        axes.grid(axis="y", alpha=0.3)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    _save("get")


def _calls(results: Results) -> None:
    pictures = [
        (cycle.NAME, cycle.WAIT.title, "cpu", 1.0, "create, then poll 3 times: µs of CPU"),
        (cycle.NAME, cycle.HELD.title, "cpu", 1.0, "run with Prefer: wait: µs of CPU"),
        (listing.NAME, listing.PAGE.title, "cpu", 0.01, "listing: µs of CPU a prediction"),
    ]
    _, rows = plt.subplots(1, 3, figsize=(10, 3.4), sharey=True, layout="constrained")
    for axes, (workload, case, name, scale, label) in zip(rows, pictures, strict=True):
        _bars(axes, results, (workload, case, name), EVERYONE, scale)
        axes.set_title(label, loc="left", fontsize=9)
    _save("calls")


def _streams(results: Results) -> None:
    pictures = [
        (streams.ONE, "speed", 1e-3, "one stream: 1,000 events a second"),
        (streams.PACED, "cpu", 1.0, "events that come alone: µs of CPU"),
        (streams.OPEN, "size", 1e-3, "kB of an open stream"),
    ]
    _, rows = plt.subplots(1, 3, figsize=(10, 3.6), sharey=True, layout="constrained")
    for axes, (case, name, scale, label) in zip(rows, pictures, strict=True):
        _bars(axes, results, (streams.NAME, case, name), list(streams.READERS), scale)
        axes.set_title(label, loc="left", fontsize=9)
    _save("streams")


def _bars(
    axes: Axes, results: Results, where: tuple[str, str, str], titles: Sequence[str], scale: float
) -> None:
    workload, case, name = where
    values = [(results.median(workload, case, title, name) or 0.0) * scale for title in titles]
    colors = [
        _COLORS.get(title, _COLORS[OURS] if title.startswith(OURS) else "#9aa5b1")
        for title in titles
    ]
    bars = axes.barh(range(len(titles)), values, color=colors)
    axes.bar_label(
        bars, [f" {value:,.3g}" if value < 1000 else f" {value:,.0f}" for value in values]
    )
    axes.set_yticks(range(len(titles)), titles)
    axes.set_ylim(len(titles) - 0.4, -0.6)
    axes.set_xlim(0, max(values) * 1.25 or 1)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)


def _save(name: str) -> None:
    FOLDER.mkdir(exist_ok=True)
    plt.savefig(FOLDER / f"{name}.png", dpi=110)
    plt.close()

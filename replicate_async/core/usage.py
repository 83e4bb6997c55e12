"""What the runs of a client used, by model, from their metrics."""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol, SupportsFloat, TypeAlias, cast

import msgspec

__all__ = ["ModelUsage", "Price", "Usage", "UsageCounter"]

_log = logging.getLogger("replicate_async")

Price: TypeAlias = Callable[[Mapping[str, Any]], float]
"""Returns what a run costs, by its metrics."""

_AT_ONCE: Final = 256
"""Runs whose metrics are kept until they are read."""
_REMEMBERED: Final = 10_000
"""Runs that ended last, each of which is counted once."""


class ModelUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What the runs of one model used."""

    predictions: int = 0
    """Runs that ended, in success or not."""
    predict_seconds: float = 0.0
    """Seconds that the model ran."""
    input_tokens: int = 0
    """Tokens of the prompts, of models that count them."""
    output_tokens: int = 0
    """Tokens of the outputs, of models that count them."""
    images: int = 0
    """Images in the outputs, of models that count them."""
    cost: float | None = None
    """By the price of the model; None without one."""

    def __add__(self, other: ModelUsage) -> ModelUsage:
        costs = self.cost, other.cost
        return ModelUsage(
            predictions=self.predictions + other.predictions,
            predict_seconds=self.predict_seconds + other.predict_seconds,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            images=self.images + other.images,
            cost=None if costs == (None, None) else sum(cost or 0.0 for cost in costs),
        )

    def __str__(self) -> str:
        parts = [f"{self.predict_seconds:,.1f} predict seconds"]
        counts = {
            "input tokens": self.input_tokens,
            "output tokens": self.output_tokens,
            "images": self.images,
        }
        parts += [f"{count:,} {name}" for name, count in counts.items() if count]
        if self.cost is not None:
            parts.append(f"cost {cost_text(self.cost)}")
        return ", ".join(parts)


def cost_text(cost: float) -> str:
    """Return *cost* as a text: two decimals from 1 up, three digits below."""
    return f"{cost:,.2f}" if cost >= 1 else f"{cost:.3g}"


def usage_of(metrics: Mapping[str, Any], cost: float | None = None) -> ModelUsage:
    """Return what one run used, by its *metrics*; 0 where they do not say it."""
    return ModelUsage(
        predictions=1,
        predict_seconds=_number(metrics, "predict_time"),
        input_tokens=int(_number(metrics, "input_token_count")),
        output_tokens=int(_number(metrics, "output_token_count")),
        images=int(_number(metrics, "image_output_count", "image_count")),
        cost=cost,
    )


def cost_of(price: Price, metrics: Mapping[str, Any]) -> float:
    """Return what a run with these *metrics* costs.

    Raises what *price* raises, and `ValueError` when it returns no number from 0 up.
    """
    returned = cast("object", price(metrics))
    if isinstance(returned, SupportsFloat) and not isinstance(returned, bool):
        cost = float(returned)
        if 0 <= cost < math.inf:
            return cost
    raise ValueError(f"it returned {returned!r}, which is no cost")


class Usage(Mapping[str, ModelUsage]):
    """What the runs of a client used: a `ModelUsage` by "owner/name", and the `total`."""

    def __init__(self, models: Mapping[str, ModelUsage]) -> None:
        self._models = dict(models)

    def __getitem__(self, model: str) -> ModelUsage:
        return self._models[model]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    @property
    def total(self) -> ModelUsage:
        """The sum over all models; its cost is that of the models with a price."""
        return sum(self._models.values(), ModelUsage())

    def __repr__(self) -> str:
        return f"Usage({self._models!r})"


class Ended(Protocol):
    """A run that has ended, as far as its usage is concerned."""

    @property
    def model(self) -> str | None:
        """The model, "owner/name", if it is known."""
        ...

    @property
    def version(self) -> str | None:
        """The id of the version."""
        ...

    @property
    def metrics(self) -> Mapping[str, Any] | None:
        """What the run used."""
        ...


class UsageCounter:
    """Counts runs that ended, each of them once.

    Their metrics are read later, many at once: most programs never ask for them.
    """

    __slots__ = ("_counted", "_ended", "_models", "_room", "prices")

    def __init__(self, prices: Mapping[str, Price] | None = None) -> None:
        self.prices: Mapping[str, Price] = dict(prices or {})
        self._models: dict[str, ModelUsage] = {}
        self._ended: dict[str, tuple[str, Mapping[str, Any]]] = {}
        self._room = _AT_ONCE
        self._counted: OrderedDict[str, None] = OrderedDict()

    def count(self, run_id: str, run: Ended) -> None:
        """Count the *run*, which has ended."""
        self._ended[run_id] = (run.model or run.version or "unknown", run.metrics or {})
        self._room -= 1
        if self._room <= 0:
            self._add_up()

    def _add_up(self) -> None:
        for run_id, (model, metrics) in self._ended.items():
            if run_id in self._counted:
                continue
            self._counted[run_id] = None
            if len(self._counted) > _REMEMBERED:
                self._counted.popitem(last=False)
            used = usage_of(metrics, self.cost(model, metrics))
            self._models[model] = self._models.get(model, ModelUsage()) + used
        self._ended.clear()
        self._room = _AT_ONCE

    def cost(self, model: str, metrics: Mapping[str, Any]) -> float | None:
        """Return what a run of *model* with these *metrics* costs; None without a price.

        A price that fails counts nothing: a run that failed early has few metrics, and the wait
        that learns of its end must not break.
        """
        price = self.prices.get(model)
        if price is None:
            return None
        try:
            return cost_of(price, metrics)
        except Exception as error:  # noqa: BLE001 - the caller's function
            _log.warning("The price of %s failed: %r; the run counts as free", model, error)
            return 0.0

    def usage(self) -> Usage:
        """Return what was counted so far."""
        self._add_up()
        return Usage(self._models)


def _number(metrics: Mapping[str, Any], *names: str) -> float:
    """Return the first of the metrics *names* that is a number, else 0."""
    for name in names:
        value: Any = metrics.get(name)
        if type(value) in {int, float} and 0 <= value < 1e15:
            return float(value)
    return 0

"""What the predictions of a batch used, and what they cost."""

from __future__ import annotations

from collections.abc import Callable

from replicate_async.core.usage import Price, cost_of, usage_of
from replicate_async.runs.batch.stats import BatchStats
from replicate_async.schemas import Prediction


class Budget:
    """Adds up what the predictions of a batch used that have ended."""

    def __init__(self, price: Callable[[str | None], Price | None], stats: BatchStats) -> None:
        self._price = price
        self._stats = stats

    def count(self, ended: Prediction) -> None:
        """Count a prediction that has ended."""
        metrics = ended.metrics or {}
        self._stats.usage += usage_of(metrics, self._cost(ended))

    def _cost(self, ended: Prediction) -> float | None:
        price = self._price(ended.model)
        if price is None:
            return None
        try:
            return cost_of(price, ended.metrics or {})
        except Exception:  # noqa: BLE001 - the user's function; the usage of the client logs it
            return 0.0

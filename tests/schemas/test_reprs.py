"""What is shown of the structs that people print most: one short line."""

from __future__ import annotations

import pytest

from replicate_async import BatchResult, Model, Page, Prediction, Training
from replicate_async.errors import PredictionFailed
from replicate_async.schemas import Version


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Prediction(id="abc", status="starting"), "<Prediction abc starting>"),
        (
            Prediction(id="abc", status="succeeded", model="acme/echo", output="x" * 10_000),
            "<Prediction abc acme/echo succeeded>",
        ),
        (
            Prediction(id="abc", status="failed", model="acme/echo", error="CUDA out of memory"),
            "<Prediction abc acme/echo failed: 'CUDA out of memory'>",
        ),
        (Training(id="def", status="processing"), "<Training def processing>"),
        (
            Model(owner="acme", name="echo", latest_version=Version(id="5c7d", openapi_schema={})),
            "<Model acme/echo>",
        ),
        (Page(results=[1, 2], next="https://api/next"), "<Page of 2, more follow>"),
        (Page[int](results=[]), "<Page of 0, the last page>"),
        (BatchResult(key="a", index=3, input={}, output="x" * 10_000), "<BatchResult 3 'a' ok>"),
    ],
)
def test_a_repr_is_one_short_line(value: object, text: str) -> None:
    assert repr(value) == text


def test_a_long_error_is_cut() -> None:
    assert len(repr(Prediction(id="abc", status="failed", error="x" * 10_000))) < 120


def test_a_failed_result_names_its_error() -> None:
    prediction = Prediction(id="abc", status="failed")
    error = PredictionFailed("it failed", prediction=prediction)
    result = BatchResult[str](key="a", index=0, input={}, error=error)

    assert repr(result) == "<BatchResult 0 'a' PredictionFailed>"

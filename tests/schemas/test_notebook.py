from __future__ import annotations

from typing import Any

import msgspec
import pytest

from replicate_async import Prediction
from tests.support.replies import prediction


def shown(**fields: Any) -> str:
    made = prediction("https://api.replicate.com/v1") | fields
    return msgspec.convert(made, Prediction, strict=False)._repr_html_()  # pyright: ignore[reportPrivateUsage] - what a notebook calls


def test_a_notebook_shows_status_times_and_metrics() -> None:
    html = shown(
        started_at="2026-03-16T12:00:02.123456Z",
        completed_at="2026-03-16T12:00:05.623456Z",
        metrics={"predict_time": 3.5, "token_output_count": 12, "note": "<b>", "more": {}},
    )

    for part in ("succeeded", "2026-03-16 12:00:00 UTC", "2.0 s", "3.5 s", "12", "&lt;b&gt;"):
        assert f">{part}</td>" in html
    assert "<pre style=" in html
    assert "more" not in html


@pytest.mark.parametrize(
    ("output", "part"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;"),
        (["Once", " upon"], ">Once upon</pre>"),
        ("x" * 1000, f"{'x' * 600}…"),
        ("https://a.example/x?a=1&b=%22", '<a href="https://a.example/x?a=1&amp;b=%22"'),
        (['https://a.example/"onclick=x'], '<a href="https://a.example/&quot;onclick=x"'),
        (["https://a.example/x"] * 20, "…"),
        ("https: the secure one", "<pre"),
        ("javascript:alert(1)", "<pre"),
        ({"a": [1, "<"]}, "{&quot;a&quot;:[1,&quot;&lt;&quot;]}"),
        ([1, 2], "[1,2]"),
        (0, ">0</pre>"),
    ],
)
def test_html_in_an_output_is_escaped(output: object, part: str) -> None:
    assert part in shown(output=output)


def test_absent_fields_are_not_shown() -> None:
    html = shown(output=None, model=None, created_at=None, started_at=None, metrics=None)

    assert "output" not in html
    assert "None" not in html
    assert "<th" in shown(error="it <broke>", status="failed")
    assert "it &lt;broke&gt;" in shown(error="it <broke>", status="failed")

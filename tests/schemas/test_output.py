from __future__ import annotations

from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_async.schemas import Prediction, PredictionURLs, Progress, decode_output


class Caption(msgspec.Struct):
    text: str
    score: float = 0.0


def prediction(**fields: Any) -> Prediction:
    return Prediction(id="a", status="succeeded", urls=PredictionURLs(), **fields)


@given(st.lists(st.text()))
def test_text_chunks_are_joined(chunks: list[str]) -> None:
    assert prediction(output=chunks).output_as(str) == "".join(chunks)
    assert prediction(output=chunks).output_as(list[str]) == chunks


@pytest.mark.parametrize(
    ("output", "type", "expected"),
    [
        ("text", str, "text"),
        (["a", "b"], Any, ["a", "b"]),
        (["a", "b"], str | None, "ab"),
        (["a", "b"], Literal["ab"], "ab"),
        (["a", "b"], str | list[str], ["a", "b"]),
        (None, str | None, None),
        (3, float, 3.0),
        ({"text": "a bear", "score": 1, "more": 0}, Caption, Caption("a bear", 1.0)),
        ([{"text": "x"}], list[Caption], [Caption("x")]),
        ([[1, 2], [3, 4]], list[tuple[int, int]], [(1, 2), (3, 4)]),
    ],
)
def test_an_output_becomes_the_type(output: object, type: Any, expected: object) -> None:
    assert decode_output(output, type) == expected


@pytest.mark.parametrize(
    ("output", "type", "problem"),
    [
        (None, str, "The output is not str: Expected `str`, got `null`"),
        (["a", 1], str, "The output is not str: Expected `str`, got `array`"),
        (["1", "2"], int, "The output is not int: Expected `int`, got `array`"),
        ({"score": 1}, Caption, "The output is not Caption: .*`text`"),
        ([{"text": 1}], list[Caption], r"The output is not list.*\$\[0\]\.text"),
        (["a"], list[int], r"The output is not list.*\$\[0\]"),
    ],
)
def test_an_output_of_another_type_says_what_is_wrong(
    output: object, type: Any, problem: str
) -> None:
    with pytest.raises(msgspec.ValidationError, match=problem):
        prediction(output=output).output_as(type)


def test_a_type_that_msgspec_does_not_decode_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        decode_output([1], Prediction | Caption)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - the mistake


@pytest.mark.parametrize(
    "output",
    [
        ["https://replicate.delivery/a/0.png", "https://replicate.delivery/a/1.png"],
        ["https://replicate.delivery/a/0.png"],
        ["a caption", "HTTPS://a.example/0.png"],
        ["http://localhost:8080/x", "b"],
        ["https://a.example", "https://b.example"],
        ["data:image/png;base64,AAAA", "data:image/png;base64,BBBB"],
        ["data:text/plain;charset=utf-8,a b"],
    ],
)
def test_urls_are_never_joined(output: list[str]) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"not str: .*; it is a list of . strings"):
        prediction(output=output).output_as(str)
    assert prediction(output=output).output_as(list[str]) == output


@pytest.mark.parametrize(
    "output",
    [
        ["See", " https://a.example/x", " for", " more."],
        ["http", "://", "a", ".example"],
        ["https://", "a.example"],
        ["http://www", ".a", ".example"],
        ["data:", " 1,2"],
        ["data: one and/or two, ", "three"],
        ["data", ": 1, 2 and 3", ""],
        ["https://a.example/x is", " the page"],
        ["Hello"],
        [],
    ],
)
def test_a_text_with_urls_in_it_is_joined(output: list[str]) -> None:
    assert prediction(output=output).output_as(str) == "".join(output)


def test_the_schema_decides_before_the_look_of_the_chunks() -> None:
    words, urls = ["cat", "dog"], ["https://a.example/", "x"]

    assert decode_output(urls, str, is_text=True) == "https://a.example/x"
    with pytest.raises(msgspec.ValidationError, match="use list"):
        decode_output(words, str, is_text=False)
    with pytest.raises(msgspec.ValidationError, match="Expected `int`"):
        decode_output(words, int, is_text=True)


BARS = [
    ("  6%|▋         | 1/16 [00:00<00:01,  7.96it/s]", (0.06, 1, 16)),
    ("Using seed: 1\n  0%|          | 0/16 [00:00<?, ?it/s]\n", (0.0, 0, 16)),
    ("  0%|          | 0/4\r 25%|##5       | 1/4\r 50%|#####     | 2/4", (0.5, 2, 4)),
    ("100%|██████████| 16/16 [00:01<00:00]\nuploading\n", (1.0, 16, 16)),
    ("loading pipeline: 20%|██        | 1/5 [00:00<00:00]", (0.2, 1, 5)),
    (
        "Downloading:  45%|████▌     | 1.20G/2.60G [00:10<00:12]",
        (0.45, 1_200_000_000, 2_600_000_000),
    ),
    (" 12%|█▏        | 12.5k/100k [00:00]", (0.12, 12_500, 100_000)),
    ("a: 90%|█████████ | 9/10\nb: 10%|█         | 1/10\n", (0.1, 1, 10)),
    ("104%|██████████| 104/100", (1.0, 104, 100)),
]


@pytest.mark.parametrize(("logs", "expected"), BARS)
def test_progress_is_the_last_bar(logs: str, expected: tuple[float, int, int]) -> None:
    progress = prediction(logs=logs).progress
    assert progress is not None
    assert (progress.percentage, progress.current, progress.total) == expected


@pytest.mark.parametrize(
    "logs", [None, "", "50% done", "50%|1/2", "step 1/2", "1000%|#| 1/2", "5%|#\n| 1/2"]
)
def test_logs_without_a_bar_have_no_progress(logs: str | None) -> None:
    assert prediction(logs=logs).progress is None


@given(st.text(st.sampled_from("0123456789%|/ .#k\r\n:a")))
def test_progress_never_fails(logs: str) -> None:
    progress = Progress.parse(logs)
    assert progress is None or 0 <= progress.percentage <= 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, None),
        ("", None),
        ("CUDA out of memory (E1001)", "E1001"),
        ("The input or output was flagged as sensitive. Please try again. (E005)", "E005"),
        ("Prediction interrupted; please retry (code: PA)", "PA"),
        ("division by zero", None),
    ],
)
def test_an_error_may_have_a_code(error: str | None, code: str | None) -> None:
    assert prediction(error=error).error_code == code

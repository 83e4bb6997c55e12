from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from replicate_async.schemas import (
    CreateDeployment,
    CreateFile,
    CreateModel,
    CreatePrediction,
    CreatePredictionHeaders,
    CreateTraining,
    CreateVersionPrediction,
    DownloadFile,
    ListModels,
    ListPredictions,
    SearchQuery,
    UpdateDeployment,
    UpdateModel,
)

REQUESTS: list[Any] = [
    CreateDeployment,
    CreateFile,
    CreateModel,
    CreatePrediction,
    CreatePredictionHeaders,
    CreateTraining,
    CreateVersionPrediction,
    DownloadFile,
    ListModels,
    ListPredictions,
    SearchQuery,
    UpdateDeployment,
    UpdateModel,
]
DEPLOYMENT = {
    "name": "app",
    "model": "acme/echo",
    "version": "5c7d",
    "hardware": "cpu",
    "min_instances": 0,
    "max_instances": 1,
}


@pytest.mark.parametrize("struct", REQUESTS)
def test_a_request_is_exact(struct: Any) -> None:
    config = struct.__struct_config__
    assert (config.frozen, config.omit_defaults, config.forbid_unknown_fields) == (True,) * 3


def test_arguments_that_are_left_out_are_not_sent() -> None:
    assert msgspec.json.encode(CreatePrediction(input={"a": 1})) == b'{"input":{"a":1}}'
    assert msgspec.json.encode(UpdateModel()) == b"{}"
    assert msgspec.to_builtins(ListModels()) == {}
    assert msgspec.to_builtins(SearchQuery(query="x")) == {"query": "x"}


def test_headers_have_the_names_of_the_wire() -> None:
    headers = CreatePredictionHeaders(prefer="wait=5", cancel_after="1h30m")
    assert msgspec.to_builtins(headers) == {"Prefer": "wait=5", "Cancel-After": "1h30m"}


def test_an_undocumented_preference_is_accepted() -> None:
    decoded = msgspec.convert({"Prefer": "respond-async"}, CreatePredictionHeaders)
    assert decoded.prefer == "respond-async"


def test_a_query_of_times_is_written_in_iso_8601() -> None:
    query = ListPredictions(created_after=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert msgspec.to_builtins(query) == {"created_after": "2026-01-02T03:04:05Z"}


@pytest.mark.parametrize(
    ("struct", "body", "problem"),
    [
        (CreatePrediction, {}, "input"),
        (CreatePrediction, {"input": []}, "object"),
        (CreatePrediction, {"input": {}, "version": "x"}, "version"),
        (CreatePrediction, {"input": {}, "webhook_events_filter": ["end"]}, "end"),
        (CreateVersionPrediction, {"input": {}}, "version"),
        (CreateTraining, {"input": {}}, "destination"),
        (CreateDeployment, {**DEPLOYMENT, "min_instances": 6}, "5"),
        (CreateDeployment, {**DEPLOYMENT, "max_instances": 21}, "20"),
        (CreateDeployment, {**DEPLOYMENT, "min_instances": -1}, "0"),
        (UpdateDeployment, {"max_instances": 21}, "20"),
        (
            CreateModel,
            {"owner": "a", "name": "b", "hardware": "cpu", "visibility": "secret"},
            "secret",
        ),
        (ListModels, {"sort_by": "name"}, "name"),
        (ListPredictions, {"source": "api"}, "api"),
    ],
)
def test_a_wrong_body_is_refused(struct: Any, body: object, problem: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=problem):
        msgspec.json.decode(msgspec.json.encode(body), type=struct)


@pytest.mark.parametrize(
    ("limit", "fits"), [("0", False), ("1", True), ("50", True), ("51", False)]
)
def test_a_search_finds_1_to_50_models(limit: str, fits: bool) -> None:
    query = {"query": "x", "limit": limit}
    if fits:
        assert msgspec.convert(query, SearchQuery, strict=False).limit == int(limit)
    else:
        with pytest.raises(msgspec.ValidationError, match="limit"):
            msgspec.convert(query, SearchQuery, strict=False)


def test_a_signed_query_reads_its_numbers() -> None:
    query = {"owner": "acme", "expiry": "1700000000", "signature": "a+b="}
    assert msgspec.convert(query, DownloadFile, strict=False).expiry == 1700000000


def test_a_file_has_a_type_of_last_resort() -> None:
    file = CreateFile(content=b"x")
    assert (file.type, file.metadata, file.filename) == ("application/octet-stream", {}, None)

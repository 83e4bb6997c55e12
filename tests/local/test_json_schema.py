from __future__ import annotations

from typing import Any

import msgspec
import pytest

from replicate_async import schemas
from replicate_async.local.http.json_schema import PROMISED, parameters, schema_components
from replicate_async.schemas import (
    CreateDeployment,
    CreateFile,
    CreatePredictionHeaders,
    CreateVersionPrediction,
    ListModels,
    ListPredictions,
    Model,
    Page,
    Prediction,
    SearchQuery,
    Training,
)


def component(struct: Any) -> dict[str, Any]:
    return schema_components([struct])[1][struct.__name__]


@pytest.mark.parametrize("name", schemas.__all__)
def test_every_struct_has_a_schema(name: str) -> None:
    struct = getattr(schemas, name)
    if isinstance(struct, type) and issubclass(struct, msgspec.Struct) and struct is not Page:
        properties = component(struct)["properties"]
        assert list(properties) == [field.encode_name for field in msgspec.structs.fields(struct)]


@pytest.mark.parametrize("struct", [Prediction, Training])
def test_enums_are_closed_in_the_document_alone(struct: Any) -> None:
    assert component(struct)["properties"]["status"] == {
        "type": "string",
        "enum": ["starting", "processing", "succeeded", "failed", "canceled", "aborted"],
    }


def test_responses_promise_more_than_clients_need() -> None:
    assert component(Prediction)["required"] == sorted(PROMISED[Prediction])
    _, components = schema_components([Page[Model]])
    assert components["Page_Model_"]["required"] == ["next", "previous", "results"]


@pytest.mark.parametrize("struct", PROMISED)
def test_promises_are_about_fields(struct: Any) -> None:
    assert set(PROMISED[struct]) <= {field.encode_name for field in msgspec.structs.fields(struct)}


def test_times_and_urls_say_what_they_are() -> None:
    properties = component(Prediction)["properties"]
    assert properties["created_at"]["anyOf"][0] == {"type": "string", "format": "date-time"}
    urls = schema_components([Prediction])[1]["PredictionURLs"]["properties"]
    assert urls["get"]["anyOf"][0] == {"type": "string", "format": "uri"}


def test_requests_are_exact_in_the_document_too() -> None:
    schema = component(CreateVersionPrediction)
    assert (schema["additionalProperties"], schema["required"]) == (False, ["input", "version"])
    bounds = component(CreateDeployment)["properties"]["max_instances"]
    assert (bounds["minimum"], bounds["maximum"]) == (0, 20)


def test_a_file_is_binary() -> None:
    content = component(CreateFile)["properties"]["content"]
    assert content == {"type": "string", "format": "binary"}


def test_schemas_refer_to_components() -> None:
    (page, _), components = schema_components([Page[Prediction], Prediction])
    assert page == {"$ref": "#/components/schemas/Page_Prediction_"}
    items = components["Page_Prediction_"]["properties"]["results"]["items"]
    assert items == {"$ref": "#/components/schemas/Prediction"}


def test_query_fields_are_parameters() -> None:
    sort_by, _ = parameters(ListModels, "query")
    assert (sort_by["name"], sort_by["in"], sort_by["required"]) == ("sort_by", "query", False)
    assert sort_by["schema"]["default"] == "latest_version_created_at"
    assert sort_by["schema"]["enum"] == ["latest_version_created_at", "model_created_at"]
    query, limit = parameters(SearchQuery, "query")
    assert query == {
        "name": "query",
        "in": "query",
        "required": True,
        "schema": {"type": "string"},
    }
    assert limit["schema"] == {"type": "integer", "minimum": 1, "maximum": 50, "default": 20}
    assert parameters(ListPredictions, "query")[2]["schema"] == {"type": "string", "enum": ["web"]}


def test_header_fields_are_parameters() -> None:
    prefer, cancel_after = parameters(CreatePredictionHeaders, "header")
    assert (prefer["name"], cancel_after["name"]) == ("Prefer", "Cancel-After")
    assert prefer["schema"]["pattern"].startswith("^wait")

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_async.core.origin import Base
from replicate_async.files.find import Place, at, is_file_url, output_shape, strings_in, wrapped

API = Base.parse("https://api.replicate.com/v1")
LOCAL = Base.parse("http://127.0.0.1:8000/v1")
DELIVERED = "https://replicate.delivery/yhqm/x/out-0.png"
ELSEWHERE = "https://a.example/out.png"


def found(output: object, schema: dict[str, Any] | None = None, base: Base = API) -> object:
    shape = None if schema is None else output_shape(document(schema))
    return wrapped(output, base, shape, lambda url, place: (url, place))


def document(output: dict[str, Any], **components: object) -> dict[str, Any]:
    return {"components": {"schemas": {"Output": output, **components}}}


@pytest.mark.parametrize(
    "url",
    [
        DELIVERED,
        "https://pbxt.replicate.delivery/a/out.png",
        "https://REPLICATE.DELIVERY/a",
        "https://api.replicate.com/v1/files/abc",
        "https://API.replicate.com:443/v1/files/abc/download?owner=a&expiry=1&signature=b",
        "data:image/png;base64,YQ==",
    ],
)
def test_urls_of_delivery_hosts_are_files_without_a_schema(url: str) -> None:
    assert is_file_url(url, API)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https:",
        "https://",
        "https: the secure one",
        "https://replicate.delivery/a is where it was",
        "https://replicate.delivery.evil.example/a",
        "https://evilreplicate.delivery/a",
        "https://replicate.delivery@evil.example/a",
        "http://replicate.delivery/a",
        "https://api.replicate.com/v1/predictions/abc",
        "https://api.replicate.com/docs",
        "http://127.0.0.1:8000/pbxt/a.png",
        ELSEWHERE,
        "data: 3 of them",
        "data:text/plain,hello",
        "ftp://replicate.delivery/a",
        "Hello.",
    ],
)
def test_any_other_text_stays_text(text: str) -> None:
    assert not is_file_url(text, API)


def test_an_embedded_server_delivers_its_own_files() -> None:
    assert is_file_url("http://127.0.0.1:8000/pbxt/abc/a.png", LOCAL)
    assert is_file_url("http://127.0.0.1:8000/v1/files/abc", LOCAL)
    assert not is_file_url("http://127.0.0.1:8000/v1/predictions/abc", LOCAL)
    assert not is_file_url("http://127.0.0.1:8001/pbxt/abc/a.png", LOCAL)


def test_files_are_found_at_any_depth() -> None:
    output = {"a": [DELIVERED, "text", 1, None], "b": {"c": DELIVERED}}

    assert found(output) == {
        "a": [(DELIVERED, ("a", 0)), "text", 1, None],
        "b": {"c": (DELIVERED, ("b", "c"))},
    }


URI = {"type": "string", "format": "uri"}


@pytest.mark.parametrize(
    ("schema", "output", "expected"),
    [
        (URI, ELSEWHERE, (ELSEWHERE, ())),
        (URI, "not a URL", "not a URL"),
        (URI, "https://a.example/with space", "https://a.example/with space"),
        ({"type": "string"}, DELIVERED, DELIVERED),
        ({"type": "array", "items": URI}, [ELSEWHERE], [(ELSEWHERE, (0,))]),
        ({"type": "array", "items": {"type": "string"}}, [DELIVERED], [DELIVERED]),
        (
            {"type": "object", "properties": {"video": URI, "note": {"type": "string"}}},
            {"video": ELSEWHERE, "note": DELIVERED, "more": DELIVERED},
            {"video": (ELSEWHERE, ("video",)), "note": DELIVERED, "more": DELIVERED},
        ),
        (
            {"type": "object", "additionalProperties": URI},
            {"x": ELSEWHERE},
            {"x": (ELSEWHERE, ("x",))},
        ),
        ({"anyOf": [{"type": "null"}, URI]}, ELSEWHERE, (ELSEWHERE, ())),
        ({"allOf": [{"properties": {"a": URI}}]}, {"a": ELSEWHERE}, {"a": (ELSEWHERE, ("a",))}),
        ({"$ref": "#/components/schemas/Missing"}, DELIVERED, DELIVERED),
    ],
)
def test_a_schema_says_which_strings_are_files(
    schema: dict[str, Any], output: object, expected: object
) -> None:
    assert found(output, schema) == expected


def test_references_are_followed_and_may_be_recursive() -> None:
    node = {"properties": {"file": URI, "next": {"$ref": "#/components/schemas/Node"}}}
    shape = output_shape(document({"$ref": "#/components/schemas/Node"}, Node=node))

    output = wrapped({"file": ELSEWHERE, "next": None}, API, shape, lambda url, _: [url])

    assert output == {"file": [ELSEWHERE], "next": None}


@pytest.mark.parametrize("schema", [None, {}, {"components": 3}, {"components": {"schemas": {}}}])
def test_without_a_useful_schema_the_host_decides(schema: dict[str, Any] | None) -> None:
    assert output_shape(schema) is None


def test_too_deep_output_is_returned_unchanged() -> None:
    output: list[Any] = []
    for _ in range(100_000):
        output = [output]

    assert found(output) is output


@given(
    st.recursive(
        st.text() | st.none() | st.integers(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_every_string_is_found_at_its_place(output: object) -> None:
    for text, place in strings_in(output):
        assert at(output, place) == text


@pytest.mark.parametrize(
    ("output", "place", "there"),
    [
        ("a", (0,), "a"),
        ("a", (1,), None),
        (["a"], (1,), None),
        (["a"], ("x",), None),
        ({"x": "a"}, ("y",), None),
        (None, (0,), None),
    ],
)
def test_a_missing_place_is_none(output: object, place: Place, there: object) -> None:
    assert at(output, place) == there

"""The endpoints, the methods and the embedded server, held against the API's own documents."""

from __future__ import annotations

import inspect
import json
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, get_args, get_origin

import msgspec
import pytest

from replicate_async import APIStatusError, Paginator, Replicate, Retry
from replicate_async.context import context_of
from replicate_async.core.endpoint import Endpoint
from replicate_async.local import LocalReplicate
from replicate_async.local.http.openapi import document
from replicate_async.resources import ENDPOINTS
from replicate_async.schemas import Page
from tests.support.openapi import Document, Field
from tests.support.sentinel import TOKEN

SPECIFICATION: Final = Document.read("openapi-spec.json")
NEWEST: Final = Document.read("openapi-2026.json")
OURS: Final = Document(json.loads(document("http://127.0.0.1")))
DOCUMENTS: Final = {"specification": SPECIFICATION, "newest": NEWEST}
CALLS: Final = [
    pytest.param(document, name, id=f"{which} {name}")
    for which, document in DOCUMENTS.items()
    for name in document.operations
]

# Each table says, by a pattern over "operation field", why ours and theirs differ; a test at the
# end holds that every line of them is needed.
MORE_PARAMETERS: Final = {
    r".*\.list cursor": "undocumented as a parameter, and in every `next` of the documents",
    r".* (Cancel-After|sort_by|sort_direction|created_after|created_before|source)": (
        "younger than the specification"
    ),
}
OTHER_REQUESTS: Final = {
    r".*predictions\.create stream": "a default that the document does not say: it is ignored",
}
FEWER_FIELDS: Final = {
    r".* (.*\.)?metrics\.(predict_time|total_time)": "metrics are a mapping; models add their own",
}
MORE_FIELDS: Final = {
    r".* (.*\.)?default_example\..*": "documented as an object, and no more is said of it",
    r".* (.*\.)?latest_version\..*": "likewise",
    r"(models|collections|search)(\..*)? (.*\.)?(weights_url|created_at)": "seen in answers",
    r".*(create|get|list|cancel) (.*\.)?webhook(_events_filter)?": "seen in answers",
    r"files\..* (.*\.)?(name|etag|checksums\.md5)": "seen in answers",
    r"trainings\..* (.*\.)?urls\.(web|stream)": "seen in answers",
    r"models\.search results\[\]\.is_official": "left out here, said of models elsewhere",
    r".* (.*\.)?avatar_url": "younger than the specification",
}
REQUIRED_HERE: Final = {
    r".* (next|previous|results)": "every page has them",
    r".* (.*\.)?(owner|name|id|sku|key|get|status|urls|cancel|type|username)": (
        "what a client cannot do without, or what the newer document requires"
    ),
}
OTHER_WORDS: Final = {
    r".* (.*\.)?output": "may be any value; the answer has a default, which says nothing",
    r"(files|predictions)\.list (next|previous)": "said to be URIs in these two only",
}
ABSENT_STATUSES: Final = {"search 500": "the embedded server's search has no service behind it"}


def explained(table: Mapping[str, str], operation: str, field: str) -> bool:
    found = [pattern for pattern in table if re.fullmatch(pattern, f"{operation} {field}")]
    USED.update(found)
    return bool(found)


USED: Final[set[str]] = set()


def fields(document: Document, schema: Mapping[str, Any]) -> dict[str, Field]:
    return {field.path: field for field in document.fields(schema)}


def test_every_operation_is_there_and_no_other() -> None:
    assert len(NEWEST.routes) == 37
    assert {name: (at.method, at.path) for name, at in ENDPOINTS.items()} == NEWEST.routes
    assert OURS.routes == NEWEST.routes
    assert SPECIFICATION.routes.items() <= NEWEST.routes.items()
    assert len(SPECIFICATION.routes) == 28


@pytest.mark.parametrize(("theirs", "name"), CALLS)
def test_parameters_are_those_of_the_document(theirs: Document, name: str) -> None:
    documented, made = theirs.parameters(name), OURS.parameters(name)

    assert {key: made[key] for key in documented} == documented
    extra = made.keys() - documented.keys()
    assert [key for key in extra if not explained(MORE_PARAMETERS, name, key)] == []


@pytest.mark.parametrize("name", ENDPOINTS)
def test_the_endpoint_has_the_parameters_that_it_is_described_with(name: str) -> None:
    endpoint = ENDPOINTS[name]
    by_place: dict[str, set[str]] = {"path": set(), "query": set(), "header": set()}
    for key, (place, _, _) in NEWEST.parameters(name).items():
        by_place[place].add(key)

    assert set(endpoint.parameters) == by_place["path"]
    assert names_of(endpoint.query) == by_place["query"]
    assert names_of(endpoint.headers) == by_place["header"]


@pytest.mark.parametrize(("theirs", "name"), CALLS)
def test_requests_are_those_of_the_document(theirs: Document, name: str) -> None:
    documented, made = theirs.request(name), OURS.request(name)
    if documented is None or made is None:
        assert made == documented
        return
    (media, schema), (our_media, our_schema) = documented, made
    wanted, given = fields(theirs, schema), fields(OURS, our_schema)

    assert our_media == media
    assert our_schema["type"] == schema["type"]
    assert given.keys() == wanted.keys()
    differing = [key for key in wanted if given[key] != wanted[key]]
    assert [key for key in differing if not explained(OTHER_REQUESTS, name, key)] == []
    # Strict where the document is, and where it says nothing.
    assert our_schema.get("additionalProperties", False) is schema.get(
        "additionalProperties", False
    )


@pytest.mark.parametrize(("theirs", "name"), CALLS)
def test_answers_have_the_statuses_of_the_document(theirs: Document, name: str) -> None:
    documented = theirs.statuses(name)

    assert set(ENDPOINTS[name].status) == {status for status in documented if status < 300}
    absent = documented - OURS.statuses(name)
    assert {f"{name} {status}" for status in absent} <= ABSENT_STATUSES.keys()


@pytest.mark.parametrize(("theirs", "name"), CALLS)
def test_answers_have_the_fields_of_the_document(theirs: Document, name: str) -> None:
    for status in ENDPOINTS[name].status:
        documented, made = theirs.answer(name, status), OURS.answer(name, status)
        if documented is None:
            assert theirs is SPECIFICATION or made is None
            continue
        assert made is not None
        assert made[0] == documented[0]
        _compare(theirs, name, documented[1], made[1])


def _compare(
    theirs: Document, name: str, documented: Mapping[str, Any], made: Mapping[str, Any]
) -> None:
    wanted, given = fields(theirs, documented), fields(OURS, made)

    def unexplained(table: Mapping[str, str], names: Iterable[str]) -> list[str]:
        return [key for key in names if not explained(table, name, key)]

    assert unexplained(FEWER_FIELDS, wanted.keys() - given.keys()) == []
    assert unexplained(MORE_FIELDS, given.keys() - wanted.keys()) == []
    common = wanted.keys() & given.keys()
    assert [key for key in common if wanted[key].required and not given[key].required] == []
    stricter = [key for key in common if given[key].required and not wanted[key].required]
    assert unexplained(REQUIRED_HERE, stricter) == []
    differing = [key for key in common if given[key].said != wanted[key].said]
    assert unexplained(OTHER_WORDS, differing) == []


@pytest.mark.parametrize("name", NEWEST.operations)
def test_documented_refusals_have_their_details(name: str) -> None:
    for status in (
        status for status in NEWEST.statuses(name) & OURS.statuses(name) if status > 399
    ):
        documented, made = NEWEST.answer(name, status), OURS.answer(name, status)
        if documented is not None:
            assert made is not None
            assert fields(NEWEST, documented[1]).keys() <= fields(OURS, made[1]).keys()
            assert documented[0] in OURS.operations[name]["responses"][str(status)]["content"]


@pytest.mark.parametrize("name", NEWEST.operations)
def test_the_same_operations_are_open_to_everyone(name: str) -> None:
    assert OURS.operations[name].get("security") == NEWEST.operations[name].get("security")


# Parameters of methods whose names differ from the operation's, and why.
REF: Final = 'a model or deployment is one string, "owner/name"'
RENAMED: Final[Mapping[str, tuple[str, str]]] = {
    r".* model_(owner|name)": ("model", REF),
    r".* deployment_(owner|name)": ("deployment", REF),
    r"models\.create (owner|name)": ("model", REF),
    r"predictions\.create version": ("model", "a version, or a model whose latest version runs"),
    r"trainings\.create (model_(owner|name)|version_id)": (
        "model",
        'the version to start from is one string, "owner/name:version"',
    ),
    r".*predictions\.create Prefer": ("wait", "the only preference that the API knows"),
    r".*predictions\.create Cancel-After": ("cancel_after", "a name that Python can say"),
    r"models\.search body": ("query", "the text is the body"),
}
WITHOUT_PARAMETER: Final = {r".*predictions\.create stream": "deprecated, and ignored by the API"}


# Parameters of methods that the operation does not have, and why.
MORE_ARGUMENTS: Final[Mapping[str, str]] = {
    r".*(predictions|trainings)\.create file_encoding": "files of the input are sent before it",
    r"deployments\.predictions\.create model": "a typed model checks the input before it is sent",
    r"files\.create (repeat|max_size)": "how far an upload goes is the caller's to say",
}


def method_of(client: object, name: str) -> Callable[..., object]:
    found: object = client
    for step in name.split("."):
        found = getattr(found, step)
    assert callable(found)
    return found


def names_of(struct: type[msgspec.Struct] | None) -> set[str]:
    if struct is None:
        return set()
    return {field.encode_name for field in msgspec.structs.fields(struct)}


def inputs_of(endpoint: Endpoint[Any]) -> set[str]:
    """Return everything that a call of *endpoint* can say."""
    found = {*endpoint.parameters, *names_of(endpoint.query), *names_of(endpoint.headers)}
    if endpoint.takes is str:
        return found | {"body"}
    return found | names_of(endpoint.takes)


def parameter_for(name: str, field: str) -> str | None:
    """Return the method's parameter that *field* of the operation comes from."""
    if explained(WITHOUT_PARAMETER, name, field):
        return None
    # The more special lines stand below.
    for pattern, (parameter, _) in reversed(list(RENAMED.items())):
        if re.fullmatch(pattern, f"{name} {field}"):
            USED.add(pattern)
            return parameter
    return field


@pytest.fixture
def idle() -> Replicate:
    """A client that is never used, for the methods that it has."""
    return Replicate(TOKEN)


@pytest.mark.parametrize("name", ENDPOINTS)
def test_a_method_takes_all_parameters_of_its_operation(idle: Replicate, name: str) -> None:
    signature = inspect.signature(method_of(idle, name))
    needed = {parameter_for(name, field) for field in inputs_of(ENDPOINTS[name])} - {None}
    more = set(signature.parameters) - needed

    assert needed <= set(signature.parameters)
    assert [argument for argument in more if not explained(MORE_ARGUMENTS, name, argument)] == []
    assert {p.kind for p in signature.parameters.values()} <= {
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    }


@pytest.mark.parametrize("name", ENDPOINTS)
def test_a_method_needs_what_its_operation_needs(idle: Replicate, name: str) -> None:
    endpoint = ENDPOINTS[name]
    needed = set(endpoint.parameters)
    for struct in (endpoint.query, endpoint.headers, endpoint.takes):
        if struct is str:
            needed.add("body")
        elif struct is not None:
            needed |= {f.encode_name for f in msgspec.structs.fields(struct) if f.required}
    required = {
        parameter.name
        for parameter in inspect.signature(method_of(idle, name)).parameters.values()
        if parameter.default is inspect.Parameter.empty
    }

    # A model may need no input at all, and the empty one is sent for it.
    if name.endswith("predictions.create"):
        needed.remove("input")
    assert required == {parameter_for(name, field) for field in needed}


@pytest.mark.parametrize("name", ENDPOINTS)
def test_a_method_returns_what_its_operation_answers(idle: Replicate, name: str) -> None:
    answer: Any = ENDPOINTS[name].returns
    returned = typing.get_type_hints(inspect.unwrap(method_of(idle, name)))["return"]

    if get_origin(answer) is Page:
        assert get_origin(returned) is Paginator
        assert get_args(returned) == get_args(answer)
    elif get_origin(answer) is list:
        assert get_origin(returned) is list
        assert get_args(returned) == get_args(answer)
    else:
        assert returned is answer


@pytest.mark.parametrize("name", ENDPOINTS)
def test_a_methods_docstring_names_its_operation(idle: Replicate, name: str) -> None:
    text = inspect.getdoc(method_of(idle, name)) or ""

    assert re.search(rf"\((?:[\w.]+, )*{re.escape(name)}(?:, [\w.]+)*\)", text)


def test_every_stated_difference_is_there(idle: Replicate) -> None:
    for name in NEWEST.operations:
        test_a_method_takes_all_parameters_of_its_operation(idle, name)
        for theirs in DOCUMENTS.values():
            if name in theirs.operations:
                test_parameters_are_those_of_the_document(theirs, name)
                test_requests_are_those_of_the_document(theirs, name)
                test_answers_have_the_fields_of_the_document(theirs, name)
    tables = (
        MORE_PARAMETERS,
        OTHER_REQUESTS,
        FEWER_FIELDS,
        MORE_FIELDS,
        REQUIRED_HERE,
        OTHER_WORDS,
        RENAMED,
        WITHOUT_PARAMETER,
        MORE_ARGUMENTS,
    )

    assert [pattern for table in tables for pattern in table if pattern not in USED] == []


def a_body(endpoint: Endpoint[Any]) -> object:
    if endpoint.takes is None or endpoint.media == "multipart/form-data":
        return None
    return "echo" if endpoint.takes is str else {}


@pytest.mark.anyio
@pytest.mark.parametrize("name", ENDPOINTS)
async def test_every_endpoint_has_a_route_of_its_own(server: LocalReplicate, name: str) -> None:
    endpoint = ENDPOINTS[name]
    trouble = server.faults.add(name, status=418)

    async with Replicate(server.api_token, base_url=server.url, retry=Retry(attempts=1)) as client:
        with pytest.raises(APIStatusError) as caught:
            await context_of(client).call(
                endpoint, dict.fromkeys(endpoint.parameters, "x"), body=a_body(endpoint)
            )

    assert (caught.value.status, trouble.happened) == (418, 1)


@pytest.mark.anyio
async def test_the_server_describes_itself(server: LocalReplicate) -> None:
    described: Endpoint[dict[str, Any]] = Endpoint("GET", "/openapi.json", returns=dict[str, Any])
    async with Replicate(server.api_token, base_url=server.url) as client:
        content = await context_of(client).call(described)

    assert content.pop("servers") == [{"url": server.url}]
    assert content == {key: value for key, value in OURS.content.items() if key != "servers"}

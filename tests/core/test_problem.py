from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from replicate_async.core.problem import (
    InvalidField,
    Problem,
    Rate,
    blames_version,
    named_rate,
    parse,
    retry_after,
)

PROBLEM = "application/problem+json"
JSON = "application/json"
INPUT_422 = (
    b'{"detail":"- input: prompt is required\\n- input.num_inference_steps: Must be less than or '
    b'equal to 4\\n","status":422,"title":"Input validation failed","invalid_fields":['
    b'{"type":"required","field":"input","description":"prompt is required"},'
    b'{"type":"number_lte","field":"input.num_inference_steps",'
    b'"description":"Must be less than or equal to 4"}]}\n'
)
VERSION_422 = (
    b'{"title":"Invalid version or not permitted","detail":"The specified version does not exist '
    b'(or perhaps you don\'t have permission to use it?)","status":422}'
)
THROTTLED_429 = (
    b'{"detail":"Request was throttled. Your rate limit for creating predictions is reduced to 6 '
    b"requests per minute with a burst of 1 requests while you have less than $5.0 in credit. "
    b'Your rate limit resets in ~7s.","status":429,"retry_after":7}\n'
)


@pytest.mark.parametrize(
    ("status", "content_type", "body", "said"),
    [
        pytest.param(
            401,
            PROBLEM,
            b'{"title":"Unauthenticated","detail":"You did not pass a valid authentication token",'
            b'"status":401}\n',
            "Unauthenticated: You did not pass a valid authentication token",
            id="a problem with a title",
        ),
        pytest.param(
            404,
            PROBLEM,
            b'{"detail":"The requested resource could not be found.","status":404}',
            "The requested resource could not be found.",
            id="a problem without a title",
        ),
        pytest.param(
            422,
            PROBLEM,
            INPUT_422,
            "Input validation failed: input: prompt is required; "
            "input.num_inference_steps: Must be less than or equal to 4",
            id="an input that does not fit",
        ),
        pytest.param(
            413,
            JSON,
            b'{"detail":"Files must be less than 100MB in size"}',
            "Files must be less than 100MB in size",
            id="only a detail",
        ),
        pytest.param(
            400,
            JSON,
            b'{"owner":["This field is required."],"hardware":["Unknown."],'
            b'"non_field_errors":["Taken."]}',
            "owner: This field is required.; hardware: Unknown.; Taken.",
            id="a map of fields",
        ),
        pytest.param(
            400,
            JSON,
            b'{"release":{"configuration":{"min_instances":["Too many."]}}}',
            "release.configuration.min_instances: Too many.",
            id="a nested map of fields",
        ),
        pytest.param(400, JSON, b'{"detail":["One.","Two."]}', "One.; Two.", id="a list"),
        pytest.param(
            422,
            JSON,
            b'{"detail":[{"loc":["body","input","items",0],"msg":"field required",'
            b'"type":"value_error.missing"}]}',
            "input.items.0: field required",
            id="the validation errors of FastAPI",
        ),
        pytest.param(500, JSON, b'{"error":"Out of tape"}', "Out of tape", id="an error member"),
        pytest.param(409, JSON, b'"Already running"', "Already running", id="a bare string"),
        pytest.param(409, JSON, b'["One.","Two."]', "One.; Two.", id="a bare list"),
        pytest.param(402, JSON, b'{"title":"No credit"}', "No credit", id="only a title"),
        pytest.param(500, JSON, b"{}", "Internal Server Error", id="an empty object"),
        pytest.param(500, JSON, b'{"detail":""}', "Internal Server Error", id="an empty detail"),
        pytest.param(500, JSON, b"null", "null", id="null"),
        pytest.param(500, JSON, b"[[], {}, 5]", "[[], {}, 5]", id="a list that says nothing"),
        pytest.param(500, JSON, b'{"detail": "cut of', '{"detail": "cut of', id="a cut body"),
        pytest.param(
            502,
            "text/html; charset=UTF-8",
            b"<html>\n<head><title>502 Bad\nGateway</title></head>",
            "an HTML page titled '502 Bad Gateway'",
            id="a page of a proxy",
        ),
        pytest.param(
            521,
            JSON,
            b"\n<!DOCTYPE html><TITLE lang='en'>Web &amp; server down</TITLE>",
            "an HTML page titled 'Web & server down'",
            id="a page that says it is JSON",
        ),
        pytest.param(
            503, "text/html", b"<p>Busy</p>", "an HTML page without a title", id="no page title"
        ),
        pytest.param(
            503, "text/html", b"<title>Busy", "an HTML page without a title", id="a cut page title"
        ),
        pytest.param(
            503, "text/plain", b"upstream\n timed out\n", "upstream; timed out", id="plain text"
        ),
        pytest.param(504, "", b"", "Gateway Timeout (the answer has no body)", id="no body"),
        pytest.param(504, "", b" \r\n", "Gateway Timeout (the answer has no body)", id="blanks"),
        pytest.param(599, "", b"", "status 599 (the answer has no body)", id="an unknown status"),
        pytest.param(500, "", b"\xff\xfe!", "\ufffd\ufffd!", id="not UTF-8"),
        pytest.param(500, JSON, b'\xef\xbb\xbf"marked"', "marked", id="a byte order mark"),
        pytest.param(
            500,
            JSON,
            b'{"detail":"a\\u001b[31mred\\u0000 \\u202eback\\r\\nb\\tc"}',
            "a [31mred back; b c",
            id="control characters",
        ),
        pytest.param(
            401,
            JSON,
            b'{"detail":"bad r8_abcDEF123, sent as Bearer 0123456789abcdef0123"}',
            "bad [hidden], sent as Bearer [hidden]",
            id="a token said back",
        ),
    ],
)
def test_every_body_becomes_one_readable_line(
    status: int, content_type: str, body: bytes, said: str
) -> None:
    assert str(parse(status, content_type, body)) == said


def test_the_refused_fields_are_values() -> None:
    assert parse(422, PROBLEM, INPUT_422).invalid_fields == (
        InvalidField(type="required", field="input", description="prompt is required"),
        InvalidField(
            type="number_lte",
            field="input.num_inference_steps",
            description="Must be less than or equal to 4",
        ),
    )


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        pytest.param(
            b'{"a":["x","y"],"b":"z"}',
            [("a", "", "x"), ("a", "", "y"), ("b", "", "z")],
            id="a map of fields",
        ),
        pytest.param(
            b'{"detail":[{"loc":["query","n"],"msg":"no","type":"int"}]}',
            [("query.n", "int", "no")],
            id="FastAPI",
        ),
        pytest.param(b'{"detail":"no"}', [], id="a detail names no field"),
        pytest.param(b'{"detail":"no","invalid_fields":"?"}', [], id="not a list"),
        pytest.param(b'{"detail":"no","invalid_fields":[7,null,[]]}', [], id="not objects"),
    ],
)
def test_fields_are_found_in_other_shapes(body: bytes, fields: list[tuple[str, str, str]]) -> None:
    found = parse(422, JSON, body).invalid_fields
    assert [(field.field, field.type, field.description) for field in found] == fields


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="100,000 brackets"),
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="100,000 braces"),
        pytest.param(b"x" * 5_000_000, id="five megabytes"),
        pytest.param(b'{"detail":"' + b"y" * 5_000_000 + b'"}', id="a long detail"),
        pytest.param(b"{" + b'"k":["v"],' * 90_000 + b'"k":["v"]}', id="90,000 fields"),
        pytest.param(b"<html>" + b"<title" * 500_000, id="500,000 page titles"),
        pytest.param(b'{"retry_after":' + b"9" * 5_000 + b"}", id="a number of 5,000 digits"),
        pytest.param(b'{"detail":"\\ud800"}', id="a lone surrogate"),
        pytest.param(b'{"' + b"k" * 500_000 + b'":["v"]}', id="a long field name"),
    ],
)
def test_a_hostile_body_is_a_short_line_too(body: bytes) -> None:
    problem = parse(500, JSON, body)
    assert 0 < len(str(problem)) <= 300
    assert len(problem.raw) <= 300
    assert len(problem.invalid_fields) <= 50
    assert all(len(field.field) <= 300 for field in problem.invalid_fields)


@given(status=st.integers(), content_type=st.text(), body=st.binary())
@example(status=500, content_type="text/html", body=b"</title><title>")
def test_parsing_never_raises_and_prints_safely(
    status: int, content_type: str, body: bytes
) -> None:
    said = str(parse(status, content_type, body))
    assert 0 < len(said) <= 300
    assert not any(unicodedata.category(char)[0] == "C" for char in said)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["detail", "title", "loc", "msg", "field", "invalid_fields"])
            | st.text(),
            inner,
        )
    ),
)


@given(value=values)
def test_any_json_is_a_readable_line(value: object) -> None:
    problem = parse(422, JSON, _encode(value))
    assert 0 < len(str(problem)) <= 300
    assert all(field.field or field.type for field in problem.invalid_fields)


def _encode(value: object) -> bytes:
    return json.dumps(value).encode()


PLAIN = Problem(429, "", "Request was throttled.")
NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT
DATE = "Fri, 15 Jan 2027 08:00:00 GMT"


def said(text: str) -> Problem:
    return Problem(429, "", text)


@pytest.mark.parametrize(
    ("headers", "problem", "wait"),
    [
        pytest.param({}, PLAIN, None, id="nothing said"),
        pytest.param({"retry-after": "7"}, PLAIN, 7.0, id="whole seconds"),
        pytest.param({"retry-after": "0"}, PLAIN, 0.0, id="no wait"),
        pytest.param({"retry-after": "0.25"}, PLAIN, 0.25, id="a fraction"),
        pytest.param({"retry-after": ".5"}, PLAIN, 0.5, id="a fraction without a zero"),
        pytest.param({"retry-after": "2."}, PLAIN, 2.0, id="a point and no fraction"),
        pytest.param({"retry-after": " 3\t"}, PLAIN, 3.0, id="blanks around"),
        pytest.param({"retry-after": "007"}, PLAIN, 7.0, id="leading zeros"),
        pytest.param({"retry-after": "99999999999"}, PLAIN, 99999999999.0, id="millennia"),
        pytest.param({"retry-after": ""}, PLAIN, None, id="empty"),
        pytest.param({"retry-after": "-1"}, PLAIN, None, id="negative"),
        pytest.param({"retry-after": "nan"}, PLAIN, None, id="not a number"),
        pytest.param({"retry-after": "inf"}, PLAIN, None, id="infinity"),
        pytest.param({"retry-after": "9" * 400}, PLAIN, None, id="overflowing"),
        pytest.param({"retry-after": "1e3"}, PLAIN, None, id="an exponent"),
        pytest.param({"retry-after": "1_0"}, PLAIN, None, id="an underscore"),
        pytest.param({"retry-after": "٣"}, PLAIN, None, id="a digit of another script"),
        pytest.param({"retry-after": "soon"}, PLAIN, None, id="a word"),
        pytest.param({"retry-after": "3, 4"}, PLAIN, None, id="two values"),
        pytest.param({"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"}, PLAIN, 30.0, id="a date"),
        pytest.param(
            {"retry-after": "Friday, 15-Jan-27 08:00:30 GMT"}, PLAIN, 30.0, id="an RFC 850 date"
        ),
        pytest.param(
            {"retry-after": "Fri Jan 15 08:00:30 2027"}, PLAIN, 30.0, id="an asctime date"
        ),
        pytest.param(
            {"retry-after": "Fri, 15 Jan 2027 09:00:30 +0100"}, PLAIN, 30.0, id="a date with zone"
        ),
        pytest.param({"retry-after": "2027-01-15T08:00:30Z"}, PLAIN, 30.0, id="an ISO date"),
        pytest.param(
            {"retry-after": "Fri, 15 Jan 2027 07:00:00 GMT"}, PLAIN, 0.0, id="a date in the past"
        ),
        pytest.param(
            {
                "retry-after": "Fri, 15 Jan 2027 07:00:30 GMT",
                "date": "Fri, 15 Jan 2027 07:00:00 GMT",
            },
            PLAIN,
            30.0,
            id="a date of a server whose clock is slow",
        ),
        pytest.param(
            {"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT", "date": "yesterday"},
            PLAIN,
            30.0,
            id="a date beside an unreadable one",
        ),
        pytest.param(
            {"retry-after": "Fri, 15 Jan 100000 08:00:30 GMT"}, PLAIN, None, id="the year 100000"
        ),
        pytest.param(
            {"retry-after": "Fri, 32 Jan 2027 08:00:30 GMT"}, PLAIN, None, id="an impossible day"
        ),
        pytest.param(
            {"retry-after": "3", "date": DATE},
            Problem(429, "", "It resets in ~9s.", retry_after=7.0),
            3.0,
            id="the header before the body",
        ),
        pytest.param(
            {"retry-after": "-3", "ratelimit-reset": "1"},
            Problem(429, "", "It resets in ~9s.", retry_after=7.0),
            7.0,
            id="the body before the reset",
        ),
        pytest.param(
            {"ratelimit-reset": "1"}, said("It resets in ~9s."), 1.0, id="the reset before the text"
        ),
        pytest.param({"ratelimit-reset": "1800000012"}, PLAIN, 12.0, id="a reset as Unix time"),
        pytest.param({"ratelimit-reset": "-1"}, PLAIN, None, id="a negative reset"),
        pytest.param(
            {"ratelimit-reset": "1"},
            Problem(503, "", "Busy"),
            None,
            id="a reset of another error",
        ),
        pytest.param(
            {"retry-after": "5"}, Problem(503, "", "Busy"), 5.0, id="the header of another error"
        ),
        pytest.param({}, said("Your rate limit resets in ~30s."), 30.0, id="resets in ~30s"),
        pytest.param({}, said("Expected available in 1 second."), 1.0, id="available in 1 second"),
        pytest.param({}, said("Expected available in 86 seconds."), 86.0, id="86 seconds"),
        pytest.param({}, said("It resets in ~1m30s."), 90.0, id="minutes and seconds"),
        pytest.param({}, said("It resets in 2 hours."), 7200.0, id="hours"),
        pytest.param({}, said("It resets in ~1.2.3s."), None, id="a text without a number"),
        pytest.param({}, said("It resets in ~soon."), None, id="a text without digits"),
    ],
)
def test_the_wait_that_the_server_asks_for(
    headers: Mapping[str, str], problem: Problem, wait: float | None
) -> None:
    assert retry_after(headers, problem, now=NOW) == wait


@pytest.mark.parametrize(
    ("body", "wait"),
    [
        pytest.param(THROTTLED_429, 7.0, id="the recorded 429"),
        pytest.param(b'{"retry_after":1.5}', 1.5, id="a fraction"),
        pytest.param(b'{"retry_after":"4"}', 4.0, id="a string"),
        pytest.param(b'{"retry_after":-1}', None, id="negative"),
        pytest.param(b'{"retry_after":true}', None, id="a boolean"),
        pytest.param(b'{"retry_after":null}', None, id="null"),
        pytest.param(b'{"retry_after":[1]}', None, id="a list"),
        pytest.param(b'{"retry_after":1e999}', None, id="infinity"),
        pytest.param(b'{"retry_after":' + b"9" * 400 + b"}", None, id="overflowing"),
        pytest.param(b'{"detail":"It resets in ~30s."}', 30.0, id="the documented 429"),
    ],
)
def test_the_wait_that_a_body_asks_for(body: bytes, wait: float | None) -> None:
    assert retry_after({}, parse(429, PROBLEM, body), now=NOW) == wait


@given(
    header=st.text() | st.from_regex(r"[-+]?[0-9.]+|\w{3}, \d+ \w{3} \d{1,6} \d\d:\d\d:\d\d GMT"),
    date=st.text(),
    detail=st.text() | st.from_regex(r"resets in ~?[0-9.]{1,9} ?(s|m|hours)"),
    now=st.floats(0, 1e12),
)
def test_a_wait_is_finite_and_not_negative(header: str, date: str, detail: str, now: float) -> None:
    headers = {"retry-after": header, "date": date, "ratelimit-reset": header}
    wait = retry_after(headers, said(detail), now=now)
    assert wait is None or 0 <= wait < math.inf


@pytest.mark.parametrize(
    ("body", "rate"),
    [
        pytest.param(THROTTLED_429, Rate(6, 1), id="the recorded 429"),
        pytest.param(
            b'{"detail":"Limited to 1,200 requests per hour."}', Rate(20, None), id="an hour"
        ),
        pytest.param(b'{"detail":"1 request a second, with a burst of 9"}', Rate(60, 9), id="one"),
        pytest.param(b'{"detail":"It resets in ~30s."}', None, id="the documented 429"),
        pytest.param(b'{"detail":"0 requests per minute"}', None, id="nothing"),
        pytest.param(b'{"detail":"1.2.3 requests per minute"}', None, id="no number"),
        pytest.param(b'{"detail":"6 requests per fortnight"}', None, id="another unit"),
        pytest.param(b"", None, id="no text"),
    ],
)
def test_the_rate_that_a_body_names(body: bytes, rate: Rate | None) -> None:
    assert named_rate(parse(429, PROBLEM, body)) == rate


def test_only_a_429_names_a_rate() -> None:
    assert named_rate(parse(422, PROBLEM, THROTTLED_429)) is None


@pytest.mark.parametrize(
    ("status", "body", "blamed"),
    [
        (422, VERSION_422, True),
        (422, b'{"invalid_fields":[{"field":"version","description":"is no id"}]}', True),
        (422, b'{"detail":"- version: is no id\\n"}', True),
        (422, INPUT_422, False),
        (422, b'{"invalid_fields":[{"field":"input.version","description":"is no id"}]}', False),
        (
            422,
            b'{"invalid_fields":[{"field":"version"},{"field":"input","description":"odd"}]}',
            False,
        ),
        (422, b'{"detail":"- input.version: Must be one of 1, 2\\n"}', False),
        (422, b'{"detail":"Prompt is too long"}', False),
        (404, b'{"detail":"The specified version does not exist"}', False),
    ],
)
def test_a_refused_version_is_told_from_a_refused_input(
    status: int, body: bytes, blamed: bool
) -> None:
    assert blames_version(parse(status, PROBLEM, body)) is blamed

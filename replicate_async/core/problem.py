"""Reads the body and the headers of an error answer.

The API answers with `application/problem+json`, with plain `{"detail": ...}` objects and with maps
of fields to messages; a proxy in its place with HTML or with nothing. Each becomes a `Problem` with
one readable line; no function raises.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final, NamedTuple, TypeGuard

import msgspec

__all__ = [
    "InvalidField",
    "Problem",
    "Rate",
    "blames_version",
    "named_rate",
    "parse",
    "retry_after",
    "timestamp",
]

_LONGEST: Final = 300
_LARGEST: Final = 1 << 20
_MOST_FIELDS: Final = 50
_DEEPEST: Final = 8

# Members of a problem object (RFC 9457) that name no field of the request.
_MEMBERS: Final = frozenset(
    {"title", "status", "type", "instance", "invalid_fields", "retry_after", "code"}
)

_TOKEN: Final = re.compile(r"\br8_\w+|\b(Bearer)\s+[^\s'\"<]{16,}")
_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+")
_SPOKEN_WAIT: Final = re.compile(
    r"(?:resets|available) in ~?\s?((?:[0-9.]+\s?(?:hours?|minutes?|seconds?|[hms])\s?)+)"
)
_SPOKEN_PART: Final = re.compile(r"([0-9.]+)\s?([hms])")
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0}
_SPOKEN_RATE: Final = re.compile(
    r"([0-9][0-9,.]*) requests? (?:per|an?) (second|minute|hour)"
    r"(?:,? with a burst of ([0-9]{1,6})\b)?"
)

# A number above a billion seconds is no wait, but a time since 1970.
_EPOCH: Final = 1e9


class InvalidField(msgspec.Struct, frozen=True, kw_only=True):
    """A field that the API refuses."""

    field: str = ""
    """The path of the field, such as "input.prompt"."""
    type: str = ""
    """The type of the error."""
    description: str = ""
    """What is wrong with it."""


class Problem(msgspec.Struct, frozen=True):
    """The content of an error answer."""

    status: int
    """The HTTP status."""
    title: str
    """The title of the problem; may be empty."""
    detail: str
    """What is wrong, as one readable line; never empty."""
    invalid_fields: tuple[InvalidField, ...] = ()
    """The fields that the API refuses, if it names them."""
    retry_after: float | None = None
    """The member of the body, in seconds; the function `retry_after` reads the headers too."""
    raw: str = ""
    """The beginning of the body, as one printable line."""

    def __str__(self) -> str:
        if not self.title or self.title in self.detail:
            return self.detail
        return _line(f"{self.title}: {self.detail}")


def parse(status: int, content_type: str, body: bytes) -> Problem:
    """Read the *body* of an answer with an error *status*."""
    text = body[:_LARGEST].decode("utf-8", "replace").removeprefix("\ufeff")
    raw = _line(text[: 4 * _LONGEST])
    if not raw:
        return Problem(status, "", f"{_phrase(status)} (the answer has no body)")
    if "html" in content_type.lower() or text[:200].lstrip().lower().startswith(("<!doc", "<html")):
        return Problem(status, "", _page(text), raw=raw)
    try:
        value: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return Problem(status, "", raw, raw=raw)
    if _is_object(value):
        return _problem_object(status, value, raw)
    fields = tuple(_fields(value))
    return Problem(status, "", _summary(fields) or raw, _named(fields), raw=raw)


def _problem_object(status: int, members: Mapping[str, object], raw: str) -> Problem:
    title = _string(members.get("title"))
    said = next((members[key] for key in ("detail", "error", "message") if members.get(key)), None)
    if said is None:
        said = {key: value for key, value in members.items() if key not in _MEMBERS}
    found = tuple(_fields(said))
    listed = members.get("invalid_fields")
    fields = tuple(_fields(listed)) if _is_list(listed) else found
    return Problem(
        status,
        title,
        _summary(found) or _summary(fields) or title or _phrase(status),
        _named(fields),
        _seconds(members.get("retry_after")),
        raw,
    )


def _fields(value: object) -> Iterator[InvalidField]:
    """Yield the messages in *value*, with their paths."""
    found = 0
    # A stack and no recursion, because the server decides how deep the body is.
    stack: list[tuple[str, object, int]] = [("", value, 0)]
    while stack and found < _MOST_FIELDS:
        path, item, depth = stack.pop()
        if isinstance(item, str):
            if description := _line(item):
                found += 1
                yield InvalidField(field=_line(path), description=description)
        elif _is_list(item) and depth < _DEEPEST:
            stack.extend((path, child, depth + 1) for child in reversed(item[:_MOST_FIELDS]))
        elif _is_object(item) and depth < _DEEPEST:
            if field := _described(path, item):
                found += 1
                yield field
            else:
                inner = list(item.items())[:_MOST_FIELDS]
                stack.extend((_join(path, k), v, depth + 1) for k, v in reversed(inner))


def _described(path: str, members: Mapping[str, object]) -> InvalidField | None:
    """Read an object that describes one error, in the API's form or FastAPI's."""
    description = _string(members.get("description")) or _string(members.get("msg"))
    if not description:
        return None
    where = _string(members.get("field"))
    location = members.get("loc")
    if _is_list(location):
        steps = [str(step) for step in location[:_DEEPEST] if isinstance(step, str | int)]
        where = ".".join(steps[1:] if steps[:1] == ["body"] else steps)
    return InvalidField(
        field=_line(_join(path, where) if where else path),
        type=_string(members.get("type")),
        description=description,
    )


def _join(path: str, name: str) -> str:
    # Django REST framework's name for errors of the whole object.
    if name in {"non_field_errors", "__all__"}:
        return path
    return f"{path}.{name}" if path else name


def _named(fields: tuple[InvalidField, ...]) -> tuple[InvalidField, ...]:
    return tuple(field for field in fields if field.field or field.type)


def _summary(fields: tuple[InvalidField, ...]) -> str:
    said = (f"{f.field}: {f.description}" if f.field else f.description for f in fields)
    return _line("; ".join(part for part in said if part))


def _page(text: str) -> str:
    # `find` and not a regular expression: the time must not grow with the square of the page.
    lower = text.lower()
    opened = lower.find(">", start) if (start := lower.find("<title")) >= 0 else -1
    end = lower.find("</title", opened)
    inner = text[opened + 1 : end][: 4 * _LONGEST] if 0 <= opened < end else ""
    import html  # noqa: PLC0415 - 2 ms for its table of names; seldom needed

    title = _line(" ".join(html.unescape(inner).split()))
    return _line(f"an HTML page titled '{title}'" if title else "an HTML page without a title")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"status {status}"


def _line(text: str) -> str:
    """Return *text* as one short line that is safe to print."""
    # Lists of the API start each line with a dash.
    text = re.sub(r"(^|\n)- ", r"\1", text[: 40 * _LONGEST].strip())
    text = "; ".join(part.strip() for part in text.split("\n") if part.strip())
    text = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text)
    text = _TOKEN.sub(lambda match: f"{match[1]} [hidden]" if match[1] else "[hidden]", text)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _string(value: object) -> str:
    return _line(value) if isinstance(value, str) else ""


def _is_object(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)


def retry_after(headers: Mapping[str, str], problem: Problem, *, now: float) -> float | None:
    """Return the seconds that the server asks to wait, or None if it does not ask.

    Sources, in this order: the `retry-after` header (seconds or a date), the body's `retry_after`,
    the `ratelimit-reset` header of a 429, and "resets in ~30s" in the text. Values that cannot be
    read are skipped. *now* is Unix time, for a date in an answer without a `date` of its own.
    """
    waits = _waits(headers, problem, now)
    return next((wait for wait in waits if wait is not None), None)


def _waits(headers: Mapping[str, str], problem: Problem, now: float) -> Iterator[float | None]:
    header = headers.get("retry-after", "")
    yield _seconds(header)
    if (until := timestamp(header)) is not None:
        answered = timestamp(headers.get("date", ""))
        yield max(0.0, until - (now if answered is None else answered))
    yield problem.retry_after
    if problem.status == 429 and (reset := _seconds(headers.get("ratelimit-reset"))) is not None:
        yield reset if reset < _EPOCH else max(0.0, reset - now)
    if spoken := _SPOKEN_WAIT.search(problem.detail):
        parts = _SPOKEN_PART.findall(spoken[1])
        numbers = [(_seconds(number), _UNITS[unit]) for number, unit in parts]
        yield sum(number * unit for number, unit in numbers if number is not None) or None


def blames_version(problem: Problem) -> bool:
    """Return whether a 422 refuses the version to run, and not the input.

    Its field is "version", or it has none: "The specified version does not exist (or perhaps ...)".
    """
    if problem.status != 422:
        return False
    names = {field.field.split(".")[0] for field in problem.invalid_fields if field.field}
    if names:
        return names <= {"version"}
    said = f"{problem.title} {problem.detail}".lower()
    return "version" in said and "input" not in said


class Rate(NamedTuple):
    """A rate that an answer names; *burst* is None if it names none."""

    per_minute: float
    burst: int | None


def named_rate(problem: Problem) -> Rate | None:
    """Return the rate that the text of a 429 names, if it names one."""
    spoken = _SPOKEN_RATE.search(problem.detail) if problem.status == 429 else None
    number = _seconds(spoken[1].replace(",", "")) if spoken else None
    if spoken is None or not number:
        return None
    per_minute = number * 60 / _UNITS[spoken[2][0]]
    return Rate(per_minute, int(spoken[3]) if spoken[3] else None)


def _seconds(value: object) -> float | None:
    """Return *value* as a finite number of seconds, 0 or more, or None."""
    if isinstance(value, str):
        value = float(value) if _NUMBER.fullmatch(value := value.strip(" \t")) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if 0 <= number < math.inf else None


def timestamp(date: str) -> float | None:
    """Return a date in any of HTTP's three formats, or ISO 8601, as Unix time."""
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - few servers write dates

    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = read(date.strip())
            # Without a zone it is UTC: HTTP's dates are.
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None

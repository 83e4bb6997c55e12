"""Wrong arguments are refused before anything is sent; the error says what is right."""

from __future__ import annotations

import io
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, cast

import pytest

from replicate_async import InvalidArgumentError, Prediction, Replicate, ReplicateError
from tests.support.fault_server import Stranger
from tests.support.sentinel import TOKEN, assert_clean

VERSION: Final = "f" * 64
CUT: Final = "f" * 63
LONG: Final = "a" * 600
NAMES: Final = "it takes lower-case letters, digits, '.', '_' and '-'."
WAIT: Final = (
    "is not a whole number of seconds from 1 to 60; leave it out to get the prediction back at "
    "once."
)
DEADLINE: Final = (
    "is not between 5 seconds and 24 hours; give seconds, a timedelta, or a string such as "
    '"90s", "5m" or "1h30m".'
)
WEBHOOK: Final = "it must be an absolute https:// URL, which the API can call."
EVENTS: Final = "is not a list of start, output, logs, completed."
SHOWN: Final = "give it as the API shows it."

# What a program without a type checker may hand over.
Call = Callable[[Any], Awaitable[object]]


def create(**options: object) -> Call:
    """Return a call that creates a prediction with *options*."""
    return lambda client: client.predictions.create("acme/echo", {}, **options)


def given(value: object) -> Call:
    """Return a call that creates a prediction with *value* among its input."""
    return lambda client: client.predictions.create("acme/echo", {"value": value})


def first(listing: Any) -> Awaitable[object]:
    return cast("Awaitable[object]", anext(aiter(listing)))


def deploy(**changes: object) -> Call:
    arguments: dict[str, object] = {
        "name": "prod",
        "model": "acme/echo",
        "version": VERSION,
        "hardware": "cpu",
        "min_instances": 0,
        "max_instances": 1,
    }
    return lambda client: client.deployments.create(**arguments | changes)


class Odd:
    """Nothing that JSON knows."""


class Unreadable(io.BytesIO):
    """A file that is open for writing only."""

    def readable(self) -> bool:
        return False


def closed() -> io.BytesIO:
    file = io.BytesIO(b"x")
    file.close()
    return file


def endless() -> list[object]:
    """Return a list that holds itself."""
    items: list[object] = []
    items.append(items)
    return items


MODELS: Final[Sequence[tuple[object, str]]] = [
    ("", "model='' must be \"owner/name\"."),
    ("echo", "model='echo' must be \"owner/name\"."),
    (VERSION, f"model='{VERSION}' must be \"owner/name\"."),
    ("acme/", f"model='acme/' has no name; {NAMES}"),
    ("/echo", f"model='/echo' has no owner; {NAMES}"),
    ("/", f"model='/' has no owner; {NAMES}"),
    ("a/b/c", "model='a/b/c' has more than one slash; it must be \"owner/name\"."),
    ("a/b:", "model='a/b:' has no version after the colon; add one or drop the colon."),
    ("a/b:" + VERSION, f"model='a/b:{VERSION}' must be \"owner/name\", without a version."),
    ("../b", f"model='../b' has the owner '..'; {NAMES}"),
    ("a/..", f"model='a/..' has the name '..'; {NAMES}"),
    ("a/.", f"model='a/.' has the name '.'; {NAMES}"),
    ("Acme/echo", "model='Acme/echo' has an upper-case owner; write 'acme/echo'."),
    ("a b/c", f"model='a b/c' has the owner 'a b'; {NAMES}"),
    ("a/b?c", f"model='a/b?c' has the name 'b?c'; {NAMES}"),
    ("a/b%2f", f"model='a/b%2f' has the name 'b%2f'; {NAMES}"),
    ("a/b\n", f"model='a/b\\n' has the name 'b\\n'; {NAMES}"),
    ("a/b\x00", f"model='a/b\\x00' has the name 'b\\x00'; {NAMES}"),
    ("é/b", f"model='é/b' has the owner 'é'; {NAMES}"),
    (None, 'model=None must be "owner/name".'),
    (7, 'model=7 must be "owner/name".'),
    (LONG + "/b", f"model_owner='{'a' * 78}… is longer than 512 characters; {SHOWN}"),
]
TAKE_A_MODEL: Final[dict[str, Callable[[Any, object], Awaitable[object]]]] = {
    "models.get": lambda c, ref: c.models.get(ref),
    "models.update": lambda c, ref: c.models.update(ref, description="x"),
    "models.delete": lambda c, ref: c.models.delete(ref),
    "models.readme.get": lambda c, ref: c.models.readme.get(ref),
    "models.examples.list": lambda c, ref: first(c.models.examples.list(ref)),
    "models.versions.list": lambda c, ref: first(c.models.versions.list(ref)),
    "models.versions.get": lambda c, ref: c.models.versions.get(ref, VERSION),
    "models.versions.delete": lambda c, ref: c.models.versions.delete(ref, VERSION),
    "models.predictions.create": lambda c, ref: c.models.predictions.create(ref, {}),
}

IDS: Final[Sequence[tuple[object, str]]] = [
    ("", "='' is empty"),
    (".", "='.' is a dot segment, which names another resource"),
    ("..", "='..' is a dot segment, which names another resource"),
    ("a/b", "='a/b' contains '/', which no id has"),
    ("a\\b", "='a\\\\b' contains '\\\\', which no id has"),
    ("a?b", "='a?b' contains '?', which no id has"),
    ("a#b", "='a#b' contains '#', which no id has"),
    ("a%2e", "='a%2e' contains '%', which no id has"),
    ("a b", "='a b' contains ' ', which no id has"),
    ("a\r\nX: y", "='a\\r\\nX: y' contains '\\r', which no id has"),
    ("\x00", "='\\x00' contains '\\x00', which no id has"),
    ("\ud800", "='\\ud800' is not valid Unicode"),
    (LONG, f"='{'a' * 78}… is longer than 512 characters"),
]
TAKE_AN_ID: Final[dict[str, tuple[str, Callable[[Any, object], Awaitable[object]]]]] = {
    "predictions.get": ("prediction_id", lambda c, one: c.predictions.get(one)),
    "predictions.cancel": ("prediction_id", lambda c, one: c.predictions.cancel(one)),
    "predictions.wait": ("prediction_id", lambda c, one: c.predictions.wait(one)),
    "trainings.get": ("training_id", lambda c, one: c.trainings.get(one)),
    "trainings.cancel": ("training_id", lambda c, one: c.trainings.cancel(one)),
    "trainings.wait": ("training_id", lambda c, one: c.trainings.wait(one)),
    "files.get": ("file_id", lambda c, one: c.files.get(one)),
    "files.delete": ("file_id", lambda c, one: c.files.delete(one)),
    "files.download": (
        "file_id",
        lambda c, one: c.files.download(one, owner="dev", expiry=1, signature="x"),
    ),
    "collections.get": ("collection_slug", lambda c, one: c.collections.get(one)),
}

CALLS: Final[Sequence[tuple[Call, str]]] = [
    # What to run.
    (
        lambda c: c.predictions.create(""),
        'model=\'\' is empty; give "owner/name", "owner/name:version" or an id.',
    ),
    (
        lambda c: c.predictions.create("abc"),
        (
            'model=\'abc\' is neither "owner/name", "owner/name:version" nor an id of 64 '
            "lower-case hexadecimal characters (it has 3)."
        ),
    ),
    (
        lambda c: c.predictions.create(f"acme/echo:{CUT}"),
        (
            f"model='acme/echo:{CUT}' has a version id of 63 characters; an id is 64 lower-case "
            "hexadecimal characters."
        ),
    ),
    (lambda c: c.predictions.create(None), 'model=None must be a string such as "owner/name".'),
    (
        lambda c: c.deployments.predictions.create("prod", {}),
        "deployment='prod' must be \"owner/name\".",
    ),
    (
        lambda c: c.deployments.get("a/b/c"),
        "deployment='a/b/c' has more than one slash; it must be \"owner/name\".",
    ),
    (
        lambda c: c.models.versions.get("a/b", ""),
        "version_id='' must be a version id, 64 hexadecimal characters.",
    ),
    (
        lambda c: c.models.versions.get("a/b", 5),
        "version_id=5 must be a version id, 64 hexadecimal characters.",
    ),
    (
        lambda c: c.models.versions.delete("a/b", ".."),
        "version_id='..' has a malformed version id; it is 64 hexadecimal characters.",
    ),
    (
        lambda c: c.predictions.get(None),
        "prediction_id=None is a NoneType; give an id, or the Prediction or Training itself.",
    ),
    # How to run it.
    (create(wait=0), f"wait=0 {WAIT}"),
    (create(wait=61), f"wait=61 {WAIT}"),
    (create(wait=-1), f"wait=-1 {WAIT}"),
    (create(wait=1.5), f"wait=1.5 {WAIT}"),
    (create(wait="5"), f"wait='5' {WAIT}"),
    (create(cancel_after=4), f"cancel_after=4 {DEADLINE}"),
    (create(cancel_after=86401), f"cancel_after=86401 {DEADLINE}"),
    (create(cancel_after=5.5), f"cancel_after=5.5 {DEADLINE}"),
    (create(cancel_after=True), f"cancel_after=True {DEADLINE}"),
    (create(cancel_after=""), f"cancel_after='' {DEADLINE}"),
    (create(cancel_after="4s"), f"cancel_after='4s' {DEADLINE}"),
    (create(cancel_after="25h"), f"cancel_after='25h' {DEADLINE}"),
    (create(cancel_after="30s1m"), f"cancel_after='30s1m' {DEADLINE}"),
    (create(cancel_after="5 minutes"), f"cancel_after='5 minutes' {DEADLINE}"),
    (create(cancel_after="90s\r\nX: y"), f"cancel_after='90s\\r\\nX: y' {DEADLINE}"),
    (create(cancel_after="٩٠"), f"cancel_after='٩٠' {DEADLINE}"),
    (
        create(cancel_after=timedelta(days=2)),
        f"cancel_after=datetime.timedelta(days=2) {DEADLINE}",
    ),
    (
        create(webhook="http://example.com/hook?secret=hush"),
        f"webhook= begins with http://example.com; {WEBHOOK}",
    ),
    (create(webhook="ftp://example.com"), f"webhook= begins with ftp://example.com; {WEBHOOK}"),
    (create(webhook=""), f"webhook= is not a whole URL; {WEBHOOK}"),
    (create(webhook="/hook"), f"webhook= is not a whole URL; {WEBHOOK}"),
    (create(webhook="https://"), f"webhook= is not a whole URL; {WEBHOOK}"),
    (create(webhook="https://[::1"), f"webhook= is not a whole URL; {WEBHOOK}"),
    (create(webhook="https://example.com/\n"), f"webhook= is not a whole URL; {WEBHOOK}"),
    (create(webhook=5), f"webhook= is not a whole URL; {WEBHOOK}"),
    (create(webhook_events_filter="start"), f"webhook_events_filter='start' {EVENTS}"),
    (create(webhook_events_filter=["begin"]), f"webhook_events_filter=['begin'] {EVENTS}"),
    (create(webhook_events_filter=5), f"webhook_events_filter=5 {EVENTS}"),
    (
        lambda c: c.predictions.wait("abc", timeout=-1),
        "timeout=-1 must be a number of seconds, 0 or more, or None for no limit.",
    ),
    (
        lambda c: c.trainings.wait("abc", timeout=math.nan),
        "timeout=nan must be a number of seconds, 0 or more, or None for no limit.",
    ),
    (
        lambda c: c.stream("acme/echo", {}, on_exit="stop").__aenter__(),
        'on_exit=\'stop\' must be "cancel" or "continue".',
    ),
    (lambda c: c.stream("acme/echo", {}, webhook="x").__aenter__(), f"not a whole URL; {WEBHOOK}"),
    (lambda c: c.run("acme/echo", {}, wait=0), f"wait=0 {WAIT}"),
    (
        lambda c: c.run("acme/echo", {}, type="str"),
        (
            "type='str' cannot be decoded (Type ''str'' is not supported); give a type such "
            "as str, list[str] or a msgspec Struct."
        ),
    ),
    (lambda c: c.run("acme/echo", {}, files="no"), "files='no' must be True or False."),
    (
        lambda c: c.run("acme/echo", {}, delete_uploads="no"),
        "delete_uploads='no' must be True or False.",
    ),
    (
        lambda c: c.predictions.stream("abc", last_event_id=b"1:0").__aenter__(),
        "last_event_id=b'1:0' is not the id of an event as it came.",
    ),
    (lambda c: c.files.create(b"x", repeat="no"), "repeat='no' must be True or False."),
    (lambda c: c.files.create(b"x", max_size="9"), "max_size='9' must be an int, 0 or more."),
    (
        lambda c: c.files.create(b"x", max_size=1e6),
        "max_size=1000000.0 must be an int, 0 or more.",
    ),
    # What to run it with.
    (
        lambda c: c.predictions.create("acme/echo", [1]),
        'input=[1] is a list; it must be a mapping such as {"prompt": "..."}, or a msgspec Struct.',
    ),
    (lambda c: c.predictions.create("acme/echo", "prompt"), "input='prompt' is a str; it must be"),
    (
        lambda c: c.predictions.create("acme/echo", {1: 2}),
        "input has the key 1; keys must be strings.",
    ),
    (given([{"b": {1: 2}}]), 'input["value"][0]["b"] has the key 1; keys must be strings.'),
    (given(math.nan), 'input["value"] is nan, which JSON cannot hold.'),
    (given([1, {"b": -math.inf}]), 'input["value"][1]["b"] is -inf, which JSON cannot hold.'),
    (given(Odd()), 'input["value"]: a value of type Odd cannot be sent as JSON; convert it to'),
    (given({"b": [1j]}), 'input["value"]["b"][0]: a value of type complex cannot be sent as JSON;'),
    (given("a\ud800"), "'a\\ud800' is not valid Unicode (surrogates not allowed); decode it"),
    (given(endless()), 'input["value"] is nested too deep for JSON, or holds itself.'),
    (
        lambda c: c.run("acme/echo", {"value": [bytes(1_000_001)]}, file_encoding="data-url"),
        (
            'input["value"][0] holds more than the 1,000,000 bytes that a data URL may have. '
            'Leave out file_encoding="data-url" to have it uploaded.'
        ),
    ),
    (
        lambda c: c.run("acme/echo", {"value": [bytes(900_000)] * 20}, file_encoding="base64"),
        "file_encoding='base64' must be one of 'auto', 'upload', 'data-url'.",
    ),
    # Trainings.
    (
        lambda c: c.trainings.create(VERSION, destination="acme/new", input={}),
        f"model='{VERSION}' must be \"owner/name:version\" or ",
    ),
    (
        lambda c: c.trainings.create(f"a/b:{VERSION}", destination="new", input={}),
        "destination='new' must be \"owner/name\".",
    ),
    (
        lambda c: c.trainings.create(f"a/b:{VERSION}", destination="a/c", input={"x": math.nan}),
        'input["x"] is nan, which JSON cannot hold.',
    ),
    # Models and deployments.
    (
        lambda c: c.models.create("a/b", visibility="secret", hardware="cpu"),
        "visibility='secret' must be one of 'public', 'private'.",
    ),
    (
        lambda c: c.models.create("a/b", visibility="public", hardware=" "),
        "hardware=' ' must be a string, and not empty.",
    ),
    (lambda c: c.deployments.update("a/b"), "has nothing to change; give version="),
    (lambda c: c.models.update("a/b", description="\ud800"), "'\\ud800' is not valid Unicode"),
    (lambda c: first(c.models.search(" ")), "query=' ' is empty; say what to search for."),
    (
        lambda c: first(c.models.list(sort_by="name")),
        "sort_by='name' must be one of 'model_created_at', 'latest_version_created_at'.",
    ),
    (
        lambda c: first(c.models.list(sort_direction="up")),
        "sort_direction='up' must be one of 'asc', 'desc'.",
    ),
    (
        deploy(name="acme/prod"),
        "name='acme/prod' must be a name of lower-case letters, digits, '.', '_' and '-'.",
    ),
    (deploy(name=""), "name='' must be a name of lower-case letters, digits, '.', '_' and '-'."),
    (deploy(model="echo"), "model='echo' must be \"owner/name\"."),
    (deploy(hardware=""), "hardware='' must be a string, and not empty."),
    (deploy(version=CUT), f"version='{CUT}' has a version id of 63 characters;"),
    (
        deploy(min_instances=6),
        "min_instances=6 must be an int from 0 to 5.",
    ),
    (
        deploy(max_instances=21),
        "max_instances=21 must be an int from 0 to 20.",
    ),
    (deploy(min_instances=-1), "min_instances=-1 must be an int"),
    (deploy(min_instances=0.5), "min_instances=0.5 must be an int"),
    (deploy(min_instances=True), "min_instances=True must be an int"),
    (deploy(min_instances="1"), "min_instances='1' must be an int"),
    (
        deploy(min_instances=2),
        "min_instances=2 is more than max_instances=1; lower one.",
    ),
    # Listings and search.
    (
        lambda c: first(c.predictions.list(created_after=datetime(2026, 1, 1))),  # noqa: DTZ001 - the mistake
        (
            "created_after=datetime.datetime(2026, 1, 1, 0, 0) has no time zone; write "
            "datetime(..., tzinfo=UTC)."
        ),
    ),
    (
        lambda c: first(c.predictions.list(created_before=date(2026, 1, 1))),
        "created_before=datetime.date(2026, 1, 1) has no time zone;",
    ),
    (
        lambda c: first(c.predictions.list(created_before="2026-01-01")),
        "created_before='2026-01-01' has no time zone;",
    ),
    (lambda c: first(c.predictions.list(source="api")), "source='api' must be one of 'web'."),
    (lambda c: c.search(""), "query='' is empty; say what to search for."),
    (lambda c: c.search(5), "query=5 is not a string; say what to search for."),
    (lambda c: first(c.models.search(None)), "query=None is not a string; say what to search for."),
    (lambda c: c.search("\ud800"), "is not valid Unicode"),
    (lambda c: c.search("x", limit=0), "limit=0 must be an int from 1 to"),
    (lambda c: c.search("x", limit=51), "limit=51 must be an int"),
    (lambda c: c.search("x", limit="5"), "limit='5' must be an int"),
    (
        lambda c: c.parse_output(Prediction(id="abc", status="succeeded"), version=VERSION),
        " is a str; pass a Version.",
    ),
    (
        lambda c: c.run("acme/echo", {}, on_update="x" * 100),
        "x… must be a function that takes the run, or None.",
    ),
    # Files.
    (
        lambda c: c.files.create("words"),
        (
            "content='words' is a str; give bytes, a Path, a file opened with 'rb', or an async "
            "iterator of bytes."
        ),
    ),
    (lambda c: c.files.create(None), "content=None is a NoneType; give bytes"),
    (
        lambda c: c.files.create(b"", filename="a\r\nb"),
        "filename='a\\r\\nb' has a control character in it.",
    ),
    (lambda c: c.files.create(b"", filename=5), "filename=5 must be a string."),
    (lambda c: c.files.create(b"", type=5), "type=5 is not a media type; give one such as"),
    (
        lambda c: c.files.create(closed()),
        "is closed; pass it inside its 'with' block, or its Path.",
    ),
    (
        lambda c: c.files.create(Unreadable()),
        "is open for writing only; open it with 'rb'.",
    ),
    (lambda c: c.files.create(Odd()), "is a Odd; give bytes, a Path, a file opened with 'rb'"),
    (
        lambda c: c.files.create(b"", filename="é" * 128),
        "is longer than 255 bytes; shorten it.",
    ),
    (
        lambda c: c.files.create(b"", type="image/png\r\nX: y"),
        "type='image/png\\r\\nX: y' is not a media type; give one such as 'image/png'.",
    ),
    (
        lambda c: c.files.create(b"", metadata={"a": Odd()}),
        'metadata["a"]: a value of type Odd cannot be sent as JSON;',
    ),
    (lambda c: c.files.create(b"", metadata={"a": math.nan}), 'metadata["a"] is nan, which JSON'),
    (
        lambda c: c.files.create(b"", metadata=[1]),
        'metadata=[1] must be a mapping such as {"customer": 7}.',
    ),
]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Let a server serve all tests of this module."""
    return "asyncio"


@pytest.fixture(scope="module")
async def unreached(anyio_backend: str) -> AsyncIterator[Stranger]:
    """A server that must not be called on."""
    async with Stranger() as server:
        yield server


async def refused(server: Stranger, call: Call) -> str:
    """Make *call*, which must be refused without a request; gives the message."""
    async with Replicate(TOKEN, base_url=server.url) as client:
        with pytest.raises(InvalidArgumentError) as caught:
            await call(client)
    assert_clean(caught.value)
    assert isinstance(caught.value, ValueError)
    server.assert_untouched()
    return str(caught.value)


@pytest.mark.anyio
@pytest.mark.parametrize(("ref", "message"), MODELS)
@pytest.mark.parametrize("operation", TAKE_A_MODEL)
async def test_a_name_of_a_model_is_checked(
    unreached: Stranger, operation: str, ref: object, message: str
) -> None:
    assert await refused(unreached, lambda c: TAKE_A_MODEL[operation](c, ref)) == message


@pytest.mark.anyio
@pytest.mark.parametrize(("id", "message"), IDS)
@pytest.mark.parametrize("operation", TAKE_AN_ID)
async def test_an_id_is_one_segment_of_a_path(
    unreached: Stranger, operation: str, id: object, message: str
) -> None:
    argument, call = TAKE_AN_ID[operation]

    assert await refused(unreached, lambda c: call(c, id)) == f"{argument}{message}; {SHOWN}"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("call", "message"),
    CALLS,
    ids=[f"{at} {message[:40]}" for at, (_, message) in enumerate(CALLS)],
)
async def test_an_argument_is_checked_before_anything_is_sent(
    unreached: Stranger, call: Call, message: str
) -> None:
    said = await refused(unreached, call)

    if message.endswith("."):
        assert said.endswith(message)
    else:
        assert message in said


@pytest.mark.anyio
async def test_values_at_the_limits_are_sent() -> None:
    aware = datetime(2026, 1, 1, tzinfo=UTC)
    calls: list[Callable[[Replicate], Awaitable[object]]] = [
        lambda c: c.predictions.create("a/b-c.d_e", {}, wait=1, cancel_after=5),
        lambda c: c.predictions.create("a/b", {}, wait=60, cancel_after="24h"),
        lambda c: c.predictions.create("a/b", {}, webhook="http://localhost/x"),
        lambda c: first(c.predictions.list(created_after=aware, created_before=aware)),
        lambda c: c.files.create(b"", filename="é" * 127),
        lambda c: c.search("x", limit=50),
        lambda c: c.predictions.get("a..b"),
    ]
    async with Stranger() as server, Replicate(TOKEN, base_url=server.url) as client:
        for call in calls:
            with suppress(ReplicateError):  # the answer is that of a stranger
                await call(client)

    assert len(server.requests) == len(calls)

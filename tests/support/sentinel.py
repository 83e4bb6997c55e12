"""The token that every test's client carries, and the search for it where it must never be."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import logging
import pickle
import traceback
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CodeType,
    FrameType,
    FunctionType,
    MethodType,
    ModuleType,
    TracebackType,
)
from typing import Final, Generic, Self, TypeVar, cast

TOKEN: Final = "r8_SENTINELthatMustNotBeShown0123456789x"
WEBHOOK_SECRET: Final = "whsec_U0VOVElORUwtdGhhdC1tdXN0LW5vdC1iZS1zaG93bg=="
PACKAGE: Final = Path(__file__).parents[2] / "replicate_async"

# A shortened form may show the first and the last few characters; the middle never.
_NEEDLES: Final = (
    TOKEN[8:-6],
    WEBHOOK_SECRET[12:-6],
    *(base64.b64encode(f"{lead}{TOKEN}".encode()).decode()[8:40] for lead in ("", ":", "u:")),
)

E = TypeVar("E", bound=BaseException)


def shows_secret(text: str | bytes) -> bool:
    """Tell whether *text* holds the token or the webhook secret, in clear or in base64."""
    words = text.decode("latin-1") if isinstance(text, bytes) else text
    return any(needle in words for needle in _NEEDLES)


def hidden(text: str) -> str:
    """Return *text* with every secret blotted out."""
    for needle in _NEEDLES:
        text = text.replace(needle, "[secret]")
    return text


def assert_silent(text: str | bytes, where: str) -> None:
    """Fail, without repeating the secret, if *text* shows it."""
    if shows_secret(text):
        raise AssertionError(f"a secret is visible in {where}")


def assert_clean(error: BaseException, package: Path = PACKAGE) -> None:
    """Search everything that a crash reporter could show of *error* and of all errors behind it.

    Looked at: text, repr, arguments, attributes, notes and pickle of each error in the chain,
    hidden ones too, the formatted traceback, and the locals of the frames of *package*.
    """
    assert_silent("".join(traceback.format_exception(error)), "a formatted traceback")
    for link in chain(error):
        name = type(link).__qualname__
        notes = getattr(link, "__notes__", ())
        assert_silent(f"{link!s} {link!r} {link.args!r} {vars(link)!r} {notes}", f"{name} itself")
        _assert_silent_pickle(link, name)
        for frame in _frames(link.__traceback__):
            if package in Path(frame.f_code.co_filename).parents:
                _assert_silent_locals(frame, name)


def chain(error: BaseException) -> Iterator[BaseException]:
    """Walk from *error* through causes, contexts (hidden ones too) and the members of groups."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        waiting += [link.__cause__, link.__context__]
        if isinstance(link, BaseExceptionGroup):
            waiting += cast("BaseExceptionGroup[BaseException]", link).exceptions


class Caught(Generic[E]):
    """Expects an error of *kind* that shows no secret anywhere; it is `error` afterwards."""

    error: E

    def __init__(self, kind: type[E]) -> None:
        self.kind = kind

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if exc is None:
            raise AssertionError(f"{self.kind.__name__} was expected, and nothing was raised")
        assert_clean(exc)
        if not isinstance(exc, self.kind):
            return False
        self.error = exc
        return True


def caught(kind: type[E]) -> Caught[E]:
    """Expect an error of *kind* that shows no secret anywhere."""
    return Caught(kind)


def assert_opaque(thing: object, name: str) -> None:
    """Check that *thing* shows no secret when it is printed, copied, pickled or taken apart."""
    assert_silent(f"{thing!r} {thing!s}", f"the repr of {name}")
    assert_silent(repr(getattr(thing, "__dict__", None)), f"vars({name})")
    for base in type(thing).__mro__:
        for slot in getattr(base, "__slots__", ()):
            assert_silent(repr(getattr(thing, slot, None)), f"{name}.{slot}")
    _assert_silent_pickle(thing, name)
    try:
        twin = copy.deepcopy(thing)
    except Exception as refusal:  # noqa: BLE001 - to refuse in any way is allowed
        assert_silent(str(refusal), f"the refusal to copy {name}")
    else:
        assert_silent(repr(twin), f"a copy of {name}")


class SecretWatch(logging.Handler):
    """Listens to every logger at DEBUG, and remembers which records showed a secret."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.leaks: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        parts = [record.getMessage(), repr(record.args), repr(record.__dict__)]
        if record.exc_info and record.exc_info[1]:
            parts += traceback.format_exception(record.exc_info[1])
        if any(shows_secret(part) for part in parts):
            self.leaks.append(f"a record of the logger {record.name}")


def _frames(trace: TracebackType | None) -> Iterator[FrameType]:
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def _assert_silent_locals(frame: FrameType, name: str) -> None:
    for variable, value in frame.f_locals.items():
        try:
            text = repr(value)
        except Exception:  # noqa: BLE001 - half-made objects may not have a repr yet
            continue
        where = f"{variable} of {frame.f_code.co_qualname}, where {name} passed"
        assert_silent(text, where)


def _assert_silent_pickle(thing: object, name: str) -> None:
    try:
        data = pickle.dumps(thing)
    except Exception as refusal:  # noqa: BLE001 - to refuse in any way is allowed
        assert_silent(str(refusal), f"the refusal to pickle {name}")
    else:
        assert_silent(data, f"a pickle of {name}")


_DEEPEST: Final = 6
_MOST_VALUES: Final = 20_000
# Not data: code, and objects that all tests share.
_OPAQUE: Final = (
    ModuleType,
    FunctionType,
    BuiltinFunctionType,
    CodeType,
    FrameType,
    TracebackType,
    type,
    asyncio.AbstractEventLoop,
    asyncio.Future,
    asyncio.Handle,
    asyncio.BaseTransport,
    Coroutine,
)


def assert_frames_clean(error: BaseException, tests: Path = PACKAGE.parent / "tests") -> None:
    """Search all that the frames of *error* and of the errors behind it can reach for a secret.

    Those of every library count; those of the *tests*, which know the secrets, do not.
    """
    for link in chain(error):
        for frame in _frames(link.__traceback__):
            if tests not in Path(frame.f_code.co_filename).parents:
                for name, value in frame.f_locals.items():
                    where = f"{name} of {frame.f_code.co_qualname}, where {link!r} passed"
                    _assert_silent_within(value, where)


def _assert_silent_within(value: object, where: str) -> None:
    seen: dict[int, object] = {}
    waiting: list[tuple[object, int, str]] = [(value, 0, where)]
    while waiting and len(seen) < _MOST_VALUES:
        item, depth, path = waiting.pop(0)
        if id(item) in seen or isinstance(item, _OPAQUE):
            continue
        seen[id(item)] = item
        try:
            text = repr(item)
        except Exception:  # noqa: BLE001 - half-made objects may not have a repr yet
            text = ""
        assert_silent(text, path)
        if depth < _DEEPEST:
            found = [*_inside(item), *_attributes(item)]
            waiting += [(inner, depth + 1, f"{name} of {path}") for name, inner in found]


def _inside(item: object) -> Iterator[tuple[str, object]]:
    if isinstance(item, str | bytes | bytearray | int | float | None):
        return
    if isinstance(item, MethodType):
        yield "__self__", item.__self__
    if isinstance(item, Mapping):
        for key, value in list(cast("Mapping[object, object]", item).items()):
            yield "a key", key
            yield f"[{key!r}]", value
    elif isinstance(item, tuple | list | set | frozenset | deque):
        yield from (("an item", inner) for inner in list(cast("Iterable[object]", item)))


def _attributes(item: object) -> Iterator[tuple[str, object]]:
    names = dict.fromkeys(getattr(item, "__dict__", ()))
    names |= dict.fromkeys(
        slot for kind in type(item).__mro__ for slot in getattr(kind, "__slots__", ())
    )
    for name in names:
        with contextlib.suppress(Exception):
            yield name, getattr(item, name)

"""Parsing the names of models, deployments and versions.

A model or deployment is "owner/name"; a version is "owner/name:id" or the id alone, 64 hexadecimal
characters.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from replicate_async.core.endpoint import shorten
from replicate_async.errors import InvalidArgumentError

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9_-])?")
_VERSION_ID: Final = re.compile(r"[0-9a-f]{64}")
_ANY_VERSION: Final = re.compile(r"[a-z0-9][a-z0-9._-]*")
_DEPLOYMENTS: Final = "deployments/"
_CUT_VERSION_ID: Final = re.compile(r"[0-9a-fA-F]{40,}")


class ModelRef(NamedTuple):
    """A model or a deployment: "owner/name"."""

    owner: str
    name: str

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"

    def path(self, kind: Literal["model", "deployment"]) -> dict[str, str]:
        """Return the path parameters of an endpoint for this model or deployment."""
        return {f"{kind}_owner": self.owner, f"{kind}_name": self.name}


class VersionRef(NamedTuple):
    """A model, a version of a model, a version by its id alone, or a deployment."""

    model: ModelRef | None
    version: str | None
    deployment: ModelRef | None = None

    def __str__(self) -> str:
        if self.deployment is not None:
            return f"{_DEPLOYMENTS}{self.deployment}"
        return ":".join(str(part) for part in (self.model, self.version) if part is not None)


def parse_model(ref: str, argument: str = "model") -> ModelRef:
    """Return the owner and name in *ref*; raises `InvalidArgumentError` naming *argument*."""
    if "/" not in str(ref):
        raise _wrong(argument, ref, 'must be "owner/name"')
    parsed = parse_version(ref, argument)
    if parsed.model is None or parsed.version is not None:
        raise _wrong(argument, ref, 'must be "owner/name", without a version')
    return parsed.model


def parse_deployment(ref: str) -> VersionRef:
    """Return the deployment *ref*, "owner/name"; raises `InvalidArgumentError`."""
    return VersionRef(None, None, parse_model(ref, "deployment"))


def parse_target(text: str) -> VersionRef:
    """Return what ``str()`` of a `VersionRef` gave *text* for."""
    if text.startswith(_DEPLOYMENTS) and text.count("/") == 2:
        return parse_deployment(text.removeprefix(_DEPLOYMENTS))
    return parse_version(text)


def parse_version(ref: str, argument: str = "model") -> VersionRef:
    """Return the model and version in *ref*; raises `InvalidArgumentError` naming *argument*."""
    if not isinstance(ref, str):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
        raise _wrong(argument, ref, 'must be a string such as "owner/name"')
    return _parse(ref, argument)


@lru_cache(maxsize=256)  # a program uses a few models, many times
def _parse(ref: str, argument: str) -> VersionRef:
    if not ref:
        raise _wrong(argument, ref, 'is empty; give "owner/name", "owner/name:version" or an id')
    path, colon, version = ref.partition(":")
    if "/" not in path:
        return VersionRef(None, _bare_version(argument, ref))
    owner, _, name = path.partition("/")
    for part, value in (("owner", owner), ("name", name)):
        _check_name(argument, ref, part, value)
    if not colon:
        return VersionRef(ModelRef(owner, name), None)
    return VersionRef(ModelRef(owner, name), parse_version_id(version, argument, given=ref))


def parse_version_id(version: str, argument: str = "version_id", *, given: object = None) -> str:
    """Return *version* if it can be the id of a version; raises `InvalidArgumentError`.

    An id is 64 hexadecimal characters, but official models have had others ("dp-..."). So only an
    id that is cut short, or has other characters than names have, is refused.
    """
    if given is None:
        given = version
        if not version or not isinstance(version, str):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
            raise _wrong(argument, given, "must be a version id, 64 hexadecimal characters")
    if not version:
        raise _wrong(argument, given, "has no version after the colon; add one or drop the colon")
    if _CUT_VERSION_ID.fullmatch(version) and not _VERSION_ID.fullmatch(version):
        what = f"has a version id of {len(version)} characters"
        raise _wrong(argument, given, f"{what}; an id is 64 lower-case hexadecimal characters")
    if not _ANY_VERSION.fullmatch(version):
        raise _wrong(argument, given, "has a malformed version id; it is 64 hexadecimal characters")
    return version


def _bare_version(argument: str, ref: str) -> str:
    if not _VERSION_ID.fullmatch(ref):
        raise _wrong(
            argument,
            ref,
            'is neither "owner/name", "owner/name:version" nor an id of 64 lower-case '
            f"hexadecimal characters (it has {len(ref)})",
        )
    return ref


def check_name(argument: str, name: str) -> None:
    """Raise `InvalidArgumentError` naming *argument* unless *name* is a valid name."""
    if not _NAME.fullmatch(str(name)):
        raise _wrong(
            argument, name, "must be a name of lower-case letters, digits, '.', '_' and '-'"
        )


def _check_name(argument: str, ref: str, part: str, value: str) -> None:
    if _NAME.fullmatch(value):
        return
    if _NAME.fullmatch(value.lower()):
        raise _wrong(argument, ref, f"has an upper-case {part}; write {ref.lower()!r}")
    if "/" in value:
        raise _wrong(argument, ref, 'has more than one slash; it must be "owner/name"')
    what = f"has the {part} {shorten(value)}" if value else f"has no {part}"
    raise _wrong(argument, ref, f"{what}; it takes lower-case letters, digits, '.', '_' and '-'")


def _wrong(argument: str, given: object, problem: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{argument}={shorten(given)} {problem}.")

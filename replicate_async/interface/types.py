"""The types for a model's annotations: `Input`, files, weights and iterators."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NewType, TypeAlias, TypeVar

T = TypeVar("T")
Schema: TypeAlias = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """The arguments of `Input`; ``...`` as the *default* means none."""

    default: Any = ...
    description: str | None = None
    ge: float | None = None
    le: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    choices: Sequence[str | int] | None = None
    deprecated: bool = False
    accept: str | None = None

    def constraints(self) -> Schema:
        """Return the limits as JSON Schema keywords."""
        limits = {
            "minimum": self.ge,
            "maximum": self.le,
            "minLength": self.min_length,
            "maxLength": self.max_length,
            "pattern": self.pattern,
            "x-cog-accept": self.accept,
        }
        return {keyword: limit for keyword, limit in limits.items() if limit is not None}


def Input(  # noqa: N802 - Cog's own name for it
    default: Any = ...,
    *,
    description: str | None = None,
    ge: float | None = None,
    le: float | None = None,
    min_length: int | None = None,
    max_length: int | None = None,
    pattern: str | None = None,
    regex: str | None = None,
    choices: Sequence[str | int] | None = None,
    deprecated: bool = False,
    accept: str | None = None,
) -> Any:
    """Describe and limit a model's parameter.

    It stands in the annotation, ``Annotated[int, Input(ge=1)] = 4``, or in place of the default, as
    in Cog: ``steps: int = Input(4, ge=1)``.

    Args:
        default: The value of a missing input; without it, the input is required unless its type
            allows None.
        description: One sentence for the schema.
        ge: The smallest number allowed.
        le: The largest number allowed.
        min_length: The fewest characters allowed.
        max_length: The most characters allowed.
        pattern: A regular expression that a text must contain a match of.
        regex: Cog's name of *pattern*.
        choices: The values allowed.
        deprecated: Whether the schema marks the input as deprecated.
        accept: The files to pick from in a form, as in HTML: ``image/*`` or ``.png,.jpg``.
    """
    return InputOptions(
        default=default,
        description=description,
        ge=ge,
        le=le,
        min_length=min_length,
        max_length=max_length,
        pattern=regex if pattern is None else pattern,
        choices=choices,
        deprecated=deprecated,
        accept=accept,
    )


class InputFile:
    """An input file, already fetched.

    A large one is on disk until the run ends; `data` reads all of it, `open` piece by piece.

    Args:
        data: The bytes, or the path of a file with them.
        name: The name of the file.
        content_type: The media type, if it is known.
    """

    __slots__ = ("_data", "_path", "content_type", "name")

    def __init__(
        self, data: bytes | Path, name: str = "input", content_type: str | None = None
    ) -> None:
        self._data = data if isinstance(data, bytes) else None
        self._path = data if isinstance(data, Path) else None
        self.name: str = name
        self.content_type: str | None = content_type

    @property
    def data(self) -> bytes:
        """All bytes, kept in memory from the first read on."""
        if self._data is None:
            self._data = b"" if self._path is None else self._path.read_bytes()
        return self._data

    @property
    def path(self) -> Path | None:
        """The file on disk; None for a small one."""
        return self._path

    @property
    def size(self) -> int:
        """The size in bytes."""
        return len(self.data) if self._path is None else self._path.stat().st_size

    def open(self) -> BinaryIO:
        """Open it for reading bytes."""
        return io.BytesIO(self.data) if self._path is None else self._path.open("rb")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, InputFile):
            return NotImplemented
        known = (self.name, self.content_type) == (other.name, other.content_type)
        return known and self.data == other.data

    def __hash__(self) -> int:
        return hash((self.name, self.content_type))

    def __repr__(self) -> str:
        return f"InputFile(name={self.name!r}, content_type={self.content_type!r})"


@dataclass(frozen=True)
class OutputFile:
    """A file that a model returns; the prediction's output holds its URL.

    Args:
        data: The bytes.
        name: The name of the file; "output".
        content_type: The media type; guessed from the name unless given.
    """

    data: bytes
    name: str = "output"
    content_type: str | None = None


Weights = NewType("Weights", bytes)
"""The result of a training; a parameter of this type receives the version's weights."""


@dataclass(frozen=True)
class Concatenate:
    """Marks an iterator whose pieces form one text."""


ConcatenateIterator: TypeAlias = Annotated[Iterator[T], Concatenate()]
"""The return type of a generator whose pieces form one text, such as a model's tokens."""

AsyncConcatenateIterator: TypeAlias = Annotated[AsyncIterator[T], Concatenate()]
"""`ConcatenateIterator` for asynchronous generators."""

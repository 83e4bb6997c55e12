"""What a model's annotations are made of: `Input`, files, secrets, weights and iterators."""

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
    """What `Input` was given; ``...`` as the *default* stands for none, as in the signature."""

    default: Any = ...
    description: str | None = None
    ge: float | None = None
    le: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    choices: Sequence[str | int] | None = None
    deprecated: bool = False

    def constraints(self) -> Schema:
        """Return the JSON Schema keywords for the limits that were given."""
        limits = {
            "minimum": self.ge,
            "maximum": self.le,
            "minLength": self.min_length,
            "maxLength": self.max_length,
            "pattern": self.pattern,
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
    choices: Sequence[str | int] | None = None,
    deprecated: bool = False,
) -> Any:
    """Describe and limit a model's parameter.

    It stands in the annotation, ``Annotated[int, Input(ge=1)] = 4``, or as Cog has it, in the place
    of the default: ``steps: int = Input(4, ge=1)``. Without a *default* the input is required,
    unless its type allows None.
    """
    return InputOptions(
        default=default,
        description=description,
        ge=ge,
        le=le,
        min_length=min_length,
        max_length=max_length,
        pattern=pattern,
        choices=choices,
        deprecated=deprecated,
    )


class Secret:
    """An input that nobody may read by accident: its text is only given when asked for."""

    def __init__(self, value: str) -> None:
        self._value = value

    def get_secret_value(self) -> str:
        """Return the text."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('**********')"


class InputFile:
    """A file that was given as an input, already fetched.

    A large one is on disk until the run ends, and is read when `data` is asked for; `open` reads it
    piece by piece.
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
        """Everything in it; kept in memory from then on."""
        if self._data is None:
            self._data = b"" if self._path is None else self._path.read_bytes()
        return self._data

    @property
    def path(self) -> Path | None:
        """Where it is on disk; None for a small one."""
        return self._path

    @property
    def size(self) -> int:
        """How many bytes it has."""
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
    """A file that a model made; the prediction's output has its URL in its place."""

    data: bytes
    name: str = "output"
    content_type: str | None = None


Weights = NewType("Weights", bytes)
"""What training made. A parameter of this type is no input: the version's weights arrive in it."""


@dataclass(frozen=True)
class Concatenate:
    """Marks an iterator of text whose pieces make up one text."""


ConcatenateIterator: TypeAlias = Annotated[Iterator[T], Concatenate()]
"""What a generator of text returns if its pieces belong together, such as a model's tokens."""

AsyncConcatenateIterator: TypeAlias = Annotated[AsyncIterator[T], Concatenate()]
"""`ConcatenateIterator` for asynchronous generators."""

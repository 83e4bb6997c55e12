"""Inputs for a model, from the rows of a table."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Final, cast

from replicate_async.cli.errors import UsageError
from replicate_async.cli.inputs import fit_value, input_error, read_value, refusal_of
from replicate_async.cli.tables import Row, Rows
from replicate_async.interface.input_check import InputCheck
from replicate_async.interface.read import Interface
from replicate_async.runs.batch.keys import LONGEST_KEY, DigestSet

_WHOLE: Final = 2**53  # floats hold whole numbers exactly up to here


class KeyedInput(dict[str, object]):
    """An input with the key of its row, which may be outside of the input."""

    __slots__ = ("key",)

    def __init__(self, values: Row, key: str) -> None:
        super().__init__(values)
        self.key: str = key


@dataclass
class InputRows:
    """The inputs for a model from *rows*.

    *columns* maps the model's inputs to columns; by default, a column is the input of its name.
    *fixed* has inputs that are the same for all. *key* is the input or the column that identifies
    a row; a column that is not an input is not sent. Raises `UsageError` with line and column.
    """

    rows: Rows
    interface: Interface
    _: KW_ONLY
    columns: Mapping[str, str]
    fixed: Mapping[str, object]
    limit: int | None = None
    key: str | None = None

    @cached_property
    def _check(self) -> InputCheck:
        return InputCheck(self.interface)

    @cached_property
    def _key_column(self) -> str:
        return self.columns.get(cast("str", self.key), cast("str", self.key))

    def checked(self) -> InputRows | SizedInputRows:
        """Read and check all rows, and return these inputs with their number.

        Standard input can be read only once: its rows are checked as they are used.
        """
        if self.rows.is_stdin:
            return self
        seen, count = DigestSet(), 0
        for place, made in self._made():
            count += 1
            if isinstance(made, KeyedInput) and not seen.add(
                hashlib.sha256(made.key.encode(errors="replace")).digest()
            ):
                raise UsageError(
                    f"{self.rows.where(place, self._key_column)}: another row has the key "
                    f"{made.key!r} too; --key needs a column that tells the rows apart."
                )
        return SizedInputRows(self, count)

    def __iter__(self) -> Iterator[Row]:
        return (made for _, made in self._made())

    async def __aiter__(self) -> AsyncIterator[Row]:
        """Yield the inputs of standard input as their rows arrive."""
        count = 0
        if self.limit == 0:
            return
        async for place, row in self.rows.arriving():
            yield self._input(place, row)
            count += 1
            if count == self.limit:
                return

    def _made(self) -> Iterator[tuple[str, Row]]:
        for number, (place, row) in enumerate(self.rows.placed()):
            if number == self.limit:
                return
            yield place, self._input(place, row)

    def _input(self, place: str, row: Row) -> Row:
        made = {**self.fixed, **self._named(place, row)}
        if (refusal := refusal_of(made, self._check)) is not None:
            path = refusal.fields[0].field.removeprefix("input.")
            wrong = [name for name in made if path == name or path.startswith(f"{name}.")]
            where = self.rows.where(place, *[self.columns.get(name, name) for name in wrong[:1]])
            raise input_error(f"{where}: {' '.join(refusal.lines)}", self.interface)
        return made if self.key is None else KeyedInput(made, self._key_of(place, row, made))

    def _named(self, place: str, row: Row) -> Row:
        if self.columns:
            # A row of CSV has no empty cells; the header has their columns.
            there = self.rows.header or row
            lacking = [column for column in self.columns.values() if column not in there]
            if lacking:
                raise self._no_column(place, there, lacking[0], "--map")
            named = {name: row[column] for name, column in self.columns.items() if column in row}
        else:
            only = self.key if self.key is not None and self._lacks(self.key) else None
            named = {name: cell for name, cell in row.items() if name != only}
        return {name: self._value(place, name, cell) for name, cell in named.items()}

    def _value(self, place: str, name: str, cell: object) -> object:
        column = self.columns.get(name, name)
        if not column:
            raise UsageError(
                f"{self.rows.where(place)}: a column has a cell and no name in the header, as "
                "when pandas writes its index; leave it out (index=False) or pick columns with "
                "--map."
            )
        try:
            if self.rows.typed:
                return fit_value(name, cell, self.interface)
            return read_value(name, cast("str", cell), self.interface)
        except UsageError as error:
            said = f"{self.rows.where(place, column)}: {error}"
            if self._lacks(name):
                said += " --map picks the columns to send, --key one that names the rows."
            raise UsageError(said, error.listing) from None

    def _lacks(self, name: str) -> bool:
        """Return whether the model has inputs, and none of this name."""
        return self.interface.inputs is not None and name not in self.interface.inputs

    def _key_of(self, place: str, row: Row, made: Row) -> str:
        column, key = self._key_column, cast("str", self.key)
        is_input = self.interface.inputs is not None and not self._lacks(key) and key in made
        value = made[key] if is_input else row.get(column)
        if isinstance(value, float) and value.is_integer() and abs(value) <= _WHOLE:
            value = int(value)  # a column of numbers with a gap
        if value is None and column not in (there := self.rows.header or row):
            raise self._no_column(place, there, column, "--key")
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise UsageError(
                f"{self.rows.where(place, column)}: {value!r} is not a key; --key needs a text or "
                "a whole number in every row."
            )
        if len(str(value)) > LONGEST_KEY:
            raise UsageError(
                f"{self.rows.where(place, column)}: a key of {len(str(value)):,} characters; the "
                f"most is {LONGEST_KEY}."
            )
        return str(value)

    def _no_column(
        self, place: str, columns: Iterable[str], column: str, option: str
    ) -> UsageError:
        known = ", ".join(columns) or "none"
        where = self.rows.where(place)
        return UsageError(f"{where} has no column {column!r} for {option}; its columns: {known}.")


@dataclass(frozen=True)
class SizedInputRows:
    """Inputs with a known number, for the estimate of the end."""

    inputs: InputRows
    length: int

    def __iter__(self) -> Iterator[Row]:
        return iter(self.inputs)

    def __len__(self) -> int:
        return self.length


def read_map(pairs: Sequence[str]) -> dict[str, str]:
    """Return ``input=column`` pairs as a mapping; raises `UsageError`."""
    columns: dict[str, str] = {}
    for pair in pairs:
        name, equals, column = pair.partition("=")
        if not (name and equals and column):
            raise UsageError(f"--map {pair!r} is not input=column, such as prompt=text.")
        if name in columns:
            raise UsageError(f"--map gives the input {name!r} twice; give it one column.")
        columns[name] = column
    return columns

"""The input of a create: encoded, and its files sent once, however often the create is sent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar, get_args

from replicate_async.arguments import check_choice
from replicate_async.context import ClientContext
from replicate_async.errors import (
    AmbiguousCreateError,
    ReplicateError,
    UnprocessableEntityError,
)
from replicate_async.files.inputs import FileEncoding, encode_input
from replicate_async.files.values import Record
from replicate_async.resources._uploads import Uploads
from replicate_async.schemas import File
from replicate_async.typed import Contract

Input: TypeAlias = Record
"""The input of a model, by the names that its schema has.

Values are JSON values, files, or convert to JSON. A value that is None is left out, and so are the
defaults of a Struct with ``omit_defaults``.
"""

R = TypeVar("R")


class PreparedInput:
    """An input as JSON values, and the uploads that were made for it.

    Raises `InvalidArgumentError` for a value that cannot be sent, and `InvalidInputError` for an
    input that breaks the *contract*, before anything is sent.
    """

    __slots__ = ("_contract", "_encoded", "_sent", "_uploads", "secrets")

    def __init__(
        self,
        context: ClientContext,
        input: Input | None,
        encoding: FileEncoding,
        contract: Contract | None = None,
    ) -> None:
        if encoding != "auto":
            check_choice("file_encoding", encoding, get_args(FileEncoding))
        self._uploads = Uploads(context)
        self._contract = contract
        self._encoded = encode_input(input, encoding)
        self.secrets: list[str] = self._encoded.secrets
        """The texts in it that are secret."""
        if contract is not None:
            contract.check(input, self._encoded)
        self._sent: list[File] = []

    @property
    def values(self) -> dict[str, Any]:
        """The input as JSON values; complete once its files are sent."""
        return self._encoded.values

    @property
    def has_files(self) -> bool:
        """Whether there are files that are not sent yet."""
        return bool(self._encoded.slots)

    async def send(self) -> None:
        """Send the files that are not sent yet."""
        if self.has_files:
            from replicate_async.files.uploads import send_files  # noqa: PLC0415 - for files only

            self._sent += await send_files(self._encoded, self._uploads)

    def explain(self, error: ReplicateError) -> None:
        """Note on a refusal of the API that the types of the model may be old."""
        if self._contract is not None and isinstance(error, UnprocessableEntityError):
            self._contract.add_drift_note(error)

    async def delete_uploads(self) -> None:
        """Delete the uploads, within a few seconds; a failure is ignored."""
        sent, self._sent = self._sent, []
        if sent:
            from replicate_async.files.uploads import delete_quietly  # noqa: PLC0415 - as above

            await delete_quietly(self._uploads, sent)

    @asynccontextmanager
    async def sent(self, *, delete: bool) -> AsyncGenerator[None]:
        """Send the files, and *delete* the uploads when the block is left.

        After an `AmbiguousCreateError` they stay: a prediction may exist that reads them.
        """
        await self.send()
        try:
            yield
        except AmbiguousCreateError:
            raise
        except BaseException:
            if delete:
                await self.delete_uploads()
            raise
        if delete:
            await self.delete_uploads()


async def with_files(input: PreparedInput, create: Callable[[], Awaitable[R]]) -> R:
    """Send the files of *input*, then *create*; delete the uploads if the create is refused."""
    if input.has_files:
        await input.send()
    try:
        return await create()
    except AmbiguousCreateError:
        raise  # a prediction may exist that reads them
    except ReplicateError as error:
        input.explain(error)
        await input.delete_uploads()
        raise

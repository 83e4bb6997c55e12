"""An input on its way to a create: its files are sent before, once, however often that is sent."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, get_args

from replicate_async.errors import AmbiguousCreateError
from replicate_async.files.inputs import FileEncoding, encode_input
from replicate_async.files.uploads import delete_quietly, send_files
from replicate_async.files.values import Record
from replicate_async.resources._base import Caller
from replicate_async.resources._options import check_choice
from replicate_async.resources.files import Files
from replicate_async.schemas import File

Input = Record


class SentInput:
    """An input, and the uploads that were made for it.

    Raises `InvalidArgumentError` for what cannot be sent, before anything is.
    """

    __slots__ = ("_client", "_draft", "_sent")

    def __init__(self, client: Caller, input: Input | None, encoding: FileEncoding) -> None:
        if encoding != "auto":
            check_choice("file_encoding", encoding, get_args(FileEncoding))
        self._client = client
        self._draft = encode_input(input, encoding)
        self._sent: list[File] = []

    @property
    def values(self) -> dict[str, Any]:
        """The input as plain JSON values; whole once its files were sent."""
        return self._draft.values

    @property
    def waiting(self) -> bool:
        """Whether there are files that are still to be sent."""
        return bool(self._draft.slots)

    @property
    def has_files(self) -> bool:
        """Whether there are any, sent or not."""
        return bool(self._draft.slots or self._sent)

    async def send(self) -> None:
        """Send its files, unless that was done."""
        if self._draft.slots:
            self._sent += await send_files(self._draft, Files(self._client))

    @asynccontextmanager
    async def sent(self, *, delete: bool) -> AsyncGenerator[None]:
        """Send its files, and *delete* the uploads when the block is left.

        They stay where nobody knows whether a run was created, which might read them.
        """
        await self.send()
        try:
            yield
        except AmbiguousCreateError:
            raise
        except BaseException:
            if delete:
                await self.withdraw()
            raise
        if delete:
            await self.withdraw()

    async def withdraw(self) -> None:
        """Delete the uploads, quietly and within a few seconds."""
        sent, self._sent = self._sent, []
        await delete_quietly(Files(self._client), sent)

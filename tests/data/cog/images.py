"""A model of Cog: several files as its output, from an asynchronous generator."""

import tempfile
from collections.abc import AsyncIterator

from cog import BaseRunner, File, Input, Path, concurrent


class Runner(BaseRunner):
    @concurrent(max=4)
    async def run(
        self,
        count: int = Input(default=1, ge=1, le=8),
        source: File = Input(default=None),
        references: list[Path] = Input(description="Pictures", default=[]),
    ) -> AsyncIterator[Path]:
        for number in range(count):
            path = Path(tempfile.mkdtemp()) / f"{number}.txt"
            path.write_bytes(b"%d" % number)
            yield path

"""The interface between the server and a model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from replicate_async.interface.types import InputFile
from replicate_async.local.models.files import InputFolder

OutputKind: TypeAlias = Literal["value", "items", "text", "files"]
"""One value, or a list of items, of pieces of text or of files; text and files are streamed."""


class RunLog(Protocol):
    """The logs and metrics of a run."""

    @property
    def canceled(self) -> bool:
        """Whether the run is to stop."""
        ...

    def log(self, text: str) -> None:
        """Append a line to the logs.

        Args:
            text: The line; a newline is added if it ends without one.
        """
        ...

    def metric(self, name: str, value: float | str) -> None:
        """Set one of the metrics.

        Args:
            name: The name of the metric, such as "input_token_count".
            value: Its value, which replaces an earlier one.
        """
        ...


class RunHandle(RunLog, Protocol):
    """The run that a backend executes, as the server gives it."""

    async def fetch(self, url: str, folder: InputFolder) -> InputFile:
        """Get an input file.

        Args:
            url: An https or data URL, or that of one of the server's own files.
            folder: Where a large file is written.
        """
        ...

    async def save(self, content: bytes | Path, name: str, content_type: str | None) -> str:
        """Keep an output file and return its URL.

        Args:
            content: The bytes, or the path of a file, which is copied.
            name: The name of the file.
            content_type: The media type; guessed from the name unless given.
        """
        ...


class Trained(NamedTuple):
    """The result of a training: its weights, and the backend that runs with them."""

    backend: ModelBackend
    """The new version of the model."""
    weights: bytes
    """The weights, which the training's output links to."""


@runtime_checkable
class ModelBackend(Protocol):
    """One version of a model, and how it runs."""

    @property
    def version_id(self) -> str:
        """64 hexadecimal digits, different for each version."""
        ...

    @property
    def openapi_schema(self) -> Mapping[str, Any]:
        """The schema that Cog publishes: `components.schemas` with `Input` and `Output`."""
        ...

    @property
    def description(self) -> str | None:
        """One sentence about the model."""
        ...

    @property
    def output(self) -> OutputKind:
        """The kind of output that `predict` yields."""
        ...

    @property
    def trainable(self) -> bool:
        """Whether `train` may be called; the schema then has `TrainingInput`."""
        ...

    @property
    def concurrency(self) -> int | None:
        """How many predictions may run at once; None for the server's setting."""
        ...

    @property
    def needs_setup(self) -> bool:
        """Whether `setup` has to be awaited before the first prediction."""
        ...

    async def setup(self, log: Callable[[str], object]) -> None:
        """Get ready for `predict`; predictions stay `starting` until it returns.

        It is called before the first prediction, and again after it has raised. Its error
        fails the waiting predictions, whose logs then hold the text passed to *log*.

        Args:
            log: Takes a line for the logs.
        """
        ...

    async def aclose(self) -> None:
        """Release the resources of `setup`; called when the server closes."""
        ...

    def predict(self, input: Mapping[str, Any], run: RunHandle) -> AsyncGenerator[Any]:
        """Yield the output as JSON values: one, or one for each item.

        Closing the generator stops the prediction.

        Args:
            input: The input, valid by the schema.
            run: The run, for its files, logs and metrics.
        """
        ...

    async def train(self, input: Mapping[str, Any], run: RunHandle) -> Trained:
        """Train a new version; `setup` need not have been called.

        Args:
            input: The input, valid by the schema ``TrainingInput``.
            run: The run, for its files, logs and metrics.
        """
        ...

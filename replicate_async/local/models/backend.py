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
        """Append *text* to the logs; a newline is added if it ends without one."""
        ...

    def metric(self, name: str, value: float | str) -> None:
        """Set one of the metrics."""
        ...


class RunHandle(RunLog, Protocol):
    """The run that a backend executes, as the server gives it."""

    async def fetch(self, url: str, folder: InputFolder) -> InputFile:
        """Get an input file: an https or data URL, or one of the server's own files.

        A large one is written into *folder*.
        """
        ...

    async def save(self, content: bytes | Path, name: str, content_type: str | None) -> str:
        """Keep an output file and return its URL; a file at a path is copied."""
        ...


class Trained(NamedTuple):
    """The result of a training: its weights, and the backend that runs with them."""

    backend: ModelBackend
    weights: bytes


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
        """
        ...

    async def aclose(self) -> None:
        """Release the resources of `setup`; called when the server closes."""
        ...

    def predict(self, input: Mapping[str, Any], run: RunHandle) -> AsyncGenerator[Any]:
        """Yield the output as JSON values: one, or one for each item.

        *input* is valid by the schema. Closing the generator stops the prediction.
        """
        ...

    async def train(self, input: Mapping[str, Any], run: RunHandle) -> Trained:
        """Train with *input*; `setup` need not have been called."""
        ...

"""The output of a prediction, with its files as `FileOutput`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from replicate_async.core.endpoint import shorten
from replicate_async.core.origin import Base
from replicate_async.files.find import Place, Shape, strings_in, wrapped
from replicate_async.files.opener import FileOpener
from replicate_async.schemas import Prediction
from replicate_async.schemas.output import decode_output

if TYPE_CHECKING:
    from replicate_async.files.output import FileOutput

T = TypeVar("T")


class FileSource(NamedTuple):
    """Makes `FileOutput` of the files in an output."""

    opener: FileOpener
    base: Base

    def file(self, url: str, prediction_id: str, place: Place | None) -> FileOutput:
        """Return the file at *url*, and at *place* in the output of a prediction."""
        from replicate_async.files.output import FileOutput  # noqa: PLC0415 - for files only

        return FileOutput._made_by(self.opener, url, prediction_id, place)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - not for callers

    def output(self, prediction: Prediction, shape: Shape | None) -> Any:
        """Return the output of *prediction* with its files as `FileOutput`."""

        def wrap(url: str, place: Place) -> FileOutput:
            return self.file(url, prediction.id, place)

        return wrapped(prediction.output, self.base, shape, wrap)

    def output_as(self, prediction: Prediction, type: type[T], shape: Shape | None = None) -> T:
        """Return the output of *prediction* as a *type*, which may contain `FileOutput`.

        The *shape* decides whether a list of strings is one text; without it `decode_output` does.
        """
        places: dict[str, Place] | None = None

        def hook(wanted: object, found: object) -> FileOutput:
            from replicate_async.files.output import FileOutput  # noqa: PLC0415 - for files only

            nonlocal places
            if wanted is not FileOutput or not isinstance(found, str):
                raise TypeError(f"{found.__class__.__name__} is no {shorten(wanted)}")
            if places is None:
                places = dict(strings_in(prediction.output))
            return self.file(found, prediction.id, places.get(found))

        is_text = None if shape is None else shape.is_text
        return decode_output(prediction.output, type, hook, is_text=is_text)

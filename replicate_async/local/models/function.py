"""A Python function as a model: its schema, its version id, and its runs."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import inspect
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from types import CodeType
from typing import Any

import anyio
import msgspec

from replicate_async.local.models.execution import as_exception, execute
from replicate_async.local.models.schema import (
    AnnotationError,
    OutputFile,
    Schema,
    SchemaBuilder,
)
from replicate_async.local.models.signature import (
    Signature,
    function_name,
    read_signature,
    underlying,
    yields_files,
)
from replicate_async.local.models.validation import check
from replicate_async.local.models.values import InputFolder, RunHandle, dump, load

__all__ = ["ModelFunction", "OutputFile", "RunHandle"]

_COG = {"title": "Cog", "version": "0.16.12"}
_TRAINING_OUTPUT: Schema = {
    "type": "object",
    "title": "TrainingOutput",
    "required": ["weights"],
    "properties": {"weights": {"type": "string", "format": "uri", "title": "Weights"}},
}


class ModelFunction:
    """A model made of a function, an asynchronous function or a generator of either kind.

    The annotations of *predict* are its schema, exactly as Cog reads them. *train* makes weights
    (bytes, an `OutputFile` or a `Path`) of its own inputs, and `with_weights` a version that gets
    them in the parameter of type `Weights`. *name* tells the versions of two models apart that run
    the same code.

    Raises `AnnotationError`, a `TypeError`, for annotations that no schema can be made of.
    """

    def __init__(
        self,
        predict: Callable[..., object],
        *,
        train: Callable[..., object] | None = None,
        description: str | None = None,
        name: str = "",
        weights: bytes | None = None,
    ) -> None:
        self.description: str | None = description if description is not None else _summary(predict)
        self.name = name
        self.weights = weights
        self.trainable: bool = train is not None
        self._predict = predict
        self._train = train
        builder = SchemaBuilder()
        self._signature = read_signature(predict, builder)
        components: dict[str, Schema] = {
            "Input": self._signature.input_schema("Input"),
            "Output": self._signature.output,
        }
        if train is not None:
            self._training = read_signature(train, builder, returns=False)
            if self._signature.weights is None:
                raise AnnotationError(
                    f"{function_name(predict)}(): a model that can be trained needs a parameter of "
                    f"type Weights, such as 'weights: Weights | None = None'"
                )
            components["TrainingInput"] = self._training.input_schema("TrainingInput")
            components["TrainingOutput"] = _TRAINING_OUTPUT
        self._components = {**builder.components, **components}
        self.openapi_schema: dict[str, Any] = {
            "openapi": "3.0.2",
            "info": dict(_COG),
            "paths": {},
            "components": {"schemas": self._components},
        }
        self.version_id: str = self._version_id()
        self.is_iterator: bool = self._signature.is_iterator
        self.file_stream: bool = yields_files(self._signature)
        self.streams: bool = self.file_stream or (self.is_iterator and self._signature.item is str)

    async def execute(self, input: Mapping[str, Any], context: RunHandle) -> AsyncGenerator[Any]:
        """Run the model and yield its output as JSON values, one for each item of an iterator.

        Unknown keys of *input* are ignored and defaults filled in. Whatever the model raises is
        raised here. Closing the generator stops the model at its next step and runs its ``finally``
        blocks; one that does not come back is left behind.
        """
        schema = self._signature.output
        expected = schema["items"] if self.is_iterator else schema
        async with aclosing(self._run(self._predict, self._signature, input, context)) as results:
            async for result in results:
                try:
                    value = await dump(result, context)
                except (Exception, asyncio.CancelledError):
                    raise
                except BaseException as error:
                    raise as_exception(error) from error  # of a property or an items() of its own
                self._check_output(value, expected)
                yield value

    async def execute_training(self, input: Mapping[str, Any], context: RunHandle) -> bytes:
        """Train with *input* and return the weights.

        Raises what the training function raises, and `RuntimeError` if there is none.
        """
        if self._train is None:
            raise RuntimeError("the model cannot be trained: it was made without train=")
        async with aclosing(self._run(self._train, self._training, input, context)) as results:
            async for result in results:
                return await _weights_bytes(result)
        raise RuntimeError("the training ended without weights")

    def with_weights(self, weights: bytes) -> ModelFunction:
        """Return a new version of the model, which runs with *weights*."""
        return ModelFunction(
            self._predict,
            train=self._train,
            description=self.description,
            name=self.name,
            weights=weights,
        )

    async def _run(
        self,
        function: Callable[..., object],
        signature: Signature,
        input: Mapping[str, Any],
        context: RunHandle,
    ) -> AsyncGenerator[object]:
        async with InputFolder() as folder:
            arguments = await _arguments(signature, input, context, folder)
            if signature.weights is not None:
                arguments[signature.weights] = self.weights
            call = partial(function, **arguments)
            async with aclosing(execute(call, context, iterates=signature.is_iterator)) as results:
                async for result in results:
                    yield result

    def _check_output(self, value: object, schema: Mapping[str, Any]) -> None:
        if type(value) is str and schema == {"type": "string"}:
            return
        if wrong := check(value, schema, self._components, root="output", nulls=True):
            raise TypeError(
                f"the model's output does not fit what its function says that it returns: "
                f"{wrong[0].field}: {wrong[0].description}"
            )

    def _version_id(self) -> str:
        parts = [self.name.encode(), _source(self._predict), self.weights or b""]
        if self._train is not None:
            parts.append(_source(self._train))
        parts.append(msgspec.json.encode(self.openapi_schema, order="deterministic"))
        digests = b"".join(hashlib.sha256(part).digest() for part in parts)
        return hashlib.sha256(digests).hexdigest()


async def _arguments(
    signature: Signature, input: Mapping[str, Any], context: RunHandle, folder: InputFolder
) -> dict[str, object]:
    arguments: dict[str, object] = {}
    for parameter in signature.parameters:
        if parameter.name in input:
            value = input[parameter.name]
        elif parameter.required:
            raise ValueError(f"the input {parameter.name!r} is required")
        else:
            # A copy, for the model may change what it is given.
            value = copy.copy(parameter.default)
        arguments[parameter.name] = await load(value, parameter.hint, context, folder)
    return arguments


async def _weights_bytes(result: object) -> bytes:
    if isinstance(result, OutputFile):
        return result.data
    if isinstance(result, Path):
        return await anyio.Path(result).read_bytes()
    if isinstance(result, bytes | bytearray):
        return bytes(result)
    raise TypeError(
        f"training returns its weights as bytes, an OutputFile or a Path, "
        f"not as {type(result).__qualname__}"
    )


def _summary(function: Callable[..., object]) -> str | None:
    text = inspect.getdoc(underlying(function)) or ""
    return text.partition("\n")[0].strip() or None


def _source(function: Callable[..., object]) -> bytes:
    target = underlying(function)
    try:
        return inspect.getsource(target).encode()
    except (OSError, TypeError):
        # Typed at a prompt, or not written in Python: its code, or at least its name.
        code = getattr(target, "__code__", None)
        return _code(code) if isinstance(code, CodeType) else function_name(function).encode()


def _code(code: CodeType) -> bytes:
    constants = [
        _code(part) if isinstance(part, CodeType) else repr(part).encode()
        for part in code.co_consts
    ]
    return b"\0".join([code.co_code, repr(code.co_names).encode(), *constants])

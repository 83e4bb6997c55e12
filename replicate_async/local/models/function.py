"""Python functions and classes as models."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import inspect
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from types import CodeType, MethodType
from typing import Any

import anyio
import msgspec

from replicate_async.interface.annotations import AnnotationError, SchemaBuilder, input_schema
from replicate_async.interface.types import OutputFile, Schema
from replicate_async.interface.validation import check
from replicate_async.local.models.backend import OutputKind, RunHandle, Trained
from replicate_async.local.models.execution import as_exception, execute
from replicate_async.local.models.files import InputFolder
from replicate_async.local.models.signature import (
    Signature,
    function_name,
    output_kind,
    read_signature,
    setup_weights,
    underlying,
)
from replicate_async.local.models.typed_function import TYPES, read_typed_signature
from replicate_async.local.models.values import dump, load, load_struct
from replicate_async.refs import parse_version
from replicate_async.typed import TypedModel

_COG = {"title": "Cog", "version": "0.16.12"}
_TRAINING_OUTPUT: Schema = {
    "type": "object",
    "title": "TrainingOutput",
    "required": ["weights"],
    "properties": {"weights": {"type": "string", "format": "uri", "title": "Weights"}},
}


class ModelFunction:
    """A `ModelBackend` made of a function or a class, whose annotations are the model's schema.

    Args:
        predict: A function, an asynchronous function or a generator of either kind; or a class
            with such a method `predict` (or `run`) and, optionally, a method `setup`, as Cog has
            them. Its annotations may be Cog's own.
        train: A function that returns weights: bytes, an `OutputFile` or a `Path`. They are passed
            to the parameter of type `Weights` of `predict`, or of a class's `setup`.
        description: One sentence; the first line of the docstring unless given.
        name: Part of the version id, so that two models may run the same code.
        weights: The weights of this version.
        concurrency: How many predictions run at once; 1 of a class, which has state, and
            `Settings.concurrency` of a function, unless given.
        model: The typed model that it stands in for. It then takes one parameter, the model's
            Input, and has the model's schema and version id. A file that the client sent is a
            `Path`, any other URL a `str`.

    Raises:
        AnnotationError: The annotations give no schema, or are not those of *model*; it is a
            `TypeError`.
    """

    def __init__(
        self,
        predict: Callable[..., object],
        *,
        train: Callable[..., object] | None = None,
        description: str | None = None,
        name: str = "",
        weights: bytes | None = None,
        concurrency: int | None = None,
        model: TypedModel[Any, Any] | None = None,
    ) -> None:
        if concurrency is not None and concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}; a model runs at least one at once")
        self._source = predict
        self._class = predict if inspect.isclass(predict) else None
        self._instance: Any = None
        if self._class is not None:
            predict = self._method = _method(self._class)
            description = _summary(self._source) if description is None else description
            concurrency = concurrency or getattr(predict, "__cog_concurrent_max__", 1)
        self.description: str | None = description if description is not None else _summary(predict)
        self.name = name
        self.weights = weights
        self.trainable: bool = train is not None
        self.needs_setup: bool = self._class is not None
        self.concurrency: int | None = concurrency
        self._predict = predict
        self._train = train
        self._model = model
        builder = SchemaBuilder() if model is None else SchemaBuilder(TYPES)
        if model is None:
            self._signature = read_signature(predict, builder)
        else:
            self._signature = read_typed_signature(predict, model, builder)
        self._setup_weights = None if self._class is None else setup_weights(self._class)
        components: dict[str, Schema] = {
            "Input": input_schema(self._signature.parameters, "Input"),
            "Output": self._signature.output,
        }
        if train is not None:
            self._training = read_signature(train, builder, returns=False)
            if self._signature.weights is None and self._setup_weights is None:
                raise AnnotationError(
                    f"{function_name(predict)}(): a model that can be trained needs a parameter of "
                    f"type Weights, such as 'weights: Weights | None = None'"
                )
            components["TrainingInput"] = input_schema(self._training.parameters, "TrainingInput")
            components["TrainingOutput"] = _TRAINING_OUTPUT
        self._components = {**builder.components, **components}
        self.openapi_schema: dict[str, Any] = {
            "openapi": "3.0.2",
            "info": dict(_COG),
            "paths": {},
            "components": {"schemas": self._components},
        }
        self.version_id: str = self._version_id()
        self.output: OutputKind = output_kind(self._signature)

    async def setup(self, log: Callable[[str], object]) -> None:
        """Make an instance of the class and call its ``setup``; a function needs nothing.

        Args:
            log: Takes a line for the logs.
        """
        if self._class is None:
            return
        make, name = self._class, self._setup_weights

        def set_up() -> object:
            instance: Any = make()
            self._instance = instance
            arguments = {} if name is None else {name: self.weights}
            return instance.setup(**arguments) if hasattr(instance, "setup") else None

        async with aclosing(execute(set_up, _SetupLog(log), iterates=False)) as done:
            async for _ in done:
                pass

    async def aclose(self) -> None:
        """Drop the instance."""
        self._instance = None

    async def predict(self, input: Mapping[str, Any], run: RunHandle) -> AsyncGenerator[Any]:
        """Run the model and yield its output as JSON values, one for each item of an iterator.

        Unknown keys of *input* are ignored and defaults filled in. An exception of the model is
        raised here. Closing the generator stops the model at its next step and runs its
        ``finally`` blocks; one that does not return is abandoned.

        Args:
            input: The input, valid by the schema.
            run: The run, for its files, logs and metrics.
        """
        function = self._predict
        if self._class is not None:
            if self._instance is None:
                raise RuntimeError("the model is not set up; await setup() first")
            function = getattr(self._instance, self._method.__name__)
        schema = self._signature.output
        expected = schema["items"] if self._signature.is_iterator else schema
        async with aclosing(self._run(function, self._signature, input, run)) as results:
            async for result in results:
                try:
                    value = await dump(result, run)
                except (Exception, asyncio.CancelledError):
                    raise
                except BaseException as error:
                    raise as_exception(error) from error  # of the output's own property or items()
                self._check_output(value, expected)
                yield value

    async def train(self, input: Mapping[str, Any], run: RunHandle) -> Trained:
        """Train a new version; the training function's errors are raised as they are.

        Args:
            input: The input, valid by the schema ``TrainingInput``.
            run: The run, for its files, logs and metrics.

        Raises:
            RuntimeError: There is no training function, or it returned no weights.
        """
        if self._train is None:
            raise RuntimeError("the model cannot be trained: it was made without train=")
        async with aclosing(self._run(self._train, self._training, input, run)) as results:
            async for result in results:
                weights = await _weights_bytes(result)
                return Trained(self.with_weights(weights), weights)
        raise RuntimeError("the training ended without weights")

    def with_weights(self, weights: bytes) -> ModelFunction:
        """Return a new version of the model.

        Args:
            weights: The weights that it runs with.
        """
        return ModelFunction(
            self._source,
            train=self._train,
            description=self.description,
            name=self.name,
            weights=weights,
            concurrency=self.concurrency,
            model=self._model,
        )

    async def _run(
        self,
        function: Callable[..., object],
        signature: Signature,
        input: Mapping[str, Any],
        run: RunHandle,
    ) -> AsyncGenerator[object]:
        async with InputFolder() as folder:
            arguments = await _arguments(signature, input, run, folder)
            if signature.weights is not None:
                arguments[signature.weights] = self.weights
            call = partial(function, **arguments)
            async with aclosing(execute(call, run, iterates=signature.is_iterator)) as results:
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
        if self._model is not None and self.weights is None:
            version = parse_version(self._model.ref).version
            if version is not None:
                return version
        parts = [self.name.encode(), _source(self._source), self.weights or b""]
        if self._train is not None:
            parts.append(_source(self._train))
        parts.append(msgspec.json.encode(self.openapi_schema, order="deterministic"))
        digests = b"".join(hashlib.sha256(part).digest() for part in parts)
        return hashlib.sha256(digests).hexdigest()


class _SetupLog:
    """The log of a setup, which is not part of a run."""

    canceled = False

    def __init__(self, log: Callable[[str], object]) -> None:
        self._log = log

    def log(self, text: str) -> None:
        self._log(text)

    def metric(self, name: str, value: float | str) -> None:
        del name, value  # a setup has no metrics


def _method(model: type) -> MethodType:
    """Return the method of a class that predicts, as if it were bound, to read its signature.

    It is called ``predict`` or, as of Cog 0.23, ``run``; the base class of Cog has both.
    """
    for name in ("predict", "run"):
        method = getattr(model, name, None)
        if inspect.isfunction(method) and method.__module__.partition(".")[0] != "cog":
            return MethodType(method, object())
    raise AnnotationError(f"{model.__qualname__}: a class that is a model has a method predict")


async def _arguments(
    signature: Signature, input: Mapping[str, Any], run: RunHandle, folder: InputFolder
) -> dict[str, object]:
    if signature.struct is not None:
        name, struct = signature.struct
        return {name: await load_struct(input, struct, signature.parameters, run, folder)}
    arguments: dict[str, object] = {}
    for parameter in signature.parameters:
        if parameter.name in input:
            value = input[parameter.name]
        elif parameter.required:
            raise ValueError(f"the input {parameter.name!r} is required")
        else:
            # A copy, for the model may change it.
            value = copy.copy(parameter.default)
        arguments[parameter.name] = await load(value, parameter.hint, run, folder)
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
    own = function.__doc__ if inspect.isclass(function) else None
    text = inspect.cleandoc(own or inspect.getdoc(underlying(function)) or "")
    return text.partition("\n")[0].strip() or None


def _source(function: Callable[..., object]) -> bytes:
    target = function if inspect.isclass(function) else underlying(function)
    try:
        return inspect.getsource(target).encode()
    except (OSError, TypeError):
        # Typed at a prompt, or not written in Python: its code, or its name.
        code = getattr(target, "__code__", None)
        return _code(code) if isinstance(code, CodeType) else function_name(function).encode()


def _code(code: CodeType) -> bytes:
    constants = [
        _code(part) if isinstance(part, CodeType) else repr(part).encode()
        for part in code.co_consts
    ]
    return b"\0".join([code.co_code, repr(code.co_names).encode(), *constants])

"""What ``client.use`` returns: `BoundModel`, a model as a function of its inputs."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NoReturn, TypeVar, cast

import msgspec

from replicate_async.core.endpoint import shorten
from replicate_async.core.secret import Secret
from replicate_async.errors import InvalidArgumentError
from replicate_async.files.inputs import encode_input
from replicate_async.interface.describe import inputs_table, inputs_text
from replicate_async.interface.input_check import InputCheck
from replicate_async.interface.read import InputField, Interface
from replicate_async.interface.structs import input_struct, output_type
from replicate_async.refs import VersionRef, parse_deployment, parse_version
from replicate_async.resources._prediction_calls import PredictionCalls
from replicate_async.resources._run_methods import RunMethods
from replicate_async.resources._target import Target
from replicate_async.resources.endpoints import (
    DEPLOYMENTS_GET,
    MODELS_GET_UNCACHED,
    MODELS_VERSIONS_GET,
)
from replicate_async.resources.predictions import Predictions
from replicate_async.runs.streaming.stream import Stream
from replicate_async.schemas import Prediction, Version
from replicate_async.typed import Contract, TypedModel

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from replicate_async.resources._arguments import (
        BatchArguments,
        CreateArguments,
        RunArguments,
        StreamArguments,
    )
    from replicate_async.runs.batch.batch import Batch

InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")


class Found(NamedTuple):
    """A model that was looked up."""

    ref: str
    """As it was named."""
    runs: VersionRef
    """What is run: the version that was read, unless the model is official or a deployment."""
    version: Version | None
    types_of: VersionRef
    """What a module of types names."""
    description: str | None = None


class BoundModel(Generic[InputT, OutputT]):
    """A model as a function of its inputs, from ``await client.use("owner/name")``.

    ``await model(prompt="Hi")`` runs it. Keyword arguments are inputs and nothing else; `run` takes
    an input and options. Inputs are checked before anything is sent, and the output has the type
    that the model's schema says. ``help(model)`` lists the inputs, and so does a notebook.
    """

    def __init__(self, calls: PredictionCalls, found: Found) -> None:
        document = None if found.version is None else found.version.openapi_schema
        interface = Interface.read(found.ref, document)
        known = interface.inputs is not None
        self.ref: str = found.ref
        self.version: str | None = None if found.version is None else found.version.id
        self.openapi_schema: Mapping[str, Any] = document or {}
        self.inputs: Mapping[str, InputField] = interface.inputs or {}
        self.input_type: type[InputT] = cast("type[InputT]", input_struct(interface))
        self.output_type: Any = output_type(interface) if known else Any
        self._interface = interface
        self._found = found
        self._contract = self._made_contract() if known else None
        target = Target(found.runs, self._contract)
        self._named = cast("str", target)  # the methods take a target in place of a name
        self._runs = RunMethods(calls)
        self._predictions = Predictions(calls)
        fields = msgspec.structs.fields(cast("type[msgspec.Struct]", self.input_type))
        self._keys = {field.name: field.encode_name for field in fields}
        self.__signature__: inspect.Signature = _signature(
            fields if known else None, self.output_type
        )
        self.__doc__ = _documentation(found, interface, self.output_type)

    def _made_contract(self) -> Contract:
        model = TypedModel[Any, Any](self.ref, input=self.input_type, output=self.output_type)
        return Contract(model, InputCheck(self._interface))

    async def __call__(self, /, **inputs: Any) -> OutputT:
        """Run the model with *inputs* and return its output.

        Args:
            inputs: The inputs, by the names that the model's schema has.

        Raises:
            InvalidInputError: The model does not take the inputs.
            PredictionError: The run failed, or was canceled.
        """
        given = {self._keys.get(name, name): value for name, value in inputs.items()}
        return await self.run(given)

    async def run(
        self, input: InputT | Mapping[str, object], /, **options: Unpack[RunArguments]
    ) -> OutputT:
        """Run the model and return its output; the other arguments are those of ``client.run``.

        Args:
            input: The input: the model's `input_type`, or a mapping.

        Raises:
            InvalidInputError: The model does not take the input.
            PredictionError: The run failed, or was canceled.
        """
        return cast("OutputT", await self._runs.run(self._named, cast("Any", input), **options))

    def stream(
        self, input: InputT | Mapping[str, object], /, **options: Unpack[StreamArguments]
    ) -> Stream:
        """Return the output as it is made; the other arguments are those of ``client.stream``.

        Args:
            input: The input: the model's `input_type`, or a mapping.

        Raises:
            InvalidInputError: The model does not take the input; raised when it is entered.
        """
        return self._runs.stream(self._named, cast("Any", input), **options)

    def batch(
        self,
        inputs: Iterable[InputT | Mapping[str, object]]
        | AsyncIterable[InputT | Mapping[str, object]]
        | object,
        /,
        prepare: Callable[[Any], Awaitable[Any]] | None = None,
        **options: Unpack[BatchArguments[OutputT]],
    ) -> Batch[OutputT]:
        """Run the model over many inputs; the other arguments are those of ``client.batch``.

        Args:
            inputs: The inputs: an iterable, an async iterable or a data frame.
            prepare: Makes an input of each item; without it, the items are the inputs.
        """
        batch: Batch[Any] = self._runs.batch(self._named, inputs, prepare=prepare, **options)
        return batch

    async def create(
        self, input: InputT | Mapping[str, object], /, **options: Unpack[CreateArguments]
    ) -> Prediction:
        """Start a prediction; the other arguments are those of ``client.predictions.create``.

        Args:
            input: The input: the model's `input_type`, or a mapping.

        Raises:
            InvalidInputError: The model does not take the input.
        """
        return await self._predictions.create(self._named, cast("Any", input), **options)

    def check(self, input: InputT | Mapping[str, object], /) -> None:
        """Check an input with the model's schema; nothing is sent.

        Args:
            input: The input: the model's `input_type`, or a mapping.

        Raises:
            InvalidInputError: The model does not take the input.
        """
        encoded = encode_input(cast("Any", input))
        if self._contract is not None:
            self._contract.check(input, encoded)

    def source(self) -> str:
        """Return the module of types that ``replicate-async types`` writes for the model."""
        from replicate_async.interface.source import module_source  # noqa: PLC0415 - for this only

        return module_source(
            str(self._found.types_of), self.openapi_schema, description=self._found.description
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError("a BoundModel is not pickled; pickle its ref, and use it again there")

    def __repr__(self) -> str:
        return f"<BoundModel {self.ref}>"

    def _repr_html_(self) -> str:
        return inputs_table(self._interface)


async def look_up(
    calls: PredictionCalls, model: str | None, deployment: str | None
) -> BoundModel[Any, Any]:
    """Fetch the schema of a model, a version or a deployment; ``client.use`` describes it."""
    if (model is None) is (deployment is None):
        raise InvalidArgumentError("give either a model or deployment=, and not both.")
    if model is not None:
        found = await _look_up_model(calls, model)
    else:
        found = await _look_up_deployment(calls, cast("str", deployment))
    if found.version is not None:
        calls.context.models.learn(found.version)
    return BoundModel(calls, found)


async def _look_up_model(calls: PredictionCalls, ref: str) -> Found:
    parsed = parse_version(ref)
    if parsed.model is None:
        raise InvalidArgumentError(
            f"model={shorten(ref)} is the id of a version alone, which the API does not look up; "
            'give "owner/name:version".'
        )
    path = parsed.model.path("model")
    if parsed.version is not None:
        path |= {"version_id": parsed.version}
        exact = await calls.context.call(MODELS_VERSIONS_GET, path)
        return Found(ref, parsed, exact, parsed)
    shown = await calls.context.call(MODELS_GET_UNCACHED, path)
    version = shown.latest_version
    pinned = parsed
    if version is not None and not shown.is_official:
        pinned = parsed._replace(version=version.id)
        calls.context.models.learn_latest(parsed.model, version)
    return Found(ref, pinned, version, pinned, shown.description)


async def _look_up_deployment(calls: PredictionCalls, ref: str) -> Found:
    parsed = parse_deployment(ref)
    named = cast("Any", parsed.deployment)
    shown = await calls.context.call(DEPLOYMENTS_GET, named.path("deployment"))
    release = shown.current_release
    if release is None or not release.model or not release.version:
        raise InvalidArgumentError(f"the deployment {ref} has no release yet.")
    deployed = parse_version(f"{release.model}:{release.version}")
    path = cast("Any", deployed.model).path("model") | {"version_id": release.version}
    version = await calls.context.call(MODELS_VERSIONS_GET, path)
    return Found(ref, parsed, version, deployed)


def _signature(
    fields: Iterable[msgspec.structs.FieldInfo] | None, output: object
) -> inspect.Signature:
    """Return the signature of a call; of a model without a schema, that of any inputs."""
    if fields is None:
        anything = inspect.Parameter("inputs", inspect.Parameter.VAR_KEYWORD, annotation=Any)
        return inspect.Signature([anything], return_annotation=Any)
    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_default_of(field),
            annotation=Secret | str if field.type is Secret else field.type,
        )
        for field in fields
    ]
    return inspect.Signature(parameters, return_annotation=output)


def _default_of(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return inspect.Parameter.empty if field.default is msgspec.NODEFAULT else field.default


def _documentation(found: Found, interface: Interface, output: object) -> str:
    about = " ".join((found.description or "A model as a function of its inputs.").split())
    nothing = "Unknown: the model has no schema." if interface.inputs is None else "None."
    inputs = (inputs_text(interface) or nothing).replace("\n", "\n    ")
    returned = inspect.formatannotation(output)
    return f"{found.ref}: {about}\n\nInputs:\n    {inputs}\n\nReturns:\n    {returned}\n"

"""Typed models: `TypedModel`, the name of a model with the types of its input and output."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast, overload

import msgspec

from replicate_async.core.endpoint import shorten
from replicate_async.errors import InvalidArgumentError, InvalidInputError, ReplicateError
from replicate_async.files.inputs import EncodedInput, encode_input
from replicate_async.files.values import Record
from replicate_async.refs import VersionRef, parse_version

if TYPE_CHECKING:
    from replicate_async.interface.input_check import InputCheck

InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")
GivenT = TypeVar("GivenT")

_SCHEMA_LINE: Final = re.compile(r"^Schema: ([0-9a-f]{12})\b", re.MULTILINE)


class TypedModel(Generic[InputT, OutputT]):
    """The name of a model with the types of its input and output: ``MODEL`` of a generated module.

    ``client.run(MODEL, Input(...))`` checks the input before anything is sent, and returns the
    output as its type. A `TypedModel` is immutable, and needs no client.

    Args:
        ref: "owner/name" or "owner/name:version".
        input: The msgspec Struct of the inputs. Its annotations say what the model takes.
        output: The type of the output; ``typing.Any`` for what ``client.run`` returns without a
            type.
        training: The Struct of the inputs of a training.

    Raises:
        InvalidArgumentError: *ref* is malformed, or *input* or *training* is not a Struct.
    """

    __slots__ = ("_contract", "input_type", "output_type", "ref", "training_type")

    ref: str
    """The model as it was named."""
    input_type: type[InputT]
    """The Struct of the inputs."""
    output_type: Any
    """The type of the output."""
    training_type: type[Any] | None
    """The Struct of the inputs of a training, if the model can be trained."""
    _contract: Contract

    @overload
    def __init__(
        self,
        ref: str,
        *,
        input: type[InputT],
        output: type[OutputT],
        training: type[Any] | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self: TypedModel[GivenT, Any],
        ref: str,
        *,
        input: type[GivenT],
        output: object,
        training: type[Any] | None = None,
    ) -> None: ...

    def __init__(
        self,
        ref: str,
        *,
        input: type[Any],
        output: object,
        training: type[Any] | None = None,
    ) -> None:
        parse_version(ref, "ref")
        for name, struct in (("input", input), ("training", training)):
            if struct is not None and not _is_struct(struct):
                raise InvalidArgumentError(f"{name}={shorten(struct)} must be a msgspec Struct.")
        values = (Contract(self), input, output, ref, training)
        for name, value in zip(TypedModel.__slots__, values, strict=True):
            object.__setattr__(self, name, value)

    def check(self, input: InputT | Mapping[str, object]) -> None:
        """Raise an error if the model does not take *input*; nothing is sent.

        Args:
            input: An instance of `input_type`, or a mapping.

        Raises:
            InvalidInputError: The input is wrong; ``invalid_fields`` says where.
            InvalidArgumentError: A value cannot be sent as JSON.
        """
        self._contract.check(input, encode_input(cast("Record", input)))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a TypedModel is immutable; {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a TypedModel is immutable; {name} cannot be deleted")

    def __copy__(self) -> TypedModel[InputT, OutputT]:
        return self

    def __deepcopy__(self, memo: object) -> TypedModel[InputT, OutputT]:
        return self

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        # By its name: a type such as `list[FileOutput] | None` cannot be pickled.
        name = _global_name(self)
        if name is not None:
            return _global, (self.input_type.__module__, name)
        return _made, (self.ref, self.input_type, self.output_type, self.training_type)

    def __repr__(self) -> str:
        return f"<TypedModel {self.ref}>"


def contract_of(model: TypedModel[Any, Any]) -> Contract:
    """Return the contract of *model*, for the parts of this package that send its inputs."""
    if not isinstance(model, TypedModel):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
        raise InvalidArgumentError(
            f"model={shorten(model)} must be a TypedModel, such as the MODEL of a generated module."
        )
    return model._contract  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - the one door


class Contract:
    """What a `TypedModel` promises about inputs, and how errors tell that its types are old.

    *check* is made of the annotations of its Struct when it is first needed. One that is given was
    made of the schema that the API just returned.
    """

    __slots__ = ("_check", "_training", "is_live", "model")

    def __init__(self, model: TypedModel[Any, Any], check: InputCheck | None = None) -> None:
        self.model: TypedModel[Any, Any] = model
        self._check = check
        self._training: Contract | None = None
        self.is_live: bool = check is not None

    @property
    def ref(self) -> VersionRef:
        """The model, and its version if it is pinned."""
        return parse_version(self.model.ref)

    @property
    def output_type(self) -> Any:
        """The type of the output; `typing.Any` for one without a type."""
        return self.model.output_type

    @property
    def training(self) -> Contract:
        """The contract about the inputs of a training."""
        model = self.model
        if model.training_type is None:
            raise InvalidArgumentError(
                f"{model.ref} has no types for the input of a training; pass its name in place of "
                "the TypedModel to send an input unchecked."
            )
        if self._training is None:
            self._training = Contract(_made(model.ref, model.training_type, Any, None))
        return self._training

    @property
    def document(self) -> Mapping[str, Any]:
        """The schema of the inputs, as a version's ``openapi_schema`` has it."""
        return {"components": {"schemas": self.input_check.interface.components}}

    @property
    def input_check(self) -> InputCheck:
        """The check of inputs; raises `InvalidArgumentError` for annotations without a schema."""
        if self._check is None:
            from replicate_async.interface.annotations import AnnotationError  # noqa: PLC0415 - typed models only
            from replicate_async.interface.input_check import InputCheck  # noqa: PLC0415 - likewise

            try:
                self._check = InputCheck.of_struct(self.model.ref, self.model.input_type)
            except AnnotationError as error:
                raise InvalidArgumentError(f"{self.model.ref}: {error}.") from None
        return self._check

    def check(self, given: object, encoded: EncodedInput) -> None:
        """Raise `InvalidInputError` if the model does not take an input that was *encoded*."""
        model = self.model
        is_other = isinstance(given, msgspec.Struct) and not isinstance(given, model.input_type)
        if is_other and not self.is_live:
            wanted = _class_name(model.input_type)
            raise InvalidInputError(
                f"{model.ref}: input is a {_class_name(type(given))}; {_name(model)} takes a "
                f"{wanted} or a mapping.",
                invalid_fields=(),
            )
        refusal = self.input_check.refusal(encoded)
        if refusal is None:
            return
        message, name = refusal.message(model.ref), self.ref.model
        if not self.is_live and name is not None:
            message += (
                f"\nRegenerate its module with 'replicate-async types {name}', or pass "
                f'"{name}" itself to send this unchecked.'
            )
        raise InvalidInputError(message, invalid_fields=refusal.fields)

    def add_drift_note(self, error: ReplicateError) -> None:
        """Note that the types of a model without a version may be older than the model."""
        name = self.ref.model
        if self.is_live or name is None or self.ref.version is not None:
            return
        module = sys.modules.get(self.model.input_type.__module__)
        schema = _SCHEMA_LINE.search(getattr(module, "__doc__", None) or "")
        made = (
            f"were generated from schema {schema[1]}" if schema else "may be older than the model"
        )
        file = getattr(module, "__file__", None) or "FILE"
        error.add_note(f"The types of {name} {made}; see 'replicate-async types --check {file}'.")


def _is_struct(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, msgspec.Struct)


def _global_name(model: TypedModel[Any, Any]) -> str | None:
    """Return the name of *model* in the module of its input type."""
    module = sys.modules.get(model.input_type.__module__)
    names = {} if module is None else vars(module)
    return next((name for name, value in names.items() if value is model), None)


def _name(model: TypedModel[Any, Any]) -> str:
    name = _global_name(model)
    return model.ref if name is None else f"{_last(model.input_type.__module__)}.{name}"


def _class_name(cls: type[object]) -> str:
    return f"{_last(cls.__module__)}.{cls.__qualname__}"


def _last(module: str) -> str:
    return module.rpartition(".")[2]


def _global(module: str, name: str) -> object:
    """Return what a module calls *name*; a pickled `TypedModel` is found by it."""
    from importlib import import_module  # noqa: PLC0415 - few programs pickle models

    return getattr(import_module(module), name)


def _made(
    ref: str, input: type[Any], output: object, training: type[Any] | None
) -> TypedModel[Any, Any]:
    return TypedModel[Any, Any](ref, input=input, output=output, training=training)

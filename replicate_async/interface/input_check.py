"""The check of a model's inputs before they are sent: `InputCheck`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from replicate_async.files.inputs import EncodedInput
from replicate_async.interface.annotations import SchemaBuilder, input_schema
from replicate_async.interface.names import is_encodable
from replicate_async.interface.read import Interface
from replicate_async.interface.refusal import Refusal, refuse, with_urls
from replicate_async.interface.structs import quick_struct


class InputCheck:
    """Checks inputs of one model: a decoder of msgspec accepts most, the walk decides the others.

    The decoder accepts only what the walk accepts. It does not know every keyword: the inputs of
    some models are always walked.
    """

    __slots__ = ("_is_of_struct", "_quick", "interface")

    def __init__(self, interface: Interface, *, is_of_struct: bool = False) -> None:
        self.interface: Interface = interface
        self._quick = quick_struct(interface)
        self._is_of_struct = is_of_struct

    @classmethod
    def of_struct(cls, ref: str, struct: type[msgspec.Struct]) -> InputCheck:
        """Return the check that the annotations of *struct* describe; raises `AnnotationError`."""
        return cls(Interface.read(ref, document_of(struct)), is_of_struct=True)

    def refusal(self, encoded: EncodedInput, *, unknown: bool = True) -> Refusal | None:
        """Return what is wrong with an encoded input, None if the model takes it.

        Names that the model does not have are wrong if *unknown*.
        """
        if self._quick is not None:
            values = with_urls(encoded.values) if encoded.slots else encoded.values
            try:
                msgspec.convert(values, self._quick)
            except (msgspec.ValidationError, OverflowError):
                pass
            else:
                return None
        values = encoded.values
        if self._is_of_struct:  # no field of a Struct can have such a name, but an input can
            values = {name: value for name, value in values.items() if is_encodable(name)}
        return refuse(values, self.interface, unknown=unknown, secrets=encoded.secrets)


def document_of(struct: type[msgspec.Struct]) -> Mapping[str, Any]:
    """Return a document with the schema of inputs that are the fields of *struct*."""
    builder = SchemaBuilder({Any: {}})
    fields = builder.fields(struct, where=f"the Struct {struct.__qualname__}")
    schema = input_schema(fields, "Input")
    return {"components": {"schemas": {**builder.components, "Input": schema}}}

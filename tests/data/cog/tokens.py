"""A model of Cog: unions, objects and lists as inputs, and text in pieces as its output."""

from typing import Annotated, Any, TypedDict

from cog import BaseRunner, ConcatenateIterator, Input, Opaque


class Message(TypedDict):
    role: str
    content: str


class Runner(BaseRunner):
    def run(
        self,
        messages: list[Message] = Input(description="The conversation"),
        seed: int | str = Input(default=1),
        limit: float | str | None = Input(default=None),
        stop: str | None = Input(default=None),
        weights: list[float] = Input(default=[0.5, 1.0]),
        options: dict[str, Any] = Input(default={"top_k": 50}),
        message: Message | None = Input(default=None),
        tags: list[str] | None = Input(default=None),
        tool: Annotated[Message | None, Opaque] = Input(default=None),
        tools: list[Annotated[Message, Opaque]] = Input(default=[]),
    ) -> ConcatenateIterator[str]:
        yield from (message["content"] for message in messages)
        yield f" {seed!r} {weights} {options} {tool} {tools}"

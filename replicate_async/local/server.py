"""The embedded server as an object: its models, accounts, faults and clock."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias, TypeVar, cast, get_args, overload

import anyio

from replicate_async.arguments import (
    check_choice,
    check_count,
    check_flags,
    check_instance,
    check_text,
)
from replicate_async.core.endpoint import shorten
from replicate_async.errors import InvalidArgumentError
from replicate_async.local import ids
from replicate_async.local.builtins import BUILTINS
from replicate_async.local.faults import Faults
from replicate_async.local.http.listener import Listener
from replicate_async.local.models.backend import ModelBackend
from replicate_async.local.models.function import ModelFunction
from replicate_async.local.operations.routes import HANDLERS
from replicate_async.local.runtime.webhook_sender import Attempt
from replicate_async.local.services import Services
from replicate_async.local.settings import Settings
from replicate_async.local.store.records import NAME, VERSION_ID, Account, Collection, Model
from replicate_async.schemas.values import Visibility
from replicate_async.typed import TypedModel

F = TypeVar("F", bound=Callable[..., object])
InputT = TypeVar("InputT")
ModelLike: TypeAlias = Callable[..., object] | ModelBackend
"""A function, a class with a method `predict`, or a backend."""


class Models(Protocol):
    """Models by "owner/name", or by the typed model that each stands in for: a dict."""

    # Of a union of mappings mypy infers no type for a literal, and their keys are invariant.
    def items(self) -> Iterable[tuple[str | TypedModel[Any, Any], ModelLike]]:
        """Return the pairs of names and models."""
        ...


_BUILTIN_COLLECTION = "built-in"
# A wildcard address is not one to connect to, and a client refuses to send its token there.
_LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here


class LocalReplicate:
    """A server for the Replicate API on this machine, as an async context manager.

    It keeps real state and really runs its models. It starts once; leaving the context cancels
    every run and closes every connection.

    Example::

        async with LocalReplicate() as server:
            client = Replicate(server.api_token, base_url=server.url)

    Args:
        host: The address to listen at.
        port: The port to listen at; 0 takes a free one.
        api_token: The token of the user *username*; random unless given.
        username: The owner of models that clients create.
        models: Functions, classes or backends by "owner/name"; more are added with `model`. A
            function for a `TypedModel` is a test double: it takes the model's Input, and runs
            under the model's own version id; a model without a version is official.
        builtins: Whether the built-in models, such as "local/storyteller", are there.
        faults: Faults to inject; none unless given.
        settings: Limits, times and sizes.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        api_token: str | None = None,
        username: str = "dev",
        models: Models | None = None,
        builtins: bool = True,
        faults: Faults | None = None,
        settings: Settings | None = None,
    ) -> None:
        check_text("host", host)
        check_count("port", port, 0, 65_535, optional=False)
        check_flags(builtins=builtins)
        _check_username(username)
        self.settings: Settings = Settings() if settings is None else settings
        self.faults: Faults = Faults() if faults is None else faults
        check_instance("settings", self.settings, Settings)
        check_instance("faults", self.faults, Faults)
        if api_token is not None:
            check_text("api_token", api_token)
        self.api_token: str = api_token or ids.api_token()
        self.username = username
        self._host = host
        self._services = Services(self.settings, self.faults)
        self._listener = Listener(self._services, HANDLERS, host, port)
        self._account = Account(username=username, name=username.title())
        self._services.store.add_account(self._account, self.api_token)
        self._closed = False
        if builtins:
            self._add_builtins()
        for ref, function in () if models is None else models.items():
            self.add_model(cast("str", ref), function)  # or a TypedModel

    def __repr__(self) -> str:
        return f"<LocalReplicate {self.origin if self._listener.running else 'not started'}>"

    @property
    def origin(self) -> str:
        """Scheme, host and port, such as "http://127.0.0.1:8080"."""
        if not self._listener.running:
            raise RuntimeError("the server is not running; use it in an async with statement")
        host = _LOOPBACK_OF.get(self._host, self._host)
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self._listener.port}"

    @property
    def url(self) -> str:
        """The API's base URL, which ends in ``/v1``; pass it as *base_url* to a client."""
        return f"{self.origin}/v1"

    @property
    def webhook_attempts(self) -> Sequence[Attempt]:
        """The last 1,000 attempts to call a webhook, with their results."""
        return list(self._services.webhooks.attempts)

    def model(
        self,
        ref: str,
        *,
        train: Callable[..., object] | None = None,
        description: str | None = None,
        concurrency: int | None = None,
        visibility: str = "public",
        official: bool = False,
        hidden: bool = False,
        readme: str | None = None,
        examples: Sequence[Mapping[str, Any]] = (),
    ) -> Callable[[F], F]:
        """Return a decorator that registers a function as the newest version of the model *ref*.

        The function's parameters are the model's inputs, its result is the output. It may be
        asynchronous, a generator of either kind, or a class with a method `predict`, whose `setup`
        is called before the first prediction.

        Example::

            @server.model("acme/resize")
            def resize(image: InputFile, width: int = 512) -> OutputFile: ...

        Args:
            ref: "owner/name".
            train: A function that returns weights, which makes the model trainable.
            description: One sentence; the first line of the docstring unless given.
            concurrency: How many predictions run at once; 1 of a class, and
                `Settings.concurrency` of a function, unless given.
            visibility: "public" or "private".
            official: Whether the model runs without a version being named.
            hidden: Whether predictions show "hidden" for the version.
            readme: Markdown.
            examples: Inputs, which run when the model's examples are first listed.

        Raises:
            AnnotationError: The annotations give no schema; it is a `TypeError`.
            ValueError: *ref* is not "owner/name".
        """
        check_count("concurrency", concurrency, 1, sys.maxsize)

        def register(function: F) -> F:
            made = ModelFunction(
                function,
                train=train,
                description=description,
                name=ref,
                concurrency=concurrency,
            )
            self.add_model(
                ref,
                made,
                visibility=visibility,
                official=official,
                hidden=hidden,
                readme=readme,
                examples=examples,
            )
            return function

        return register

    @overload
    def add_model(self, ref: TypedModel[InputT, Any], model: Callable[[InputT], object]) -> str: ...

    @overload
    def add_model(
        self,
        ref: str,
        model: ModelLike,
        *,
        visibility: str = "public",
        official: bool = False,
        hidden: bool = False,
        readme: str | None = None,
        examples: Sequence[Mapping[str, Any]] = (),
    ) -> str: ...

    def add_model(
        self,
        ref: str | TypedModel[Any, Any],
        model: ModelLike,
        *,
        visibility: str = "public",
        official: bool = False,
        hidden: bool = False,
        readme: str | None = None,
        examples: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """Register *model* as the newest version of the model *ref* and return the version's id.

        Args:
            ref: "owner/name", or the `TypedModel` that *model* stands in for.
            model: A function, a class with a method `predict`, or a `ModelBackend`.
            visibility: As for `model`, like the other options.
            official: Whether the model runs without a version being named.
            hidden: Whether predictions show "hidden" for the version.
            readme: Markdown.
            examples: Inputs, which run when the model's examples are first listed.

        Raises:
            AnnotationError: The annotations give no schema; it is a `TypeError`.
            ValueError: *ref* is not "owner/name", or a backend's `version_id` is not 64 hexadecimal
                digits.
        """
        typed = ref if isinstance(ref, TypedModel) else None
        if isinstance(ref, TypedModel):
            ref, pinned, _ = ref.ref.partition(":")
            official = official or not pinned
        owner, name = _split(ref)
        check_choice("visibility", visibility, get_args(Visibility))
        check_flags(official=official, hidden=hidden)
        if not isinstance(model, ModelBackend):
            model = ModelFunction(model, name=ref, model=typed)
        backend: ModelBackend = model
        if not VERSION_ID.fullmatch(backend.version_id):
            raise ValueError(f"the version id {backend.version_id!r} is not 64 hexadecimal digits")
        store = self._services.store
        record = store.models.get(ref)
        if record is None:
            record = Model(owner, name, self._services.clock.stamp(), visibility=visibility)
            store.models[ref] = record
            if owner not in {"local", "replicate"}:
                # The token may then train into the model and delete it.
                self._account.organizations.add(owner)
        record.description = backend.description or record.description
        record.official = official or record.official
        record.hidden = hidden or record.hidden
        record.readme = readme if readme is not None else record.readme
        record.example_inputs = examples or record.example_inputs
        return store.add_version(record, backend).id

    def add_account(
        self, username: str, *, type: str = "user", api_token: str | None = None
    ) -> str:
        """Add a second account and return its API token.

        Args:
            username: The name of the account.
            type: "user" or "organization".
            api_token: The token of the account; random unless given.
        """
        _check_username(username)
        token = api_token or ids.api_token()
        account = Account(username=username, name=username.title(), type=type)
        self._services.store.add_account(account, token)
        return token

    def add_collection(
        self, slug: str, models: Sequence[str], *, name: str | None = None, description: str = ""
    ) -> None:
        """Add a collection of models.

        Args:
            slug: The name of the collection in URLs.
            models: The "owner/name" of registered models.
            name: The title; made of *slug* unless given.
            description: One sentence.

        Raises:
            KeyError: A model is not registered.
        """
        store = self._services.store
        title = name or slug.replace("-", " ").capitalize()
        store.collections[slug] = Collection(
            slug, title, description, [store.models[ref] for ref in models]
        )

    def sign_download(self, file_id: str, *, expiry: int) -> dict[str, str]:
        """Return the query of files.download for a file of the token's account.

        The API does not publish the key that signs downloads; this is for tests.

        Args:
            file_id: The id of the file.
            expiry: Until when the link holds, in Unix seconds.
        """
        signature = self._services.store.files.signature(self.username, file_id, expiry)
        return {"owner": self.username, "expiry": str(expiry), "signature": signature}

    def advance(self, seconds: float) -> None:
        """Move the server's clock forward: deadlines, expiries and retries fall due.

        A test of an hour then takes no time.

        Args:
            seconds: By how much.
        """
        self._services.clock.advance(seconds)

    async def start(self) -> None:
        """Listen; ``async with`` does this."""
        if self._listener.running or self._closed:
            raise RuntimeError("a LocalReplicate starts once; make another one")
        try:
            await self._listener.start(self._services.close)
        except OSError:
            await self.close()
            raise

    async def close(self) -> None:
        """Cancel every run and close every connection; ``async with`` does this."""
        if self._closed:
            return
        self._closed = True
        await self._listener.close()
        await self._services.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # In a cancelled scope of anyio every await is cancelled, and connections would stay open.
        with anyio.CancelScope(shield=True):
            await self.close()

    def _add_builtins(self) -> None:
        for ref, make in BUILTINS.items():
            # The example of the API's specification is a community model, which needs a version.
            self.add_model(ref, make(), official=ref.startswith("local/"))
        self.add_collection(
            _BUILTIN_COLLECTION,
            list(BUILTINS),
            name="Built-in models",
            description="Models that come with the embedded server",
        )


async def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    api_token: str | None = None,
    models: Models | None = None,
    builtins: bool = True,
    settings: Settings | None = None,
    ready: Callable[[LocalReplicate], None] | None = None,
) -> None:
    """Run a `LocalReplicate` until the task is cancelled.

    Args:
        host: The address to listen at.
        port: The port to listen at; 0 takes a free one.
        api_token: The token of the account; random unless given.
        models: Functions, classes or backends by "owner/name".
        builtins: Whether the built-in models are there.
        settings: Limits, times and sizes.
        ready: Called with the server once it listens.
    """
    server = LocalReplicate(
        host, port, api_token=api_token, models=models, builtins=builtins, settings=settings
    )
    async with server:
        if ready is not None:
            ready(server)
        await asyncio.Event().wait()


def _check_username(name: object) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InvalidArgumentError(
            f"username={shorten(name)} must be of lower-case letters, digits, dashes, dots and _."
        )


def _split(ref: str) -> tuple[str, str]:
    owner, slash, name = ref.partition("/")
    if not (slash and NAME.fullmatch(owner) and NAME.fullmatch(name)):
        raise ValueError(
            f'{ref!r} is not "owner/name" of lower-case letters, digits, dashes, dots and "_"'
        )
    return owner, name

"""The client: its options, its resources, and the calls that run models."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from replicate_async.arguments import check_instance
from replicate_async.config import (
    Auth,
    read_auth,
    read_base,
    read_hooks,
    read_limiter,
    read_options,
    read_prices,
    read_proxy,
    read_timeout,
    read_token_with,
    read_trust_env,
    read_user_agent,
)
from replicate_async.context import ClientContext
from replicate_async.core.limits import Limiter, Limits, RateLimiters
from replicate_async.core.retry import Retry, RetryBudget
from replicate_async.core.timeout import Timeout
from replicate_async.core.usage import Price, Usage
from replicate_async.files.opener import FileOpener
from replicate_async.hooks import Hooks, ResponseEvent
from replicate_async.resources._prediction_calls import PredictionCalls
from replicate_async.resources._run_methods import RunMethods
from replicate_async.resources.account import AccountResource
from replicate_async.resources.collections import Collections
from replicate_async.resources.deployments import Deployments
from replicate_async.resources.files import Files
from replicate_async.resources.hardware import HardwareResource
from replicate_async.resources.models import Models
from replicate_async.resources.predictions import Predictions
from replicate_async.resources.search import search
from replicate_async.resources.trainings import Trainings
from replicate_async.resources.webhooks import Webhooks
from replicate_async.schemas import Prediction, SearchResults, Version
from replicate_async.transport.observation import capture
from replicate_async.transport.sender import RequestSender

if TYPE_CHECKING:
    from ssl import SSLContext

    import aiohttp

    from replicate_async.bound import BoundModel


class Replicate(RunMethods):
    """A client of the Replicate API; use it with ``async with``, or call ``aclose()`` at the end.

    It connects at the first request, in the running event loop.

    Example::

        async with Replicate() as client:
            text = await client.run("owner/name", {"prompt": "Hi"}, type=str)

    Args:
        api_token: The API token; REPLICATE_API_TOKEN by default. It is sent to the origin of the
            base URL only.
        base_url: The address of the API; REPLICATE_BASE_URL by default, or that of the service.
            One without a path gets ``/v1``. ``http:`` is refused, except for this machine.
        timeout: A `Timeout`, or the seconds for its ``read`` (30 by default).
        retry: How often failed requests are repeated; `Retry()` by default.
        limits: How many requests are sent a minute; by default the API's limits, `Limits()`.
        limiter: A `Limiter` that processes share, in place of *limits* (``limits.connects`` holds).
        session: An ``aiohttp.ClientSession`` for the API, which the client does not close. Files
            and streams of other hosts use its proxy and connector, not its headers and cookies.
        proxy: A proxy for all connections, such as "http://host:port".
        ssl: An ``ssl.SSLContext`` or ``aiohttp.Fingerprint`` for all connections; False for no
            verification.
        trust_env: Whether to use the proxies that the environment names.
        user_agent: The User-Agent header; this package and its version by default.
        headers: Headers for requests to the origin of the base URL, such as those that a gateway
            asks for; hidden as the token is.
        auth: "headers" if *headers* authenticate and there is no token.
        hooks: Functions that are called around each request.
        prices: What runs cost, for ``usage``: functions of a run's ``metrics``, by "owner/name".
        allow_insecure: Whether *base_url* may begin with ``http:`` for other machines.
        trusted_hosts: Names of hosts, such as "files.corp.example", from which, and from the names
            below which, files and streams are read over https at any address, a private one too.

    Raises:
        InvalidArgumentError: An option is wrong, or there is no token.
    """

    def __init__(
        self,
        api_token: str | None = None,
        *,
        base_url: str | None = None,
        timeout: Timeout | float | None = None,
        retry: Retry | None = None,
        limits: Limits | None = None,
        limiter: Limiter | None = None,
        session: aiohttp.ClientSession | None = None,
        proxy: str | None = None,
        ssl: SSLContext | bool | aiohttp.Fingerprint = True,
        trust_env: bool = False,
        user_agent: str | None = None,
        headers: Mapping[str, str] | None = None,
        auth: Auth = "token",
        hooks: Hooks | None = None,
        prices: Mapping[str, Price] | None = None,
        allow_insecure: bool = False,
        trusted_hosts: Collection[str] = (),
    ) -> None:
        # Not at the top of the file: a program that needs only types does not load aiohttp.
        from replicate_async.transport.connections import (  # noqa: PLC0415 - imports aiohttp
            Connections,
            read_tls,
        )
        from replicate_async.transport.transport import (  # noqa: PLC0415 - imports aiohttp
            Transport,
        )

        retry = read_options(Retry, retry, "retry")
        limits = read_options(Limits, limits, "limits")

        try:
            base = read_base(base_url, allow_insecure=allow_insecure, trusted_hosts=trusted_hosts)
            token = read_auth(api_token, headers, auth)
            connections = Connections(
                connects=limits.connects,
                proxy=read_proxy(proxy),
                tls=read_tls(ssl),
                trust_env=read_trust_env(trust_env, session),
            )
        finally:
            del api_token, base_url, headers, proxy  # tracebacks may be printed with their locals
        sender = RequestSender(
            base=base,
            token=token,
            user_agent=read_user_agent(user_agent),
            timeout=read_timeout(timeout),
            retry=retry,
            budget=RetryBudget(retry.budget),
            rate_limiters=RateLimiters(limits),
            limiter=read_limiter(limiter),
            transport=Transport(session=session, connections=connections),
            hooks=read_hooks(hooks),
        )
        self._bind(ClientContext.of(sender, read_prices(prices)))

    def _bind(self, context: ClientContext) -> None:
        self._context = context
        calls = PredictionCalls(context)
        super().__init__(calls)
        self.account: AccountResource = AccountResource(context)
        self.collections: Collections = Collections(context)
        self.deployments: Deployments = Deployments(self._calls)
        self.files: Files = Files(context)
        self.hardware: HardwareResource = HardwareResource(context)
        self.models: Models = Models(context)
        self.predictions: Predictions = Predictions(self._calls)
        self.trainings: Trainings = Trainings(self._calls)
        self.webhooks: Webhooks = Webhooks(context)

    @property
    def _file_opener(self) -> FileOpener:
        return self._calls.files.opener

    def with_options(
        self,
        *,
        api_token: str | None = None,
        timeout: Timeout | float | None = None,
        retry: Retry | None = None,
        limits: Limits | None = None,
        limiter: Limiter | None = None,
        user_agent: str | None = None,
        hooks: Hooks | None = None,
    ) -> Self:
        """Return a copy with other options, over the same connections: closing one closes both.

        An option that is left out stays. The copy shares the pace of this client, unless
        *api_token* or *limits* differ.

        Example::

            patient = client.with_options(timeout=120)

        Args:
            api_token: Another API token.
            timeout: A `Timeout`, or the seconds for its ``read``.
            retry: How often failed requests are repeated.
            limits: How many requests are sent a minute.
            limiter: A `Limiter` that processes share, in place of *limits*.
            user_agent: The User-Agent header.
            hooks: Functions that are called around each request.

        Raises:
            InvalidArgumentError: An option is wrong.
        """
        sender = self._context.sender
        changes: dict[str, Any] = {}
        if api_token is not None:
            try:
                token = read_token_with(api_token, sender.token)
            finally:
                del api_token  # tracebacks may be printed with their locals
            if token.fields != sender.token.fields:
                # The API counts by account.
                changes |= {
                    "token": token,
                    "rate_limiters": RateLimiters(sender.rate_limiters.limits),
                }
        if timeout is not None:
            changes["timeout"] = read_timeout(timeout)
        if retry is not None:
            retry = read_options(Retry, retry, "retry")
            changes |= {"retry": retry, "budget": RetryBudget(retry.budget)}
        if limiter is not None:
            changes["limiter"] = read_limiter(limiter)
        if limits is not None:
            changes["rate_limiters"] = RateLimiters(read_options(Limits, limits, "limits"))
        if user_agent is not None:
            changes["user_agent"] = read_user_agent(user_agent)
        if hooks is not None:
            changes["hooks"] = read_hooks(hooks)
        copy = object.__new__(type(self))
        copy._bind(self._context.with_sender(replace(sender, **changes)))
        return copy

    @property
    def usage(self) -> Usage:
        """What the runs used that this client saw end, by model: a snapshot.

        Each run counts once, failed and canceled ones too. A stream counts when its ``final()``
        is read.

        Example::

            print(client.usage.total.predict_seconds)
        """
        return self._context.tracker.usage.usage()

    def capture(self) -> AbstractContextManager[list[ResponseEvent]]:
        """Collect what is known of the answers to the requests that a ``with`` block sends.

        Tasks that are started in the block count; polls, which all waits share, do not.

        Example::

            with client.capture() as calls:
                await client.models.get("owner/name")
            print(calls[-1].status, calls[-1].request_id)
        """
        return capture(self._context.sender.transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the running batches and close the connections; the client cannot be used again."""
        async with AsyncExitStack() as stack:  # each is closed, also when another is cancelled
            stack.push_async_callback(self._context.sender.transport.aclose)
            for batch in self._context.batches:
                stack.push_async_callback(batch.aclose)

    def __repr__(self) -> str:
        sender = self._context.sender
        return f"<Replicate {sender.base.url} {sender.transport.state}>"

    async def use(
        self, model: str | None = None, *, deployment: str | None = None
    ) -> BoundModel[Any, Any]:
        """Look up a model, and return it as a function of its inputs.

        The schema is read once, with one request for a model and two for a deployment. The version
        that was read is run, unless the model is official or a deployment.

        Example::

            painter = await client.use("owner/painter")
            images = await painter(prompt="A fox", width=512)
            help(painter)

        Args:
            model: "owner/name" or "owner/name:version".
            deployment: A deployment in place of a model, "owner/name".

        Raises:
            NotFoundError: The model, version or deployment is unknown.
            InvalidArgumentError: *model* is the id of a version alone, which the API does not look
                up.
        """
        from replicate_async.bound import look_up  # noqa: PLC0415 - brings what reads schemas

        return await look_up(self._calls, model, deployment)

    async def search(self, query: str, *, limit: int | None = None) -> SearchResults:
        """Search models, collections and documentation pages; a beta of the API (search).

        Args:
            query: The text to search for.
            limit: The most models, 1 to 50; 20 by default.
        """
        return await search(self._context, query, limit)

    def parse_output(self, prediction: Prediction, *, version: Version | None = None) -> Any:
        """Return the output of a prediction, with its files as `FileOutput`.

        Args:
            prediction: A prediction, such as ``predictions.get`` returns.
            version: The version whose schema says which strings are files. By default the schema
                that was looked up; without one, files are the URLs of Replicate's delivery and of
                the API, and data URLs. Other https URLs stay text.
        """
        check_instance("prediction", prediction, Prediction)
        return self._calls.output(prediction, version)

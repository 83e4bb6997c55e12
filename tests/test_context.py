"""Copies of a client share their state; a copy with another token has its own."""

from __future__ import annotations

from dataclasses import fields

from replicate_async import Limits, Replicate, Retry
from replicate_async.context import ClientContext, context_of
from tests.support.sentinel import TOKEN

SHARED = {field.name for field in fields(ClientContext)} - {"sender"}


def shared(one: Replicate, other: Replicate) -> set[str]:
    """Return the parts of the contexts that are the same object."""
    contexts = context_of(one), context_of(other)
    return {name for name in SHARED if len({id(getattr(each, name)) for each in contexts}) == 1}


def test_a_copy_with_other_options_shares_all_but_its_sender() -> None:
    client = Replicate(TOKEN)
    copy = client.with_options(timeout=3, retry=Retry(attempts=1), user_agent="a/1")
    one, other = context_of(client).sender, context_of(copy).sender

    assert shared(client, copy) == SHARED
    assert other.transport is one.transport
    assert other.rate_limiters is one.rate_limiters
    assert (other.timeout.read, other.retry.attempts, other.user_agent) == (3, 1, "a/1")
    assert one.user_agent != "a/1"


def test_a_copy_with_another_token_has_waits_a_secret_and_a_pace_of_its_own() -> None:
    client = Replicate(TOKEN)
    copy = client.with_options(api_token=TOKEN[::-1])
    one, other = context_of(client).sender, context_of(copy).sender

    assert shared(client, copy) == SHARED - {"tracker", "webhook_secret"}
    assert other.rate_limiters is not one.rate_limiters


def test_a_copy_with_the_same_token_is_the_same_account() -> None:
    client = Replicate(TOKEN)

    assert shared(client, client.with_options(api_token=TOKEN)) == SHARED


def test_a_copy_with_other_limits_has_a_pace_of_its_own() -> None:
    client = Replicate(TOKEN)
    copy = client.with_options(limits=Limits(creates=6))

    assert shared(client, copy) == SHARED
    assert context_of(copy).sender.rate_limiters is not context_of(client).sender.rate_limiters


def test_the_repr_of_a_context_does_not_show_the_token() -> None:
    context = context_of(Replicate(TOKEN))

    assert TOKEN not in f"{context!r} {context.webhook_secret!r} {context.models!r}"

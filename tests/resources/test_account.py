from __future__ import annotations

import pytest

from replicate_async import Account, AuthenticationError, Replicate
from replicate_async.local import LocalReplicate

pytestmark = pytest.mark.anyio


async def test_the_account_is_that_of_the_token(client: Replicate) -> None:
    account = await client.account.get()

    assert account == Account(
        type="user",
        username="dev",
        name="Dev",
        github_url="https://github.com/dev",
        avatar_url="https://github.com/dev.png",
    )


async def test_another_token_is_another_account(server: LocalReplicate, client: Replicate) -> None:
    token = server.add_account("acme", type="organization")

    account = await client.with_options(api_token=token).account.get()

    assert (account.username, account.type) == ("acme", "organization")
    assert (await client.account.get()).username == "dev"


async def test_a_wrong_token_is_refused_without_being_shown(client: Replicate) -> None:
    stranger = client.with_options(api_token="r8_unknown")

    with pytest.raises(AuthenticationError) as caught:
        await stranger.account.get()

    assert str(caught.value) == (
        "GET /account answered 401: Unauthenticated: You did not pass a valid authentication "
        "token. Set REPLICATE_API_TOKEN, or pass api_token=, to a token of replicate.com/account."
    )
    assert caught.value.status == 401

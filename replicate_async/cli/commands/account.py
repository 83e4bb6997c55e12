"""``account``: the account that the token belongs to."""

from __future__ import annotations

from replicate_async.cli.console import write_card
from replicate_async.cli.options import DEFAULTS, Options
from replicate_async.cli.records import show_record
from replicate_async.schemas import Account


async def account(*, options: Options = DEFAULTS) -> None:
    """Show the account that the token belongs to.

    $ replicate-async account --json
    """
    await show_record(options, "account", lambda client: client.account.get(), _show)


def _show(found: Account) -> None:
    write_card(
        {
            "username": found.username,
            "type": found.type,
            "name": found.name,
            "github": found.github_url,
        }
    )

"""How the limits of CRM accounts stand, as far as we know: windows and slots from Redis, budgets of a day from their rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from gateway.connections.budget import DAY
from gateway.connections.throttle import Standing

if TYPE_CHECKING:
    from gateway.connections.open import Connections


async def standing(connections: Connections, accounts: Iterable[tuple[str, str]]) -> Mapping[str, list[Standing]]:
    """By account, in the manifest's order. While Redis is away only budgets are known.

    accounts  (id, provider) of each; one of a provider that this release does not know has none.
    """
    asked = [
        (account_id, name, bucket)
        for account_id, provider in dict.fromkeys(accounts)
        if (registered := connections.providers.get(provider)) is not None
        for name, bucket in registered.manifest.buckets.items()
    ]
    if not asked:
        return {}
    known = await connections.throttle.standing(asked)
    days = await connections.budgets.remaining([one for one in asked if one[2].per >= DAY])
    found: dict[str, list[Standing]] = {}
    for account_id, name, bucket in asked:
        one = known.get((account_id, name))
        if (day := days.get((account_id, name))) is not None:
            paused = one.resumes_in if one is not None else None
            one = Standing(name, day[0], 0 if paused else day[1], bucket.per, paused)
        if one is not None:
            found.setdefault(account_id, []).append(one)
    return found

"""What a connector sends through: `Http`, with the connection's tokens, limits and breaker around it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import httpx2

from connectors.crm.catalog import Provider
from connectors.crm.port import Bucket, Manifest
from connectors.errors import (
    ConnectorError,
    OutcomeUnknown,
    RateLimited,
    ReconnectNeeded,
    Unavailable,
    UnexpectedReply,
)
from connectors.http import Http
from connectors.request import Reply, Request
from gateway.connections.breaker import Breakers
from gateway.connections.budget import DAY, DailyBudgets
from gateway.connections.throttle import Purpose, Throttle
from gateway.connections.tokens import Access, Tokens
from gateway.db.base import TenantId

STOPS_ALL = timedelta(minutes=1)
PATIENCE = timedelta(seconds=10)  # how long an import or a poll waits for its turn, instead of ending what it is at
SLOT_SPARE = timedelta(seconds=5)  # a slot outlives the longest request by this much

_NOTHING = Access("", "")
_handed: ContextVar[Access] = ContextVar("handed", default=_NOTHING)
"""What the current task was last given: the token that a 401 is about, whatever others have renewed since."""


class Sender:
    """Sends requests of one connection for one purpose. See `connectors.crm.port.Sender`.

    client  gives the connection's pool, marked as used just now.
    note    is told whether the CRM answered.
    spawn   does something behind the answer.
    """

    def __init__(
        self,
        *,
        tenant_id: TenantId,
        connection_id: str,
        account_id: str,
        provider: Provider,
        purpose: Purpose,
        client: Callable[[], httpx2.AsyncClient],
        total: timedelta,
        tokens: Tokens,
        throttle: Throttle,
        breakers: Breakers,
        budgets: DailyBudgets,
        note: Callable[[bool], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._tenant_id = tenant_id
        self._connection_id = connection_id
        self._account_id = account_id
        self._provider = provider
        self._purpose: Purpose = purpose
        self._client = client
        self._tokens = tokens
        self._throttle = throttle
        self._breakers = breakers
        self._budgets = budgets
        self._note = note
        self._spawn = spawn
        self._limits: dict[str, list[tuple[str, Bucket]]] = {}
        self._slot_lasts = total + SLOT_SPARE
        self._http = Http(
            origin=lambda: _handed.get().origin,
            client=client(),
            token=self._token,
            read_error=provider.read_error,
            auth_scheme=provider.manifest.auth_scheme,
            gate=self._gate,
            observe=self._observe,
            total=total,
        )

    async def send(self, request: Request) -> Reply:
        """Send one request. A grant that turns out to be gone holds the whole connection before the error is raised."""
        watched = self._purpose != "delivery"  # the drain asks and tells the breaker itself, per delivery
        if watched and not await self._breakers.allows(self._account_id):
            raise Unavailable("this CRM account has not answered for a while; it is asked again soon")
        self._client()
        try:
            reply = await self._in_turn(request)
        except ReconnectNeeded as error:
            await self._tokens.gone(self._tenant_id, self._connection_id, _handed.get().token, reason=error.reason)
            raise
        except RateLimited as error:
            if error.status is not None:  # the vendor's word, not our own
                await self._throttle.pause(self._account_id, self._limits_named(request, error), error.retry_after)
            raise
        except (Unavailable, OutcomeUnknown, UnexpectedReply):
            await self._ended(watched, ok=False)
            raise
        except ConnectorError:  # an answer, if not the one hoped for
            await self._ended(watched, ok=True)
            raise
        await self._ended(watched, ok=True)
        return reply

    async def _in_turn(self, request: Request) -> Reply:
        """Send within our own limits. Nobody waits for an import: it waits a while for its share, where others are told
        at once that they have to. A page that is one of many would otherwise have to be asked for from the first again."""
        patience = PATIENCE.total_seconds() if self._purpose == "import" else 0.0
        while True:
            try:
                return await self._http.send(request)
            except RateLimited as error:
                wait = error.retry_after.total_seconds() * random.uniform(1.0, 1.2) + 0.01
                if error.status is not None or wait > patience:
                    raise
                patience -= wait
                await asyncio.sleep(wait)

    async def _token(self, refused: bool) -> str:
        last = _handed.get().token if refused else None
        access = await self._tokens.access(self._tenant_id, self._connection_id, refused=last)
        _handed.set(access)
        return access.token

    @asynccontextmanager
    async def _gate(self, request: Request) -> AsyncIterator[None]:
        """Spend every limit the request belongs to: what can be given back first, what lasts longest last."""
        held: list[tuple[str, str]] = []
        account_id, purpose = self._account_id, self._purpose
        try:
            for name, bucket in self._limits_of(request.bucket):
                if not bucket.per:
                    slot = await self._throttle.enter(account_id, bucket, name, lasts=self._slot_lasts, purpose=purpose)
                    held.append((name, slot))
                elif bucket.per < DAY:
                    n = request.cost if bucket.by_cost else 1
                    await self._throttle.spend(account_id, bucket, name, n, purpose=purpose)
                else:
                    await self._throttle.check(account_id, name)
                    await self._budgets.spend(account_id, name, bucket, request.cost, purpose=purpose)
            yield
        finally:
            for name, slot in held:
                self._spawn(self._throttle.leave(account_id, name, slot))

    def _limits_of(self, name: str) -> list[tuple[str, Bucket]]:
        if (known := self._limits.get(name)) is None:
            known = self._limits[name] = limits_of(self._provider.manifest, name)
        return known

    def _observe(self, request: Request, reply: Reply) -> None:
        known = self._provider.manifest.buckets
        said = [left for left in self._provider.read_limits(request, reply) if left.bucket in known]
        account_id = self._account_id
        news = [left for left in said if left.per < DAY and self._throttle.is_news(account_id, left)]
        if news:
            self._spawn(self._throttle.observe(account_id, news))
        for left in said:
            if left.per >= DAY and self._budgets.is_news(account_id, left):
                self._spawn(self._budgets.observe(account_id, left))

    def _limits_named(self, request: Request, error: RateLimited) -> Sequence[str]:
        """Which limits a refusal is about: the one it names, else the one the request was sent under. A day's end, or a
        refusal for a minute and more, stops the whole account: who goes on is banned."""
        buckets = self._provider.manifest.buckets
        if error.policy == "DAILY" or error.retry_after >= STOPS_ALL:
            return list(buckets)
        return [error.policy if error.policy is not None and error.policy in buckets else request.bucket]

    async def _ended(self, watched: bool, *, ok: bool) -> None:
        if watched:
            await self._breakers.record(self._account_id, ok)
        self._note(ok)


def limits_of(manifest: Manifest, name: str) -> list[tuple[str, Bucket]]:
    """The limits that a request of bucket `name` spends, in the order in which they are: slots, windows, budgets."""
    spent = [
        (other, bucket)
        for other, bucket in manifest.buckets.items()
        if other == name or name in bucket.spent_by or (bucket.per >= DAY and not bucket.spent_by)
    ]
    return sorted(spent, key=lambda one: one[1].per)

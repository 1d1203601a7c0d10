"""What a connector sends through: `Http`, with the connection's tokens, limits and breaker around it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import httpx2

from connectors.crm.catalog import Provider
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
from gateway.connections.tokens import Tokens
from gateway.db.base import TenantId

_handed: ContextVar[str] = ContextVar("handed", default="")
"""The token the current task was last given: the one that a 401 is about, whatever others have renewed since."""


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
        origin: str,
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
        self._http = Http(
            origin=origin,
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
            reply = await self._http.send(request)
        except ReconnectNeeded as error:
            await self._tokens.gone(self._tenant_id, self._connection_id, _handed.get(), reason=error.reason)
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

    async def _token(self, refused: bool) -> str:
        last = _handed.get() if refused else None
        token = await self._tokens.token(self._tenant_id, self._connection_id, refused=last)
        _handed.set(token)
        return token

    @asynccontextmanager
    async def _gate(self, request: Request) -> AsyncIterator[None]:
        buckets = self._provider.manifest.buckets
        if (bucket := buckets.get(request.bucket)) is not None:
            await self._throttle.spend(self._account_id, bucket, request.bucket, purpose=self._purpose)
        for daily in (one for one in buckets.values() if one.per >= DAY):
            await self._budgets.spend(self._account_id, daily, purpose=self._purpose)
        yield

    def _observe(self, request: Request, reply: Reply) -> None:
        known = self._provider.manifest.buckets
        said = [left for left in self._provider.read_limits(request, reply) if left.bucket in known and left.per < DAY]
        news = [left for left in said if self._throttle.is_news(self._account_id, left)]
        if news:
            self._spawn(self._throttle.observe(self._account_id, news))

    def _limits_named(self, request: Request, error: RateLimited) -> Sequence[str]:
        """Which limits a 429 is about: the end of a day's allowance stops everything, others what was spent from."""
        return list(self._provider.manifest.buckets) if error.policy == "DAILY" else [request.bucket]

    async def _ended(self, watched: bool, *, ok: bool) -> None:
        if watched:
            await self._breakers.record(self._account_id, ok)
        self._note(ok)

"""One number asked at all of a tenant's CRMs, together; what is known so far can be answered at any moment.

Nothing here knows the budget: whoever waits stops waiting, the search goes on and is cached (performance.md §6).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol

import msgspec
from phonenumbers import PhoneNumber

from connectors import phone
from connectors.crm.port import Crm
from connectors.crm.records import Contact, Context, Kind, Ref
from connectors.errors import ConnectorError, RateLimited, Unsupported
from gateway.logs import log
from gateway.lookup.answer import DEEP, Kept, LastCall, nobody, somebody
from gateway.lookup.match import Candidate, Match, decide

_LAST_CALL = "our last call"  # among the things that are read
TURN = timedelta(seconds=10)  # how long a search waits for its turn under the account's rate limit


Outdated = Callable[[str, Sequence[Contact]], Awaitable[Collection[Ref]]]


class Askable(Protocol):
    """A connection that may be asked (`gateway.connections.open.Opened`)."""

    @property
    def id(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def crm(self) -> Crm: ...


class Search:
    """One run over all connections.

    accounts   in the tenant's order of preference.
    mirrored   whom the directory has for this number.
    sought_at  ids of the accounts whose search is asked; at the others only what belongs to the caller is read.
    written    records that we wrote ourselves with this number, as "connection/kind/id": read by id, since the CRM's
               search lags behind its own writes by seconds or minutes.
    under_way  searches per connection in this process, shared by all runs; a connection with `most` of them hangs and
               is not asked once more.
    outdated   which of what an account's search found is not so any more, as the directory knows.
    head_start how long context waits for the slower accounts before it is read for the best caller found until then.
    """

    def __init__(
        self,
        number: PhoneNumber,
        accounts: Sequence[Askable],
        *,
        mirrored: Sequence[Candidate] = (),
        sought_at: Collection[str] | None = None,
        written: Sequence[str],
        last_call: Callable[[], Awaitable[LastCall | None]],
        under_way: Counter[str],
        most: int,
        head_start: timedelta,
        summary_in_variables: bool,
        outdated: Outdated | None = None,
    ) -> None:
        self._number = number
        self._e164 = phone.e164(number)
        self._accounts = accounts
        self._written = written
        self._read_last_call = last_call
        self._outdated = outdated
        self._under_way = under_way
        self._most = most
        self._head_start = head_start.total_seconds()
        self._summary_in_variables = summary_in_variables
        self._sought_at = [one.id for one in accounts] if sought_at is None else sought_at
        self._candidates: list[Candidate] = list(mirrored)
        self._contexts: dict[str, Context] = {}
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._last_call: LastCall | None = None
        self._last_call_unread = False
        self._done = False
        self.failed = False  # somebody did not answer what was asked
        self.held_back = False  # somebody was not asked, being busy with too many others
        self.answered = bool(mirrored)  # somebody has said who holds the number, or that nobody does

    @property
    def found(self) -> bool:
        return bool(self._candidates)

    async def run(self) -> Kept:
        """Ask everybody and answer with all of it. Raises nothing for a slow, broken or disconnected account."""
        asks = [
            *(
                self._guarded(self._ask(place, account), account)
                for place, account in enumerate(self._accounts)
                if account.id in self._sought_at
            ),
            *(
                self._guarded(self._read_written(place, account, record), account)
                for place, account in enumerate(self._accounts)
                for record in self._written
                if record.startswith(f"{account.id}/")
            ),
        ]
        tasks = [asyncio.create_task(ask) for ask in asks]
        try:
            if tasks:
                _, slow = await asyncio.wait(tasks, timeout=self._head_start)
                if slow:
                    if self.found:
                        self._begin_reading()
                    await asyncio.wait(tasks)
            self._begin_reading()
            await asyncio.wait(self._reading.values())
            self._rank_again()
        finally:
            for task in (*tasks, *self._reading.values()):
                task.cancel()  # of those that are done nothing is left to cancel
        self._done = True
        return self.so_far()

    def so_far(self) -> Kept:
        """What is known at this moment; not complete before the run is over."""
        match = self._match()
        missing = self.failed or self.held_back or self._last_call_unread or not self._accounts
        complete = self._done and not missing
        if match.status == "unknown":
            return nobody("unknown", self._e164, complete=complete, last_call=self._last_call)
        return somebody(
            match,
            self._e164,
            self._contexts,
            last_call=self._last_call,
            complete=complete,
            summary_in_variables=self._summary_in_variables,
        )

    def _match(self) -> Match:
        return decide(self._candidates, e164=self._e164)

    async def _ask(self, place: int, account: Askable) -> None:
        found = await self._when_allowed(account)
        known_better = await self._outdated(account.id, found) if found and self._outdated is not None else ()
        for contact in found:
            if Ref(contact.kind, contact.id) in known_better:
                continue
            self._candidates.append(Candidate(account.id, account.provider, place, contact))
        self.answered = True

    async def _when_allowed(self, account: Askable) -> list[Contact]:
        """Search, waiting for the account's rate limit: five a second is little, and the next ask shall be warm."""
        waited = timedelta(0)
        while True:
            try:
                return await account.crm.find_contacts(self._number)
            except RateLimited as limited:
                waited += limited.retry_after
                if waited > TURN:
                    raise
                await asyncio.sleep(limited.retry_after.total_seconds())

    async def _read_written(self, place: int, account: Askable, record: str) -> None:
        _, kind, identity = record.split("/", 2)
        contact = await account.crm.read_contact(Ref(Kind(kind), identity))
        if contact is not None and (held := self._holding(contact)) is not None:
            self._candidates.append(Candidate(account.id, account.provider, place, held))

    def _holding(self, contact: Contact) -> Contact | None:
        """`contact` with how it holds the number; None when it does not any more."""
        region = phone.region_of(self._number)
        held = {phone.same(self._number, one.raw, region): one.label for one in contact.phones}
        for how in ("exact", "national"):
            if how in held:
                return msgspec.structs.replace(contact, match=how, reason=held[how])
        return None if contact.phones else msgspec.structs.replace(contact, match="exact", reason="call")

    async def _guarded(self, ask: Coroutine[Any, Any, None], account: Askable) -> None:
        """Await `ask`, unless this connection hangs already; note that it failed instead of raising."""
        if self._under_way[account.id] >= self._most:
            self.held_back = True
            ask.close()
            return
        self._under_way[account.id] += 1
        try:
            await ask
        except ConnectorError as error:
            self.failed = True
            log.info("lookup_failed", connection_id=account.id, error=type(error).__name__, status=error.status)
        except Exception as error:  # a connector's bug; the caller is on the line all the same
            self.failed = True
            log.error("lookup_broke", connection_id=account.id, exc_info=error)
        finally:
            self._under_way[account.id] -= 1
            if not self._under_way[account.id]:
                del self._under_way[account.id]

    def _begin_reading(self) -> None:
        """Start reading what belongs to the caller as known by now: contexts of the records, and our own last call."""
        accounts = {account.id: account for account in self._accounts}
        if _LAST_CALL not in self._reading:
            self._reading[_LAST_CALL] = asyncio.create_task(self._note_last_call())
        for one in self._match().same[:DEEP]:
            if one.record not in self._reading:
                account = accounts[one.connection_id]
                task = asyncio.create_task(self._guarded(self._read_context(account, one), account))
                self._reading[one.record] = task

    def _rank_again(self) -> None:
        """An open deal may change which of the caller's records leads, not who calls."""
        self._candidates = [
            replace(one, open_deal=bool(self._contexts[one.record].open_deals)) if one.record in self._contexts else one
            for one in self._candidates
        ]

    async def _read_context(self, account: Askable, one: Candidate) -> None:
        try:
            self._contexts[one.record] = await account.crm.context(Ref(one.contact.kind, one.contact.id))
        except Unsupported:  # nothing more is to be known about this kind of record here
            self._contexts[one.record] = Context()

    async def _note_last_call(self) -> None:
        try:
            self._last_call = await self._read_last_call()
        except Exception as error:  # the database is away, or a row does not open: the caller is still worth an answer
            self._last_call_unread = True
            log.error("last_call_unread", exc_info=error)

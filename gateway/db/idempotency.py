"""`Idempotency-Key`: a POST sent again gets the answer of the first, for 24 hours per key and address.

Three steps, each its own short transaction, so that no two processes carry out one key:
1. claim: a row without a status, held for a minute;
2. the route's own transaction marks the row as carried out, together with its effects (`carried_out`);
3. the answer is kept, sealed, before it is sent.
A crash before 2 left no effect, and the key is free again when its minute is over. A crash between 2 and 3 left the
effect without its answer: the next try is told so instead of doing it twice. Only answers that did something (2xx) are
kept: after a refusal nothing has changed, and the same key may bring a better body.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec
from sqlalchemy import delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.elements import ColumnElement

from gateway import bodies
from gateway.bodies import App, Message, Receive, Scope, Send
from gateway.db.base import TenantId
from gateway.db.due import delete_due
from gateway.db.engine import Database, utc_now
from gateway.db.tables import IdempotentAnswer
from gateway.errors import Conflict, Invalid

KEPT = timedelta(hours=24)
WORKING = timedelta(seconds=60)  # a claim older than this, not carried out, was left by a process that is gone
CARRIED_OUT = 0  # status of a row whose effects are committed and whose answer is not kept (yet)
HEADER = b"idempotency-key"
FIELD = "header.idempotency-key"


class Keys(Protocol):
    """A tenant's keys (tenants/keys.py)."""

    def seal(self, plain: bytes, *place: str) -> bytes: ...
    def open(self, sealed: bytes, *place: str) -> bytes: ...


@dataclass(frozen=True)
class Claim:
    """One key under work. `at` is its fence: who takes an abandoned one over claims it at another time."""

    tenant_id: TenantId
    principal: str
    route: str
    key_sha256: bytes
    at: datetime

    @property
    def place(self) -> tuple[str, ...]:
        """Where its answer is sealed for."""
        return ("idempotent_answers", "answer", self.principal, self.route, self.key_sha256.hex())

    @property
    def is_row(self) -> tuple[ColumnElement[bool], ...]:
        return (
            IdempotentAnswer.tenant_id == self.tenant_id,
            IdempotentAnswer.principal == self.principal,
            IdempotentAnswer.route == self.route,
            IdempotentAnswer.key_sha256 == self.key_sha256,
        )


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def honoured(method: str, path: str) -> bool:
    """Every POST of the API but lookup and voice; CRM hooks, MCP and pages are no part of `/v1`."""
    return method == "POST" and path.startswith("/v1/") and path != "/v1/lookup" and not path.startswith("/v1/voice/")


def key_of(scope: Mapping[str, Any]) -> str | None:
    """The request's key, or None. Raises `Invalid`."""
    found = [value for name, value in scope["headers"] if name == HEADER]
    if not found:
        return None
    key: str = found[0].decode("latin-1")
    if len(found) > 1 or not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable():
        raise Invalid(FIELD, "must be 1 to 255 printable ASCII characters, sent once")
    return key


async def once(
    app: App,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    key: str,
    db: Database,
    keys: Keys,
    tenant_id: TenantId,
    principal: str,
) -> None:
    """Let `app` answer, unless the key has an answer already. Raises `Conflict` while another try is under way."""
    body = await bodies.read(receive, bodies.most(scope["path"]))
    wanted = Claim(tenant_id, principal, f"POST {scope['path']}", hashlib.sha256(key.encode()).digest(), utc_now())
    kept = await _claim(db, wanted, hashlib.sha256(body).digest(), keys)
    if kept is not None:
        return await _send(kept, send, replayed=True)
    scope["idempotency"] = wanted
    heard: list[Message] = []

    async def hear(message: Message) -> None:
        heard.append(message)

    try:
        await app(scope, bodies.again(body, receive), hear)
        answer = _answer(heard)
    except BaseException:
        await _free(db, wanted)
        raise
    if 200 <= answer.status < 300:
        await _keep(db, wanted, answer, keys)
    else:
        await _free(db, wanted)
    return await _send(answer, send, replayed=False)


async def _claim(db: Database, wanted: Claim, body_sha256: bytes, keys: Keys) -> Answer | None:
    """None: the key is ours to work on. Else the answer it has. Raises `Invalid`, `Conflict`."""
    insert = sqlite.insert if db.dialect == "sqlite" else postgresql.insert
    async with db.transaction(wanted.tenant_id) as session:
        await prune(session, wanted.tenant_id, wanted.at)
        # Read before inserting: an insert would wait for the transaction that is carrying the same key out.
        found = (await session.scalars(select(IdempotentAnswer).where(*wanted.is_row))).one_or_none()
        if found is None:
            row = {
                "tenant_id": wanted.tenant_id,
                "principal": wanted.principal,
                "route": wanted.route,
                "key_sha256": wanted.key_sha256,
                "body_sha256": body_sha256,
                "at": wanted.at,
                "expires_at": wanted.at + WORKING,
            }
            claimed = await session.execute(
                insert(IdempotentAnswer).values(row).on_conflict_do_nothing().returning(IdempotentAnswer.at)
            )
            if claimed.scalar_one_or_none() is None:
                raise _again()
            return None
    if found.body_sha256 != body_sha256:
        raise Invalid(FIELD, "was used with another body")
    if found.status is None or (found.status == CARRIED_OUT and wanted.at < found.at + WORKING):
        raise _again()
    if found.status == CARRIED_OUT or found.answer is None:
        raise Conflict(
            "The first request with this key was carried out, but its answer was lost. Look before resending."
        )
    return msgspec.msgpack.decode(keys.open(found.answer, *wanted.place), type=Answer)


def _again() -> Conflict:
    return Conflict("A request with this key is being worked on.", headers={"Retry-After": "1"})


async def carried_out(session: AsyncSession, scope: MutableMapping[str, Any]) -> None:
    """Mark the request's key, if it has one, in the transaction that has its effects. Raises `Conflict` when fenced off."""
    claim: Claim | None = scope.get("idempotency")
    if claim is None:
        return
    marked = await session.execute(
        update(IdempotentAnswer)
        .where(
            *claim.is_row,
            IdempotentAnswer.at == claim.at,
            or_(IdempotentAnswer.status.is_(None), IdempotentAnswer.status == CARRIED_OUT),
        )
        .values(status=CARRIED_OUT, expires_at=claim.at + KEPT)
        .returning(IdempotentAnswer.at)
    )
    if marked.scalar_one_or_none() is None:
        raise _again()


async def _keep(db: Database, claim: Claim, answer: Answer, keys: Keys) -> None:
    sealed = keys.seal(msgspec.msgpack.encode(answer), *claim.place)
    async with db.transaction(claim.tenant_id) as session:
        await session.execute(
            update(IdempotentAnswer)
            .where(*claim.is_row, IdempotentAnswer.at == claim.at)
            .values(status=answer.status, answer=sealed, expires_at=claim.at + KEPT)
        )


async def _free(db: Database, claim: Claim) -> None:
    """Give a key back whose request changed nothing. One that was carried out stays."""
    async with db.transaction(claim.tenant_id) as session:
        await session.execute(
            delete(IdempotentAnswer).where(
                *claim.is_row, IdempotentAnswer.at == claim.at, IdempotentAnswer.status.is_(None)
            )
        )


async def prune_all(session: AsyncSession, *, limit: int = 2000) -> int:
    """The same for every tenant, at most `limit` of them; how many. It is housekeeping."""
    row = IdempotentAnswer
    key = (row.tenant_id, row.principal, row.route, row.key_sha256)
    return await delete_due(session, row, key, row.expires_at <= utc_now(), limit=limit)


async def prune(session: AsyncSession, tenant_id: TenantId, now: datetime) -> None:
    """Delete a tenant's answers whose time is up, and claims that were left."""
    await session.execute(
        delete(IdempotentAnswer).where(IdempotentAnswer.tenant_id == tenant_id, IdempotentAnswer.expires_at <= now)
    )


def _answer(heard: list[Message]) -> Answer:
    start = next(message for message in heard if message["type"] == "http.response.start")
    body = b"".join(message.get("body", b"") for message in heard if message["type"] == "http.response.body")
    return Answer(start["status"], [(bytes(name), bytes(value)) for name, value in start.get("headers", ())], body)


async def _send(answer: Answer, send: Send, *, replayed: bool) -> None:
    headers = [*answer.headers, *([(b"idempotency-replayed", b"true")] if replayed else [])]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})

"""One write to a company of the sandbox, and what came of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from connectors import phone
from connectors.crm.port import Done, Failed
from connectors.crm.records import (
    CallLog,
    Kind,
    Link,
    LogCall,
    Record,
    Write,
)
from tests.contract.accounts_pipedrive import PipedriveAccount

AT = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)
NUMBER = "+41446681800"


async def done(account: PipedriveAccount, write: Write) -> Record:
    (outcome,) = await account.crm.write([write])
    assert isinstance(outcome, Done), outcome
    assert outcome.record is not None
    return outcome.record


async def refused(account: PipedriveAccount, write: Write) -> Exception:
    (outcome,) = await account.crm.write([write])
    assert isinstance(outcome, Failed)
    return outcome.error


def call(*about: Link, key: str = "call-1") -> LogCall:
    made = CallLog(direction="inbound", started_at=AT, duration=timedelta(seconds=185), customer_number=NUMBER)
    return LogCall(key=key, subject="Call", call=made, about=about)


def paths(account: PipedriveAccount) -> list[str]:
    return [f"{request.method} {request.path.split('/', 2)[2]}" for request in account.sent]


async def found(account: PipedriveAccount, number: str = NUMBER) -> list[tuple[Kind, str, str | None]]:
    read = phone.read(number)
    assert read is not None
    return [(one.kind, one.id, one.reason) for one in await account.crm.find_contacts(read)]

"""The sandbox's own doors, beside the vendor's: faults, the journal, what is stored, the clock, a new start.

    GET/POST/DELETE /_sandbox/faults[/{id}]     what is set to go wrong; durations in seconds
    GET/DELETE      /_sandbox/log               every request so far
    GET             /_sandbox/accounts          the accounts there are
    GET             /_sandbox/records/{type}    living records of one kind (`?account=` where there are several)
    GET             /_sandbox/changes[/{type}]  every committed write, in order
    POST            /_sandbox/clock             {"advance": seconds}
    POST            /_sandbox/reset             disarm all faults and forget the log; records stay

For whoever tests against it; there is no authentication, so it belongs on a loopback address.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec

from connectors.sandbox.clock import Clock
from connectors.sandbox.face import Answer, Call
from connectors.sandbox.faults import Faults, read_fault
from connectors.sandbox.journal import Journal
from connectors.sandbox.store import Crm, Entry


class Control:
    """Answers requests under `/_sandbox/` that mean the same for every vendor."""

    def __init__(self, *, clock: Clock, faults: Faults, journal: Journal) -> None:
        self.clock = clock
        self.faults = faults
        self.journal = journal

    def answer(self, call: Call, accounts: Mapping[str, Crm]) -> Answer | None:
        """None when there is no such door here."""
        try:
            return self._answer(call, accounts)
        except (msgspec.DecodeError, KeyError, TypeError, ValueError) as wrong:  # ValidationError is a DecodeError
            return _json(400, {"error": str(wrong)})

    def _answer(self, call: Call, accounts: Mapping[str, Crm]) -> Answer | None:
        door, _, rest = call.path.removeprefix("/_sandbox/").partition("/")
        match call.method, door:
            case "POST", "faults":
                told = msgspec.json.decode(call.body)
                wanted = [read_fault(each) for each in (told if isinstance(told, list) else [told])]
                return _json(201, {"ids": [self.faults.add(fault) for fault in wanted]})
            case "GET", "faults":
                armed = self.faults.armed()
                return _json(200, [{"id": id, "struck": n, **msgspec.to_builtins(fault)} for id, fault, n in armed])
            case "DELETE", "faults":
                self.faults.clear(int(rest) if rest else None)
                return Answer(204)
            case "GET", "log":
                return _json(200, self.journal.asked)
            case "DELETE", "log":
                self.journal.forget()
                return Answer(204)
            case "GET", "accounts":
                return _json(200, list(accounts))
            case "GET", "records":
                return _json(200, [_shown(entry) for entry in _one(call, accounts).all(_singular(rest))])
            case "GET", "changes":
                return _json(200, _changes(_one(call, accounts), rest))
            case "POST", "clock":
                self.clock.advance(timedelta(seconds=float(msgspec.json.decode(call.body)["advance"])))
                return _json(200, {"now": self.clock()})
            case "POST", "reset":
                self.faults.clear()
                self.journal.forget()
                return Answer(204)
            case _:
                return None


def _one(call: Call, accounts: Mapping[str, Crm]) -> Crm:
    """The account asked for, or the first."""
    named = call.query.get("account")
    return accounts[named[-1]] if named else next(iter(accounts.values()))


def _changes(crm: Crm, kind: str) -> list[dict[str, Any]]:
    wanted = _singular(kind)
    return [
        {"at": change.at, "what": change.what, "type": change.entry.kind, "id": change.entry.id, "set": change.changed}
        for change in crm.changes
        if not kind or change.entry.kind == wanted
    ]


def _singular(kind: str) -> str:
    """ "contacts" or "contact"; kinds are singular in the store."""
    return "company" if kind == "companies" else kind.removesuffix("s")


def _shown(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "properties": entry.properties,
        "created_at": entry.created_at,
        "updated_at": entry.updated_at,
    }


def _json(status: int, body: Any) -> Answer:
    return Answer(status, msgspec.json.encode(body), [("content-type", "application/json")])

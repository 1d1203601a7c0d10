"""Real answers of Zoho (`../shared/recorded/zoho`) through our readers: what each of them must come out as."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from connectors.crm.zoho import wire, wire_account, wire_errors, wire_people
from connectors.errors import UnexpectedReply
from connectors.request import Reply, Request
from tests.shared import FOLDER, needs_shared, present, shared

RECORDED = "recorded/zoho"
pytestmark = needs_shared(RECORDED, what="how Zoho's real answers are read")

Read = Callable[[Reply], Any]


def recorded(name: str) -> tuple[Request, Reply]:
    kept = json.loads((shared(RECORDED, what="real answers") / name).read_text())
    body, method = kept["response"]["body"], kept["request"]["method"]
    content = body if isinstance(body, str) else "" if body is None else json.dumps(body)
    headers = {key.lower(): str(text) for key, text in kept["response"].get("headers", {}).items()}
    where = kept["request"].get("path") or kept["request"]["uri"]
    return Request(method=method, path=where), Reply(
        status=kept["response"]["status"], headers=headers, body=content.encode()
    )


def rows(reply: Reply) -> int:
    return len(wire.read_rows(reply).data)


def written(reply: Reply) -> tuple[str, str | None]:
    found = wire.read_written(reply)
    assert found.status == "success"
    return found.code, found.id


def people(module: str) -> Read:
    def read(reply: Reply) -> list[tuple[str, str | None]]:
        phones = wire.STANDARD_PHONES[module]
        found = [
            wire_people.read_contact(module, row, phones=phones, account=None) for row in wire.read_rows(reply).data
        ]
        assert all(one.name and one.owner and one.owner.email and one.updated_at for one in found)
        return [(one.name, one.phones[0].raw if one.phones else None) for one in found][:1]

    return read


def activities(module: str) -> Read:
    def read(reply: Reply) -> int:
        found = [wire_people.read_activity(module, row) for row in wire.read_rows(reply).data]
        assert all(one is None or one.subject for one in found)
        return sum(one is not None for one in found)

    return read


def deals(reply: Reply) -> list[tuple[str, bool]]:
    found = [wire_people.read_deal(row, {}, currency="KES") for row in wire.read_rows(reply).data]
    assert all(one.name and one.stage for one in found)
    return sorted({(one.stage, one.is_open) for one in found})[:2]


def users(reply: Reply) -> list[str]:
    return [one.name for one in wire.read(reply, wire_account.Users).active()]


READABLE: list[tuple[str, Read, Any]] = [
    ("nango-accounts.json", people("Accounts"), [("King (Sample)", "555-555-5555")]),
    ("nango-calls.json", activities("Calls"), 5),
    ("nango-convert-lead.json", lambda reply: wire.read_rows(reply).data[0]["Contacts"], "7328395000000710006"),
    ("nango-create-account.json", written, None),
    ("nango-create-call.json", written, ("SUCCESS", "7328395000000684005")),
    ("nango-create-contact.json", written, ("SUCCESS", "7328395000000703005")),
    ("nango-create-event-2.json", activities("Events"), 1),
    ("nango-create-lead-2.json", people("Leads"), [("TestFirst TestLast", None)]),
    ("nango-create-lead.json", written, None),
    ("nango-deals.json", deals, None),
    ("nango-delete-call.json", written, None),
    ("nango-delete-contact.json", written, ("SUCCESS", "7328395000000683007")),
    ("nango-get-call.json", activities("Calls"), 1),
    ("nango-get-deal.json", deals, [("Qualification", True)]),
    ("nango-get-event.json", activities("Events"), 1),
    ("nango-get-task.json", activities("Tasks"), 1),
    ("nango-get-user.json", users, ["Nango Developer"]),
    ("nango-leads.json", people("Leads"), None),
    ("nango-list-calls.json", activities("Calls"), 2),
    ("nango-list-notes.json", activities("Notes"), 5),
    ("nango-notes.json", activities("Notes"), 6),
    ("nango-search-records.json", rows, 0),
    ("nango-update-call.json", written, None),
    ("nango-update-deal.json", written, None),
    ("nango-update-lead.json", written, ("SUCCESS", "7328395000000683019")),
    ("nango-users.json", users, ["Nango Developer"]),
    ("vcr-notes-get.json", activities("Notes"), 5),
]
REFUSED = ["vcr-modules-get.json"]


@pytest.mark.parametrize(("name", "read", "expected"), READABLE, ids=[row[0] for row in READABLE])
def test_a_recorded_answer_is_read(name: str, read: Read, expected: Any) -> None:
    _, reply = recorded(name)
    found = read(reply)
    if expected is None:
        assert found
    else:
        assert found == expected


def test_a_wrong_address_leads_nowhere() -> None:
    """302 without JSON: followed, it would carry the token to whoever answers there."""
    request, reply = recorded(REFUSED[0])
    assert reply.status == 302
    assert isinstance(wire_errors.read_error(request, reply), UnexpectedReply)
    with pytest.raises(UnexpectedReply):
        wire.read_rows(reply)


def test_every_recorded_answer_is_read_here() -> None:
    if present(RECORDED):
        held = {file.name for file in (FOLDER / RECORDED).glob("*.json")}
        assert held == {name for name, _, _ in READABLE} | set(REFUSED)


def test_no_recorded_answer_has_a_limit_in_its_headers() -> None:
    for name, _, _ in READABLE:
        request, reply = recorded(name)
        assert wire_errors.read_limits(request, reply) == ()


def test_recorded_duration_is_minutes_and_seconds() -> None:
    """ "00:15" came back beside 15 seconds."""
    _, reply = recorded("nango-list-calls.json")
    call = wire.read_rows(reply).data[0]
    assert (call["Call_Duration"], call["Call_Duration_in_seconds"]) == ("00:15", 15)
    assert wire.link(call, "Who_Id") == ("7328395000000680155", "Sage Wieser (Sample)")
    assert call["$se_module"] == "Deals"

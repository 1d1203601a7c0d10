"""What our writes become in Pipedrive's words."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.crm.pipedrive import wire_texts, wire_writes
from connectors.crm.pipedrive.wire import Row
from connectors.crm.pipedrive.wire_account import ActivityType, FieldObject, type_for, typed
from connectors.crm.pipedrive.wire_texts import LONGEST_TEXT, hours_and_minutes, html, mark
from connectors.crm.pipedrive.wire_writes import Place, person_changes
from connectors.crm.records import (
    AddNote,
    CallLog,
    CreateDeal,
    CreateEvent,
    CreateTask,
    CreateTicket,
    Kind,
    Later,
    LogCall,
    Person,
    Ref,
    UpsertContact,
)
from connectors.errors import Rejected

AT = datetime(2026, 11, 21, 22, 56, tzinfo=timezone(timedelta(hours=1)))
CONTACT = Ref(Kind.CONTACT, "77")
CALL = CallLog(
    direction="inbound", started_at=AT, duration=timedelta(minutes=3, seconds=5), customer_number="+41446681800",
    our_number="+41435550100", recording_url="https://recordings.example/c-1.mp3",
)  # fmt: skip
OWN = FieldObject(field_code="a" * 40, field_name="Branche", field_type="enum", is_custom_field=True)


def test_a_call_is_a_done_activity_in_utc() -> None:
    write = LogCall(
        key="k-1", subject="Offer", call=CALL, body="Hello", unchecked="He said", about=(CONTACT,), owner="5"
    )
    request = wire_writes.activity(write, "call", {})
    assert (request.method, request.path, request.writes, request.cost) == ("POST", "/api/v2/activities", True, 5)
    assert request.json == {
        "subject": "Offer",
        "due_date": "2026-11-21",
        "due_time": "21:56",
        "duration": "00:03",
        "done": True,
        "note": "<p>Hello</p><p>Inbound call, answered<br>+41446681800 → +41435550100<br>Duration: 3 min 5 s</p>"
        '<p><a href="https://recordings.example/c-1.mp3">Recording</a></p>'
        f"<p><strong>From the call, not checked</strong></p><p>He said</p><p>Ref. {mark('k-1')}</p>",
        "type": "call",
        "participants": [{"person_id": 77, "primary": True}],
        "owner_id": 5,
    }


def test_an_outbound_call_goes_the_other_way() -> None:
    call = msgspec.structs.replace(CALL, direction="outbound", outcome="no_answer", duration=None, recording_url=None)
    request = wire_writes.activity(LogCall(key="k", subject="s", call=call), "call", {})
    assert "Outbound call, not answered<br>+41435550100 → +41446681800</p>" in request.json["note"]
    assert "duration" not in request.json


@pytest.mark.parametrize(
    ("span", "written"),
    [
        (timedelta(0), "00:00"),
        (timedelta(seconds=4), "00:01"),
        (timedelta(seconds=89), "00:01"),
        (timedelta(seconds=185), "00:03"),
        (timedelta(hours=1, minutes=59, seconds=40), "02:00"),
        (timedelta(seconds=-5), "00:00"),
    ],
)
def test_durations_know_no_seconds(span: timedelta, written: str) -> None:
    """A call that took place never took no time at all."""
    assert hours_and_minutes(span) == written


def test_a_task_a_meeting_and_what_stands_for_a_ticket() -> None:
    task = wire_writes.activity(CreateTask(key="t", subject="Back", due=AT, about=(CONTACT,)), "call", {}).json
    assert (task["due_date"], task["due_time"], task["done"]) == ("2026-11-21", "21:56", False)
    event = CreateEvent(key="e", subject="Visit", starts=AT, ends=AT + timedelta(hours=1, minutes=30))
    assert wire_writes.activity(event, "meeting", {}).json["duration"] == "01:30"
    backwards = msgspec.structs.replace(event, ends=AT - timedelta(hours=1))
    assert wire_writes.activity(backwards, "meeting", {}).json["duration"] == "00:00"
    ticket = wire_writes.activity(CreateTicket(key="x", subject="Broken", priority="urgent"), "task", {}).json
    assert (ticket["subject"], ticket["done"]) == ("Ticket: Broken", False)
    assert "due_date" not in ticket
    assert "Priority: urgent" in ticket["note"]


def test_a_deal_has_numbers_for_numbers() -> None:
    write = CreateDeal(
        key="d", name="Maintenance", amount=Decimal("1200.50"), currency="CHF", closes=date(2026, 12, 31),
        about=(CONTACT, Ref(Kind.COMPANY, "9")),
    )  # fmt: skip
    body = wire_writes.deal(write, Place("1", "3"), {}, {"a" * 40: "d"}).json
    assert body == {
        "title": "Maintenance",
        "pipeline_id": 1,
        "stage_id": 3,
        "person_id": 77,
        "org_id": 9,
        "value": 1200.5,
        "currency": "CHF",
        "expected_close_date": "2026-12-31",
        "custom_fields": {"a" * 40: "d"},
    }
    whole = wire_writes.deal(msgspec.structs.replace(write, amount=Decimal("1200.00")), Place("1", "won"), {}, {}).json
    assert (whole["value"], whole["status"]) == (1200, "won")
    assert isinstance(whole["value"], int)
    with pytest.raises(Rejected):
        wire_writes.deal(CreateDeal(key="d", name="x", about=(Ref(Kind.CALL, "1"),)), Place("1", "3"), {}, {})


def test_what_is_not_known_yet_has_a_placeholder() -> None:
    write = LogCall(key="k", subject="s", call=CALL, about=(Later(Kind.DEAL, "d-1"), Person()))
    body = wire_writes.activity(write, "call", {}).json
    assert body["deal_id"] == "<id of the new deal>"
    assert body["participants"] == [{"person_id": "<id of the caller>", "primary": True}]


def test_a_note_is_dated_and_linked() -> None:
    body = wire_writes.note(AddNote(key="n", body="a & b", at=AT, about=(CONTACT,)), {}).json
    assert body["content"] == f"<p>a &amp; b</p><p>Ref. {mark('n')}</p>"
    assert (body["add_time"], body["person_id"]) == ("2026-11-21 21:56:00", 77)


# ── people ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def row(**values: Any) -> Row:
    return Row({"id": 7, "name": "", "phones": [], "emails": [], **values})


def changes(write: UpsertContact, current: Row, key: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    return person_changes(write, current, {OWN.field_code: OWN}, key)


HEARD = UpsertContact(key="p-1", phone="+41795550123", first_name="Orelly", last_name="Peron", email="a@example.com")


def test_a_nameless_person_is_named_and_one_with_a_name_keeps_it() -> None:
    held = [{"value": "+41795550123", "primary": True, "label": "mobile"}]
    named, _ = changes(HEARD, row(name="+41795550123", first_name="+41795550123", phones=held))
    assert named["name"] == "Orelly Peron"
    kept, _ = changes(HEARD, row(name="Aurélie Perrochon", first_name="Aurélie", last_name="Perrochon", phones=held))
    assert "name" not in kept
    half, _ = changes(HEARD, row(name="Aurélie", first_name="Aurélie", phones=held))
    assert half["name"] == "Aurélie Peron"


def test_a_number_is_added_to_those_there_are() -> None:
    held = [{"value": "044 668 18 00", "primary": True, "label": "work"}]
    members, _ = changes(HEARD, row(name="A B", first_name="A", last_name="B", phones=held, emails=held))
    assert members == {
        "phones": [
            {"value": "044 668 18 00", "primary": True, "label": "work"},
            {"value": "+41795550123", "primary": False, "label": "mobile"},
        ]
    }
    same = [{"value": "079 555 01 23", "primary": True}]
    assert "phones" not in changes(HEARD, row(name="A B", first_name="A", last_name="B", phones=same))[0]


def test_our_key_goes_to_a_person_without_one_and_only_if_we_looked_for_them() -> None:
    key = "b" * 40
    assert changes(HEARD, row(), key)[1] == {key: "p-1"}
    assert changes(HEARD, row(custom_fields={key: "p-0"}), key)[1] == {}
    assert changes(msgspec.structs.replace(HEARD, target=CONTACT), row(), key)[1] == {}


def test_a_field_that_is_not_there_is_named() -> None:
    write = msgspec.structs.replace(HEARD, fields={"no_such": "1"})
    with pytest.raises(Rejected) as refused:
        changes(write, row())
    assert refused.value.field == "no_such"


def test_a_person_who_said_nothing_is_named_by_what_we_have() -> None:
    body = wire_writes.person(UpsertContact(key="p", phone="+41446681800"), None, {}, {}).json
    assert body == {
        "name": "+41446681800",
        "phones": [{"value": "+41446681800", "primary": True, "label": "work"}],
    }
    assert (
        wire_writes.person(UpsertContact(key="p", email="a@example.com"), None, {}, {}).json["name"] == "a@example.com"
    )
    with pytest.raises(Rejected):
        wire_writes.person(UpsertContact(key="p"), None, {}, {})


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def own(type: str, *options: str) -> FieldObject:
    read = [{"id": at, "label": label} for at, label in enumerate(options, 1)]
    return msgspec.convert(
        {"field_code": "f", "field_name": "F", "field_type": type, "is_custom_field": True, "options": read or None},
        FieldObject,
    )


@pytest.mark.parametrize(
    ("definition", "text", "value"),
    [
        (own("varchar"), "x", "x"),
        (own("varchar"), "", None),
        (own("double"), "12", 12),
        (own("double"), "12.5", 12.5),
        (own("monetary"), "1200.50 CHF", {"value": 1200.5, "currency": "CHF"}),
        (own("monetary"), "1200", {"value": 1200}),
        (own("enum", "Hot", "Cold"), "cold", 2),
        (own("enum", "Hot", "Cold"), "1", 1),
        (own("set", "Hot", "Cold"), "Hot; cold", [1, 2]),
        (own("set", "Hot"), "", None),
        (own("date"), "2026-11-21T10:00:00Z", "2026-11-21"),
        (own("address"), "Bahnhofstrasse 1", {"value": "Bahnhofstrasse 1"}),
        (own("user"), "25760681", 25760681),
    ],
)
def test_texts_become_what_a_field_holds(definition: FieldObject, text: str, value: Any) -> None:
    """Pipedrive makes no number of a text, and clears a field by null only."""
    assert typed("f", text, definition, None) == value


@pytest.mark.parametrize(
    ("definition", "text"),
    [
        (own("double"), "much"),
        (own("double"), "nan"),
        (own("monetary"), "CHF 12"),
        (own("enum", "Hot"), "Lukewarm"),
        (own("set", "Hot"), "Hot;Lukewarm"),
    ],
)
def test_what_a_field_cannot_hold_is_refused_with_its_name(definition: FieldObject, text: str) -> None:
    with pytest.raises(Rejected) as refused:
        typed("f", text, definition, None)
    assert refused.value.field == "f"


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ([ActivityType("call", "call"), ActivityType("x", "call")], "call"),
        ([ActivityType("telefonat", "call"), ActivityType("task", "task")], "telefonat"),
        ([ActivityType("task", "task")], "task"),
    ],
)
def test_the_nearest_type_of_activity_is_taken(known: list[ActivityType], expected: str) -> None:
    assert type_for("call", known) == expected


def test_a_company_without_any_type_is_said_so() -> None:
    with pytest.raises(Rejected):
        type_for("call", [])


# ── texts ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(max_size=300), st.text(max_size=300))
def test_whatever_was_said_is_text(body: str, unchecked: str) -> None:
    """Words from a call must not become markup in a colleague's browser."""
    parser = _Tags()
    parser.feed(html(body, unchecked, marker=mark("k")))
    assert parser.tags <= {"p", "br", "strong"}
    assert parser.text.endswith(f"Ref. {mark('k')}")


@given(st.integers(0, 3), st.integers(0, 3))
def test_texts_are_cut_to_size_and_keep_their_marker(thousands: int, more: int) -> None:
    text = html("a & b\n\n" * 6_000 * thousands, "c < d\n\n" * 6_000 * more, facts=["f"], marker=mark("k"))
    assert len(text) <= LONGEST_TEXT
    assert text.endswith(f"<p>Ref. {mark('k')}</p>")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example/x?a=1&b=2", '<p><a href="https://a.example/x?a=1&amp;b=2">Recording</a></p>'),
        ("javascript:alert(1)", "<p>Recording: javascript:alert(1)</p>"),
        ('https://a.example/"><script>', '<p><a href="https://a.example/&quot;&gt;&lt;script&gt;">Recording</a></p>'),
    ],
)
def test_a_recording_is_a_link_only_if_it_is_one(url: str, shown: str) -> None:
    call = CallLog(direction="inbound", started_at=AT.astimezone(UTC), recording_url=url)
    assert wire_texts.recording_of(call) == [shown]

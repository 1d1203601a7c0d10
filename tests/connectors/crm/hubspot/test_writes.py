"""What our writes become in HubSpot's words."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.crm.hubspot import wire_writes
from connectors.crm.hubspot.wire import Object
from connectors.crm.hubspot.wire_writes import (
    LONGEST_TEXT,
    Place,
    contact_changes,
    create,
    create_contact,
    html,
    mark,
    plain,
)
from connectors.crm.port import Stick
from connectors.crm.records import (
    AddNote,
    CallLog,
    CreateDeal,
    CreateEvent,
    CreateTask,
    CreateTicket,
    Kind,
    LogCall,
    Ref,
    UpsertContact,
)
from connectors.errors import Rejected

AT = datetime(2026, 11, 21, 22, 56, tzinfo=timezone(timedelta(hours=1)))
CONTACT = Ref(Kind.CONTACT, "77")
CALL = CallLog(
    direction="inbound", started_at=AT, duration=timedelta(minutes=3, seconds=5, milliseconds=4),
    customer_number="+41446681800", our_number="+41435550100",
)  # fmt: skip


def properties(write: Any, stick: Stick = Stick.ENFORCED, **more: Any) -> dict[str, str]:
    found: dict[str, str] = create(write, stick, **more).json["properties"]
    return found


def test_a_call_is_logged_in_hubspots_units() -> None:
    write = LogCall(key="k-1", subject="Offer", call=CALL, body="Hello", about=(CONTACT,), owner="5", fields={"x": "y"})
    request = create(write, Stick.ENFORCED)
    assert (request.method, request.path, request.writes) == ("POST", "/crm/objects/2026-09/calls", True)
    assert request.json == {
        "properties": {
            "hs_timestamp": "2026-11-21T21:56:00.000Z",
            "hs_call_title": "Offer",
            "hs_call_body": "<p>Hello</p>",
            "hs_call_direction": "INBOUND",
            "hs_call_status": "COMPLETED",
            "hs_call_source": "INTEGRATIONS_PLATFORM",
            "hs_call_duration": "185004",
            "hs_call_from_number": "+41446681800",
            "hs_call_to_number": "+41435550100",
            "x": "y",
            "hubspot_owner_id": "5",
            "gateway_key": "k-1",
        },
        "associations": [
            {"to": {"id": "77"}, "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 194}]}
        ],
    }


def test_an_outbound_call_goes_the_other_way() -> None:
    call = msgspec.structs.replace(CALL, direction="outbound", outcome="no_answer", duration=None)
    found = properties(LogCall(key="k", subject="s", call=call))
    assert (found["hs_call_from_number"], found["hs_call_to_number"]) == ("+41435550100", "+41446681800")
    assert (found["hs_call_direction"], found["hs_call_status"]) == ("OUTBOUND", "NO_ANSWER")
    assert "hs_call_duration" not in found


@pytest.mark.parametrize(
    ("url", "in_field", "in_text"),
    [
        ("https://r.example/a.mp3", True, False),
        ("https://r.example/a.WAV?sig=1", True, False),
        ("https://r.example/play/a", False, True),
        ('https://r.example/"><script>', False, True),
        ("http://r.example/a.mp3", False, False),
        ("javascript:alert(1)", False, False),
        (None, False, False),
    ],
)
def test_a_recording_never_costs_the_call(url: str | None, in_field: bool, in_text: bool) -> None:
    found = properties(LogCall(key="k", subject="s", call=msgspec.structs.replace(CALL, recording_url=url)))
    assert ("hs_call_recording_url" in found) is in_field
    assert ("Recording</a>" in found["hs_call_body"]) is in_text
    assert "<script>" not in found["hs_call_body"]


def test_tasks_notes_events_deals_and_tickets() -> None:
    task = properties(CreateTask(key="k", subject="Call back", due=AT, remind=AT, priority="high", type="email"))
    assert (task["hs_timestamp"], task["hs_task_reminders"]) == ("2026-11-21T21:56:00.000Z", "1795298160000")
    assert (task["hs_task_priority"], task["hs_task_type"], task["hs_task_status"]) == ("HIGH", "EMAIL", "NOT_STARTED")
    note = properties(AddNote(key="k", body="a\nb\n\nc", at=AT))
    assert note["hs_note_body"] == "<p>a<br>b</p><p>c</p>"
    event = properties(CreateEvent(key="k", subject="Visit", starts=AT, ends=AT + timedelta(hours=1)))
    assert (event["hs_meeting_start_time"], event["hs_meeting_end_time"]) == (
        "2026-11-21T21:56:00.000Z",
        "2026-11-21T22:56:00.000Z",
    )
    deal = CreateDeal(key="k", name="D", amount=Decimal("1E+3"), currency="CHF", closes=date(2026, 12, 31), body="b")
    assert properties(deal, place=Place("p", "s"), home_currency="CHF") == {
        "dealname": "D", "pipeline": "p", "dealstage": "s", "amount": "1000", "closedate": "2026-12-31T00:00:00.000Z",
        "description": "b", "gateway_key": "k",
    }  # fmt: skip
    assert properties(deal, home_currency="EUR")["deal_currency_code"] == "CHF"
    ticket = properties(
        CreateTicket(key="k", subject="T", body="b", unchecked="u", priority="urgent"), place=Place("0", "1")
    )
    assert ticket == {
        "subject": "T", "hs_pipeline": "0", "hs_pipeline_stage": "1", "hs_ticket_priority": "URGENT",
        "content": "b\n\nFrom the call, not checked:\nu", "gateway_key": "k",
    }  # fmt: skip


@pytest.mark.parametrize("write", [
    LogCall(key="k-1", subject="s", call=CALL), CreateTask(key="k-1", subject="s", due=AT), AddNote(key="k-1", body="b", at=AT),
    CreateEvent(key="k-1", subject="s", starts=AT, ends=AT), CreateDeal(key="k-1", name="d"), CreateTicket(key="k-1", subject="t"),
])  # fmt: skip
def test_where_keys_are_not_kept_unique_the_text_carries_a_marker(write: wire_writes.Dated) -> None:
    """And the marker tells nobody anything: it is no key, and no key can be made from it."""
    marked, keyed = properties(write, Stick.FOUND), properties(write, Stick.ENFORCED)
    body = wire_writes.BODIES[wire_writes.type_of(write)]
    assert mark("k-1") in marked[body]
    assert "gateway_key" not in marked
    assert mark("k-1") not in keyed.get(body, "")
    assert keyed["gateway_key"] == "k-1"
    assert "k-1" not in mark("k-1")
    assert len(mark("k-1")) == 23


@pytest.mark.parametrize(
    ("about", "ids"),
    [
        (Ref(Kind.CONTACT, "1"), 194),
        (Ref(Kind.LEAD, "1"), 194),
        (Ref(Kind.COMPANY, "1"), 182),
        (Ref(Kind.DEAL, "1"), 206),
        (Ref(Kind.TICKET, "1"), 220),
    ],
)
def test_links_are_of_hubspots_types(about: Ref, ids: int) -> None:
    (link,) = create(LogCall(key="k", subject="s", call=CALL, about=(about, about)), Stick.FOUND).json["associations"]
    assert link["types"][0]["associationTypeId"] == ids


def test_a_link_hubspot_does_not_have_is_refused_before_sending() -> None:
    with pytest.raises(Rejected):
        create(LogCall(key="k", subject="s", call=CALL, about=(Ref(Kind.NOTE, "1"),)), Stick.FOUND)


# ── people ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_person_has_a_name_or_is_named_by_the_number() -> None:
    named = create_contact(
        UpsertContact(key="k", phone="+41446681800", first_name="A", email="a@example.com"), Stick.ENFORCED
    )
    assert named.json["properties"] == {
        "firstname": "A",
        "email": "a@example.com",
        "phone": "+41446681800",
        "gateway_key": "k",
    }
    nameless = create_contact(UpsertContact(key="k", phone="+41446681800", kind=Kind.LEAD), Stick.FOUND)
    assert nameless.json["properties"] == {
        "phone": "+41446681800",
        "lastname": "+41446681800",
        "lifecyclestage": "lead",
    }


HELD = {"firstname": "Aurélie", "lastname": "Perrochon", "phone": "044 668 18 00", "jobtitle": None}


@pytest.mark.parametrize(
    ("write", "held", "expected"),
    [
        (UpsertContact(key="k", phone="+41446681800", first_name="Orelly"), HELD, {"gateway_key": "k"}),
        (UpsertContact(key="k", phone="+41446681800"), {**HELD, "gateway_key": "old"}, {}),
        (UpsertContact(key="k", phone="+41446681800", target=CONTACT), HELD, {}),
        (UpsertContact(key="k", phone="+41795550123", target=CONTACT), HELD, {"mobilephone": "+41795550123"}),
        (UpsertContact(key="k", phone="+41795550123", target=CONTACT), {**HELD, "mobilephone": "+41795550199"}, {}),
        (UpsertContact(key="k", phone="+41795550123", target=CONTACT), {"phone": None}, {"phone": "+41795550123"}),
        (UpsertContact(key="k", fields={"jobtitle": "CFO", "firstname": "Aurélie"}, target=CONTACT), HELD, {"jobtitle": "CFO"}),
        (UpsertContact(key="k", fields={"firstname": "A."}, target=CONTACT), HELD, {"firstname": "A."}),
        (UpsertContact(key="k", fields_if_empty={"jobtitle": "CFO", "lastname": "X"}, target=CONTACT), HELD, {"jobtitle": "CFO"}),
        (UpsertContact(key="k", email="a@x.example", owner="5", target=CONTACT), HELD, {"email": "a@x.example", "hubspot_owner_id": "5"}),
        (UpsertContact(key="k", owner="5", target=CONTACT), {**HELD, "hubspot_owner_id": "4"}, {}),
        (
            UpsertContact(key="k", last_name="Perrochon", target=CONTACT),
            {"lastname": "+41446681800", "phone": "+41446681800"},
            {"lastname": "Perrochon"},
        ),
    ],
)  # fmt: skip
def test_a_known_person_gets_what_is_missing(
    write: UpsertContact, held: dict[str, str | None], expected: dict[str, str]
) -> None:
    """What colleagues entered stays; what was heard on the phone fills gaps."""
    assert contact_changes(write, Object(id="77", properties=dict(held)), Stick.ENFORCED) == expected


# ── text ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Seen(HTMLParser):
    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(max_size=300), st.text(max_size=300))
def test_nothing_spoken_becomes_markup(body: str, unchecked: str) -> None:
    seen = Seen(html(body, unchecked, marker="gw-1"))
    assert set(seen.tags) <= {"p", "br", "strong"}
    assert seen.text.endswith("Ref. gw-1")
    assert ("From the call, not checked" in seen.text) is bool(unchecked) or "not checked" in body + unchecked


@pytest.mark.parametrize("character", ["a", "&", "é", "😀", "\n", "\n\n"])
def test_long_texts_are_cut_to_what_fits_and_keep_their_marker(character: str) -> None:
    for document in (
        html("b" * 100, character * 90_000 + "end", marker="gw-1"),
        html(character * 90_000 + "end", "u", marker="gw-1"),
        plain("b", character * 90_000 + "end", marker="gw-1"),
    ):
        assert len(document) <= LONGEST_TEXT
        assert "gw-1" in document
        assert ("cut here" in document) or len(document) < LONGEST_TEXT // 2


def test_as_much_as_fits_is_kept() -> None:
    document = html("", "word " * 30_000)
    assert LONGEST_TEXT - len(document) < 20


def test_broken_characters_do_not_reach_hubspot() -> None:
    found = properties(LogCall(key="k", subject="a\x00b\ud83d", call=CALL))
    assert found["hs_call_title"] == "ab�"
    found["hs_call_title"].encode()


def test_times_are_utc_with_milliseconds() -> None:
    note = properties(AddNote(key="k", body="b", at=datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)))
    assert note["hs_timestamp"] == "2026-01-01T00:00:00.123Z"

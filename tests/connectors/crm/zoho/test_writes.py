"""What our writes become, without anybody to send them to."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.crm.records import (
    AddNote,
    CallLog,
    CreateDeal,
    CreateTask,
    CreateTicket,
    Field,
    Kind,
    Later,
    LogCall,
    Option,
    Person,
    Ref,
    UpsertContact,
)
from connectors.crm.zoho import wire_writes as writes
from connectors.crm.zoho.manifest import KEY
from connectors.crm.zoho.wire_composite import reference, together
from connectors.crm.zoho.wire_text import CUT_NOTE, LONGEST_TEXT, harmless, plain
from connectors.errors import Rejected, Unsupported
from connectors.request import Request

AT = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)
CONTACT, LEAD = Ref(Kind.CONTACT, "7328395000000680001"), Ref(Kind.LEAD, "7328395000000680002")
DEAL, CASE, COMPANY = Ref(Kind.DEAL, "3"), Ref(Kind.TICKET, "4"), Ref(Kind.COMPANY, "5")
HERE = writes.Around(key_field=True, timezone="Europe/Zurich", currency="CHF", today=date(2026, 11, 23))


def row(request: Request) -> dict[str, Any]:
    (found,) = request.json["data"]
    assert isinstance(found, dict)
    return found


def call(**more: Any) -> LogCall:
    told = {"direction": "inbound", "started_at": AT, "duration": timedelta(seconds=185), **more}
    return LogCall(key="k-1", subject="Offer", call=CallLog(**told), about=(CONTACT,))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, ("Inbound", "03:05", None)),
        ({"outcome": "no_answer", "duration": None}, ("Missed", "00:00", None)),
        ({"outcome": "busy"}, ("Missed", "00:00", None)),
        ({"outcome": "voicemail"}, ("Inbound", "03:05", None)),
        ({"direction": "outbound"}, ("Outbound", "03:05", "Completed")),
        ({"direction": "outbound", "outcome": "no_answer", "duration": None}, ("Outbound", "00:00", "Completed")),
        ({"duration": timedelta(hours=2, seconds=1)}, ("Inbound", "120:01", None)),
        ({"duration": timedelta(seconds=-3)}, ("Inbound", "00:00", None)),
    ],
)
def test_a_call_has_zohos_type_and_duration(told: dict[str, Any], expected: tuple[str, str, str | None]) -> None:
    made = row(writes.create(call(**told), HERE))
    assert (made["Call_Type"], made["Call_Duration"], made.get("Outbound_Call_Status")) == expected
    assert made["Call_Start_Time"] == "2026-11-23T23:30:00+00:00"


def test_numbers_and_recording_stand_in_the_text() -> None:
    made = row(
        writes.create(
            call(customer_number="+41446681800", our_number="+41435550100", recording_url="https://r.example/1.mp3"),
            HERE,
        )
    )
    assert "From: +41446681800\nTo: +41435550100\nRecording: https://r.example/1.mp3" in made["Description"]
    assert "Recording" not in row(writes.create(call(recording_url="javascript:alert(1)"), HERE))["Description"]


@pytest.mark.parametrize(
    ("kind", "about", "expected"),
    [
        (Kind.CALL, (CONTACT,), {"Who_Id": {"id": CONTACT.id}}),
        (Kind.CALL, (LEAD,), {"What_Id": {"id": LEAD.id}, "$se_module": "Leads"}),
        (
            Kind.TASK,
            (CONTACT, COMPANY, DEAL),
            {"Who_Id": {"id": CONTACT.id}, "What_Id": {"id": "3"}, "$se_module": "Deals"},
        ),
        (Kind.EVENT, (COMPANY,), {"What_Id": {"id": "5"}, "$se_module": "Accounts"}),
        (Kind.CALL, (CONTACT, LEAD), {"Who_Id": {"id": CONTACT.id}}),
        (Kind.CALL, (), {}),
        (Kind.DEAL, (CONTACT, COMPANY), {"Contact_Name": {"id": CONTACT.id}, "Account_Name": {"id": "5"}}),
        (Kind.TICKET, (CONTACT, DEAL), {"Related_To": {"id": CONTACT.id}, "Deal_Name": {"id": "3"}}),
        (Kind.NOTE, (LEAD,), {"Parent_Id": {"id": LEAD.id, "module": {"api_name": "Leads"}}}),
        (Kind.NOTE, (DEAL, CONTACT), {"Parent_Id": {"id": CONTACT.id, "module": {"api_name": "Contacts"}}}),
    ],
)
def test_links_are_where_zoho_has_them(kind: Kind, about: tuple[Ref, ...], expected: dict[str, Any]) -> None:
    assert writes.linked(kind, about) == expected


@pytest.mark.parametrize(
    ("kind", "about"), [(Kind.DEAL, LEAD), (Kind.TICKET, LEAD), (Kind.CALL, Ref(Kind.NOTE, "1")), (Kind.DEAL, CASE)]
)
def test_what_zoho_does_not_link_is_said(kind: Kind, about: Ref) -> None:
    with pytest.raises(Rejected):
        writes.linked(kind, (about,))
    with pytest.raises(Rejected):
        writes.linked(Kind.NOTE, ())


def test_a_task_is_due_on_the_accounts_own_day() -> None:
    """Half past eleven at night in London is tomorrow in Zurich."""
    made = row(writes.create(CreateTask(key="t", subject="Call", due=AT, remind=AT, about=(CONTACT,)), HERE))
    assert made["Due_Date"] == "2026-11-24"
    assert made["Remind_At"] == {"ALARM": "FREQ=NONE;ACTION=POPUP;TRIGGER=DATE-TIME:2026-11-23T23:30:00+00:00"}
    nowhere = writes.Around(timezone="Mars/Olympus")
    assert row(writes.create(CreateTask(key="t", subject="Call", due=AT), nowhere))["Due_Date"] == "2026-11-23"


def test_a_deal_closes_some_day() -> None:
    place = writes.Place("Standard", "Qualification")
    around = writes.Around(place=place, today=date(2026, 11, 23), currency="CHF")
    made = row(writes.create(CreateDeal(key="d", name="x" * 300, amount=Decimal("12.5"), currency="EUR"), around))
    assert (made["Closing_Date"], made["Amount"], made["Currency"]) == ("2026-12-23", 12.5, "EUR")
    assert (made["Stage"], made["Pipeline"], len(made["Deal_Name"])) == ("Qualification", "Standard", 120)
    assert "Layout" not in made
    home = row(writes.create(CreateDeal(key="d", name="x", amount=Decimal(1), currency="CHF"), around))
    assert "Currency" not in home
    other = writes.placing(Kind.DEAL, writes.Place("Big", "Open", "77"))
    assert other == {"Stage": "Open", "Pipeline": "Big", "Layout": {"id": "77"}}
    with pytest.raises(Unsupported):
        writes.placing(Kind.CONTACT, place)


def test_picklists_are_asked_what_they_offer() -> None:
    ticket = CreateTicket(key="t", subject="Broken", priority="urgent", about=(CONTACT,))
    offered = [
        Field(name="Case_Origin", label="", type="choice", options=(Option(value="Phone", label="Telefon"),)),
        Field(name="Priority", label="", type="choice", options=(Option(value="Sofort", label="Sofort"),)),
    ]
    made = row(writes.create(ticket, writes.Around(fields=offered)))
    assert made["Case_Origin"] == "Phone"
    assert "Priority" not in made


FIELDS = [
    Field(name="Title", label="", type="text"),
    Field(name="Vip", label="", type="bool"),
    Field(name="Score", label="", type="number"),
    Field(name="Topics", label="", type="choices"),
    Field(name="Partner", label="", type="text"),
]


def test_values_get_the_types_zoho_wants() -> None:
    around = writes.Around(fields=FIELDS, links=frozenset({"Partner"}))
    given = {"Title": "CFO", "Vip": "Yes", "Score": "7", "Topics": "a; b", "Partner": "12"}
    assert writes.typed(given, around) == {
        "Title": "CFO",
        "Vip": True,
        "Score": 7,
        "Topics": ["a", "b"],
        "Partner": {"id": "12"},
    }
    assert writes.typed({"Title": "", "Score": "1.5", "Vip": "no"}, around) == {
        "Title": None,
        "Score": 1.5,
        "Vip": False,
    }
    assert writes.typed({"Score": "many"}, around) == {"Score": "many"}


def test_a_field_that_is_not_there_is_refused_by_us() -> None:
    """Zoho would drop the value and report success."""
    with pytest.raises(Rejected) as refused:
        writes.typed({"Gone__c": "x"}, writes.Around(fields=FIELDS))
    assert refused.value.field == "Gone__c"
    assert writes.typed({"Gone__c": "x"}, writes.Around()) == {"Gone__c": "x"}


# ── people ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({"phone": "+41446681800"}, {"Last_Name": "+41446681800", "Phone": "+41446681800"}),
        ({"first_name": "Aline"}, {"Last_Name": "Aline"}),
        ({"email": "a@example.com"}, {"Last_Name": "a@example.com", "Email": "a@example.com"}),
        ({"last_name": "Voisard", "company": "Aurora SA"}, {"Last_Name": "Voisard"}),
    ],
)
def test_everybody_has_a_last_name(given_: dict[str, Any], expected: dict[str, Any]) -> None:
    made = row(writes.create_person(UpsertContact(key="p-1", **given_), HERE))
    assert made == {**expected, KEY: "p-1"}


def test_a_lead_has_a_company() -> None:
    alone = UpsertContact(key="p", kind=Kind.LEAD, first_name="Aline", last_name="Voisard", phone="+41446681800")
    request = writes.create_person(alone, HERE)
    assert (request.path, row(request)["Company"]) == ("/crm/v8/Leads", "Aline Voisard")
    named = UpsertContact(key="p", kind=Kind.LEAD, last_name="Voisard", company="Aurora SA")
    assert row(writes.create_person(named, HERE))["Company"] == "Aurora SA"


HELD = {
    "id": "1",
    "First_Name": "Aline",
    "Last_Name": "Voisard",
    "Phone": "044 668 18 00",
    "Mobile": None,
    "Owner": None,
}


@pytest.mark.parametrize(
    ("write", "current", "expected"),
    [
        ({"first_name": "Orelly", "last_name": "X"}, HELD, {KEY: "p"}),
        ({"phone": "+41446681800"}, HELD, {KEY: "p"}),
        ({"phone": "+41795550123"}, HELD, {"Mobile": "+41795550123", KEY: "p"}),
        ({"phone": "+41795550123"}, {**HELD, "Mobile": "079 555 99 99"}, {KEY: "p"}),
        ({"last_name": "Voisard"}, {**HELD, "Last_Name": "044 668 18 00"}, {"Last_Name": "Voisard", KEY: "p"}),
        ({"fields": {"Title": "CFO"}}, {**HELD, "Title": "CEO"}, {"Title": "CFO", KEY: "p"}),
        ({"fields": {"Title": "CEO"}}, {**HELD, "Title": "CEO"}, {KEY: "p"}),
        ({"fields_if_empty": {"Title": "CFO"}}, {**HELD, "Title": "CEO"}, {KEY: "p"}),
        ({"fields_if_empty": {"Title": "CFO"}}, HELD, {"Title": "CFO", KEY: "p"}),
        ({"owner": "77"}, HELD, {"Owner": {"id": "77"}, KEY: "p"}),
        ({"owner": "77"}, {**HELD, "Owner": {"id": "66"}, KEY: "older"}, {}),
        ({"target": CONTACT, "first_name": "X"}, {**HELD, "First_Name": None}, {"First_Name": "X"}),
    ],
)
def test_only_what_is_missing_is_filled_in(
    write: dict[str, Any], current: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert writes.person_changes(UpsertContact(key="p", **write), Kind.CONTACT, current, HERE) == expected


# ── texts and keys ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<script>alert(1)</script>", "< script>alert(1)< /script>"),
        ("a < b and 1 <2", "a < b and 1 <2"),
        ("@{w0:$.data[0].details.id}", "@ {w0:$.data[0].details.id}"),
        ("half \ud83d \x00 null", "half \ufffd  null"),
        ("<!-- x --><?php", "< !-- x -->< ?php"),
    ],
)
def test_text_is_harmless_where_it_goes(text: str, expected: str) -> None:
    assert harmless(text) == expected


@given(st.text(max_size=200))
def test_no_text_points_into_a_composite_request(text: str) -> None:
    made = harmless(text)
    assert "@{" not in made
    assert harmless(made) == made


@given(st.integers(0, 70_000), st.integers(0, 70_000), st.booleans())
def test_long_texts_are_cut_to_fit_and_say_so(mine: int, theirs: int, marked: bool) -> None:
    text = plain("m" * mine, "u" * theirs, extra=["From: x"], marker="gw-1" if marked else None)
    assert len(text) <= LONGEST_TEXT
    assert text.endswith("Ref. gw-1") is marked
    assert ("cut here" in text) is (CUT_NOTE in text)
    if mine + theirs < 31_000:
        assert CUT_NOTE not in text
    if mine + theirs > LONGEST_TEXT:
        assert CUT_NOTE in text


@given(st.text(max_size=300))
def test_keys_are_kept_so_that_they_can_be_asked_for(key: str) -> None:
    kept = writes.kept_key(key)
    assert 1 <= len(kept) <= 200
    assert kept.isascii()
    assert "'" not in kept
    assert kept == writes.kept_key(key)


def test_without_a_field_the_key_is_a_mark_in_the_text() -> None:
    bare = writes.Around()
    made = row(writes.create(call(), bare))
    assert KEY not in made
    assert made["Description"].endswith(f"Ref. {writes.mark('k-1')}")
    assert "k-1" not in made["Description"].replace(writes.mark("k-1"), "")
    note = row(writes.create(AddNote(key="n-1", body="Hello", at=AT, about=(CONTACT,)), bare))
    assert note["Note_Content"].endswith(writes.mark("n-1"))


def test_a_dry_run_has_placeholders() -> None:
    later = row(writes.create(LogCall(key="c", subject="x", call=call().call, about=(Later(Kind.LEAD, "d"),)), HERE))
    assert later["What_Id"] == {"id": "<id of the new lead>"}
    person = row(writes.create(LogCall(key="c", subject="x", call=call().call, about=(Person(),)), HERE))
    assert person["Who_Id"] == {"id": "<id of the caller>"}


def test_references_reach_bodies_and_addresses() -> None:
    made = writes.create_person(UpsertContact(key="p", last_name="Voisard"), HERE)
    moved = writes.update(Kind.CONTACT, reference(0), {"Title": "CFO"}, unmodified_since="2026-11-23T09:00:00+01:00")
    first, second = together([made, moved], in_order=True).json["__composite_requests"]
    assert first == {
        "sub_request_id": "w0",
        "method": "POST",
        "uri": "/crm/v8/Contacts",
        "body": {"data": [{"Last_Name": "Voisard", KEY: "p"}]},
    }
    assert second["uri"] == "/crm/v8/Contacts/@{w0:$.data[0].details.id}"
    assert second["headers"] == {"If-Unmodified-Since": "2026-11-23T09:00:00+01:00"}

"""Our writes in Salesforce's words: fields, units, links, and texts that mean only themselves."""

from __future__ import annotations

import base64
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.crm.port import Stick
from connectors.crm.records import (
    AddNote,
    AddToList,
    AssignOwner,
    CallLog,
    CreateDeal,
    CreateEvent,
    CreateTask,
    CreateTicket,
    Earlier,
    Kind,
    LogCall,
    OptOut,
    Ref,
    SetFields,
    UpsertContact,
    Write,
)
from connectors.crm.salesforce import wire_run, wire_texts
from connectors.crm.salesforce import wire_writes as writes
from connectors.crm.salesforce.wire_people import read_task
from connectors.crm.salesforce.wire_run import Known
from connectors.errors import Rejected, Unsupported
from connectors.sandbox.salesforce.rest import _REFERENCE

AT = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)  # tomorrow already in Zürich
WAYS = writes.Ways(today=date(2026, 11, 24), timezone="Europe/Zurich")
CONTACT, LEAD = (Kind.CONTACT, "003000000000001AAA"), (Kind.LEAD, "00Q000000000001AAA")
DEAL, COMPANY = (Kind.DEAL, "006000000000001AAA"), (Kind.COMPANY, "001000000000001AAA")
CALL = CallLog(
    direction="inbound",
    started_at=AT,
    duration=timedelta(seconds=184.6),
    customer_number="+41446681800",
    our_number="+41435550100",
    outcome="no_answer",
    recording_url="https://recordings.example/c-1.mp3",
)


def call(**more: Any) -> LogCall:
    return LogCall(**{"key": "call-1", "subject": "Offer", "call": CALL, "body": "Wants an offer.", **more})


def made(
    write: writes.Dated, about: writes.Anchors = (CONTACT,), *, stick: Stick = Stick.FOUND, ways: writes.Ways = WAYS
) -> dict[str, Any]:
    return dict(writes.create(write, stick, ways, about, place=writes.Place("", "Qualification")).fields)


def test_a_call_is_a_finished_task_of_its_day_in_seconds() -> None:
    fields = made(call(unchecked="Je suis fâché."))
    text = fields.pop("Description")
    assert fields == {
        "Subject": "Offer",
        "TaskSubtype": "Call",
        "CallType": "Inbound",
        "CallDurationInSeconds": 185,
        "CallDisposition": "No answer",
        "CallObject": "call-1",
        "Status": "Completed",
        "ActivityDate": "2026-11-24",
        "WhoId": CONTACT[1],
    }
    assert text == (
        "Wants an offer.\n\nStarted: 2026-11-23T23:30:00Z\nFrom: +41446681800\nTo: +41435550100\n"
        "Recording: https://recordings.example/c-1.mp3\n\nFrom the call, not checked:\nJe suis fâché."
    )


def test_when_a_call_began_is_read_back() -> None:
    """A task knows its day only; two calls of one day would change places."""
    row = {"Id": "00T", "TaskSubtype": "Call", "ActivityDate": "2026-11-24", "Description": made(call())["Description"]}
    activity = read_task(row)
    assert activity is not None
    assert (activity.kind, activity.at) == (Kind.CALL, AT)
    other = read_task({"Id": "00T", "ActivityDate": "2026-11-24", "CreatedDate": "2026-11-20T08:00:00.000+0000"})
    assert other is not None
    assert (other.kind, other.at) == (Kind.TASK, datetime(2026, 11, 24, tzinfo=UTC))


def test_the_orgs_own_words_are_used() -> None:
    ways = msgspec.structs.replace(WAYS, closed_status="Erledigt", high_priority="Dringend")
    assert made(call(), ways=ways)["Status"] == "Erledigt"
    task = CreateTask(key="t", subject="x", due=AT, priority="high")
    assert made(task, ways=ways)["Priority"] == "Dringend"
    assert "Priority" not in made(msgspec.structs.replace(task, priority="normal"))
    assert "Status" not in made(task), "the org's default is an open one"


def test_a_task_is_due_on_a_day_and_reminds_at_an_hour() -> None:
    fields = made(CreateTask(key="t-1", subject="Call back", due=AT, remind=AT - timedelta(hours=1)))
    assert (fields["ActivityDate"], fields["IsReminderSet"]) == ("2026-11-24", True)
    assert fields["ReminderDateTime"] == "2026-11-23T22:30:00.000Z"
    assert fields["CallObject"] == "t-1"
    assert "Due at 00:30 (Europe/Zurich)" in fields["Description"]
    midnight = datetime(2026, 11, 23, 23, 0, tzinfo=UTC)
    assert made(CreateTask(key="t-2", subject="x", due=midnight))["Description"] == ""


@pytest.mark.parametrize(
    ("about", "fields", "in_words"),
    [
        ((CONTACT,), {"WhoId": CONTACT[1]}, ""),
        ((CONTACT, DEAL), {"WhoId": CONTACT[1], "WhatId": DEAL[1]}, ""),
        ((COMPANY, DEAL, CONTACT), {"WhoId": CONTACT[1], "WhatId": DEAL[1]}, f"Also about: company {COMPANY[1]}"),
        ((COMPANY,), {"WhatId": COMPANY[1]}, ""),
        ((LEAD, DEAL), {"WhoId": LEAD[1]}, f"Also about: deal {DEAL[1]}"),
        ((), {}, ""),
    ],
)
def test_an_activity_has_one_person_and_one_thing(about: writes.Anchors, fields: dict[str, str], in_words: str) -> None:
    """What Salesforce has no field for is said in words, not dropped."""
    for write in (call(), CreateEvent(key="e", subject="Visit", starts=AT, ends=AT + timedelta(hours=1))):
        found = made(write, about)
        assert {name: value for name, value in found.items() if name in ("WhoId", "WhatId")} == fields
        assert in_words in found["Description"]


def test_a_deal_has_the_close_date_that_is_demanded() -> None:
    fields = made(
        CreateDeal(key="d", name="Maintenance", amount=Decimal("1200.50"), currency="CHF"), stick=Stick.ENFORCED
    )
    assert fields["CloseDate"] == "2026-12-24"
    assert (fields["Amount"], fields["StageName"], fields["ContactId"]) == (1200.5, "Qualification", CONTACT[1])
    assert fields["Gateway_Key__c"] == "d"
    assert fields["Description"] == "Amount in CHF: 1200.50", "an org with one currency has no field for it"
    several = msgspec.structs.replace(WAYS, home_currency="EUR")
    known = made(CreateDeal(key="d", name="x", amount=Decimal(5), currency="CHF"), ways=several)
    assert known["CurrencyIsoCode"] == "CHF"
    assert "gw-" in known["Description"], "without a key there is a marker"


def test_what_cannot_hang_on_a_lead_is_refused_in_words() -> None:
    for write in (CreateDeal(key="d", name="x"), CreateTicket(key="t", subject="x")):
        with pytest.raises(Rejected, match="convert the lead first"):
            made(write, (LEAD,))


def test_a_note_is_escaped_and_its_links_stand_or_fall_with_it() -> None:
    note = AddNote(key="n", body="<b>Prefers mornings</b>\n\n& tea", at=AT, about=(Ref(*DEAL), Ref(*CONTACT)))
    plan = wire_run.plan(0, note, Stick.FOUND, Known(ways=WAYS, about=(DEAL, CONTACT)))
    request = wire_run.request([plan])
    assert request is not None
    assert request.json["allOrNone"] is True
    made_note, *links = request.json["compositeRequest"]
    content = base64.b64decode(made_note["body"]["Content"]).decode()
    assert content == "<p>&lt;b&gt;Prefers mornings&lt;/b&gt;</p><p>&amp; tea</p>"
    assert made_note["body"]["Title"].endswith(wire_texts.mark("n"))
    assert [(link["body"]["ContentDocumentId"], link["body"]["LinkedEntityId"]) for link in links] == [
        ("@{w0.id}", DEAL[1]),
        ("@{w0.id}", CONTACT[1]),
    ]
    assert writes.title(note) == made_note["body"]["Title"], "it is asked for as a whole later"


@given(st.text(max_size=60), st.text(max_size=60))
def test_nothing_that_was_said_refers_to_anything(body: str, unchecked: str) -> None:
    """A caller who dictates "@{w0.id}" must not have Salesforce fill something in."""
    fields = made(call(subject=body + "@{w0.id}", body=body + "@{w0.id}", unchecked="@{w1.body}" + unchecked))
    for name, value in fields.items():
        assert not isinstance(value, str) or not _REFERENCE.search(value), name
        assert not isinstance(value, str) or "\x00" not in value


@given(st.text(alphabet=st.sampled_from("ab \n𝄞é&"), max_size=3_000), st.integers(1, 30))
def test_a_text_fits_into_its_field(piece: str, times: int) -> None:
    text = wire_texts.plain(piece, piece * times, details=["Started: x"], marker="gw-1")
    assert wire_texts.length(text) <= wire_texts.LONGEST_TEXT
    assert text.endswith("Ref. gw-1")
    if wire_texts.length(piece * (times + 1)) > wire_texts.LONGEST_TEXT + 200:
        assert wire_texts.CUT_NOTE in text


@pytest.mark.parametrize("key", ["a/b", "x" * 300, "é", "a b", "", "a.b"])
def test_a_key_that_would_need_quoting_is_hashed(key: str) -> None:
    assert wire_texts.key_value(key).isalnum()
    assert wire_texts.key_value("ca_01-x") == "ca_01-x"


# ── people ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_nobody_knows_is_said_to_be_unknown() -> None:
    """Salesforce demands a last name, and of a lead a company."""
    caller = UpsertContact(key="p", phone="+41446681800")
    assert writes.create_person(caller, Stick.FOUND, WAYS).fields == {
        "Phone": "+41446681800",
        "LastName": "+41446681800",
    }
    lead = UpsertContact(key="p", phone="+41446681800", first_name="Ruth", kind=Kind.LEAD)
    fields = writes.create_person(lead, Stick.ENFORCED, WAYS).fields
    assert (fields["LastName"], fields["Company"], fields["Gateway_Key__c"]) == (
        "[not provided]",
        "[not provided]",
        "p",
    )
    owned = writes.create_person(msgspec.structs.replace(lead, owner="005000000000001AAA"), Stick.FOUND, WAYS)
    assert owned.headers == {"Sforce-Auto-Assign": "FALSE"}, "else assignment rules take it from its owner"


def test_a_company_that_was_said_is_kept_in_words() -> None:
    """Which account is meant is not for us to guess."""
    contact = UpsertContact(key="p", last_name="Meier", company="Aurora SA")
    assert writes.create_person(contact, Stick.FOUND, WAYS).fields["Description"] == "Company: Aurora SA"
    lead = msgspec.structs.replace(contact, kind=Kind.LEAD)
    assert writes.create_person(lead, Stick.FOUND, WAYS).fields["Company"] == "Aurora SA"


@pytest.mark.parametrize(
    ("current", "changes"),
    [
        ({"Phone": None, "MobilePhone": None}, {"Phone": "+41795550123", "FirstName": "Aline", "Email": "a@example.com"}),
        ({"Phone": "044 668 18 00", "MobilePhone": None}, {"MobilePhone": "+41795550123", "FirstName": "Aline", "Email": "a@example.com"}),
        ({"Phone": "079 555 01 23", "Email": "b@example.com", "FirstName": "Line"}, {}),
        ({"HomePhone": "+41 79 555 01 23", "Email": "b@example.com", "FirstName": "L."}, {}),
        (
            {"LastName": "+41446681800", "Phone": "+41446681800", "MobilePhone": "+41795550123", "Email": "b@x.example", "FirstName": "L."},
            {"LastName": "Voisard"},
        ),
        ({"LastName": "[not provided]", "Phone": "079 555 01 23", "Email": "b@example.com", "FirstName": "L."}, {"LastName": "Voisard"}),
    ],
)  # fmt: skip
def test_only_what_is_missing_is_filled_in(current: dict[str, Any], changes: dict[str, Any]) -> None:
    heard = UpsertContact(key="p", phone="+41795550123", first_name="Aline", last_name="Voisard", email="a@example.com")
    held = {"LastName": "Voisard-Meier", "OtherPhone": None, **current}
    assert writes.person_changes("Contact", heard, held, Stick.FOUND, WAYS) == changes


TYPES = {"Contact": {"Vip__c": "boolean", "Score__c": "double", "Age__c": "int", "Title": "string", "Due__c": "date"}}


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("Vip__c", "true", True), ("Vip__c", "No", False), ("Vip__c", "", False), ("Score__c", "85", 85.0),
        ("Score__c", "8.5", 8.5), ("Age__c", "41", 41), ("Title", "CFO @{w0.id}", "CFO @ {w0.id}"),
        ("Due__c", "2026-11-24", "2026-11-24"), ("Score__c", "", None),
    ],
)  # fmt: skip
def test_a_value_gets_its_fields_type(field: str, text: str, value: Any) -> None:
    ways = msgspec.structs.replace(WAYS, types=TYPES)
    assert writes.typed("Contact", {field: text}, ways) == {field: value}


@pytest.mark.parametrize(
    ("field", "text"),
    [("Vip__c", "perhaps"), ("Score__c", "12 kg"), ("Score__c", "nan"), ("Nobody__c", "x"), ("a.b", "x"), ("Id'", "x")],
)
def test_a_value_that_does_not_fit_names_its_field(field: str, text: str) -> None:
    ways = msgspec.structs.replace(WAYS, types=TYPES)
    with pytest.raises(Rejected) as refused:
        writes.typed("Contact", {field: text}, ways)
    assert refused.value.field == field


# ── runs ────────────────────────────────────────────────────────────────────────────────────────────────────────────

ME = Ref(*CONTACT)
NEW = UpsertContact(key="p", last_name="x")
NOTE = AddNote(key="n", body="x", at=AT, about=(ME,))


@pytest.mark.parametrize(
    ("run", "parts"),
    [
        ([NEW, call(), call()], [[0, 1, 2]]),
        ([call(), NOTE, call()], [[0], [1], [2]]),
        ([NOTE, NOTE], [[0], [1]]),
        ([SetFields(key="a", target=ME), call(), SetFields(key="b", target=ME)], [[0, 1], [2]]),
        ([SetFields(key="a", target=ME), AssignOwner(key="b", target=Ref(*LEAD))], [[0, 1]]),
        ([NEW, SetFields(key="a", target=Earlier(Kind.CONTACT, 0)), OptOut(key="b", target=Earlier(Kind.CONTACT, 0))], [[0, 1], [2]]),
        ([NEW, UpsertContact(key="q", target=Earlier(Kind.CONTACT, 0))], [[0], [1]]),
        ([call()] * 60, [list(range(25)), list(range(25, 50)), list(range(50, 60))]),
        ([], []),
    ],
)  # fmt: skip
def test_a_run_goes_out_in_as_few_requests_as_keep_its_promises(run: list[Write], parts: list[list[int]]) -> None:
    """A second change of one record must not overtake a first that could not be made."""
    assert wire_run.parts(run) == parts


def test_links_into_a_run_are_references() -> None:
    deal = CreateDeal(key="d", name="x", about=(Earlier(Kind.CONTACT, 0),))
    known = Known(ways=WAYS, about=((Kind.CONTACT, wire_run.made_by(0)),), place=writes.Place("", "Qualification"))
    plan = wire_run.plan(3, deal, Stick.ENFORCED, known)
    assert plan.parts[0].body is not None
    assert plan.parts[0].body["ContactId"] == "@{w0.id}"


@pytest.mark.parametrize(
    ("write", "about", "error"),
    [
        (AssignOwner(key="o", target=ME), CONTACT, Rejected),
        (AddToList(key="l", target=Ref(*COMPANY), list="x"), COMPANY, Rejected),
        (OptOut(key="o", target=ME), CONTACT, Rejected),
    ],
)
def test_what_makes_no_sense_is_refused_beforehand(
    write: Write, about: tuple[Kind, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        wire_run.plan(0, write, Stick.REPEATABLE, Known(ways=WAYS, about=(about,), list="701000000000001AAA"))


def test_what_has_no_stages_has_none() -> None:
    with pytest.raises(Unsupported):
        writes.placing(Kind.CALL, writes.Place("", "x"))
    assert writes.placing(Kind.DEAL, writes.Place("012000000000001AAA", "Won")) == {
        "RecordTypeId": "012000000000001AAA",
        "StageName": "Won",
    }

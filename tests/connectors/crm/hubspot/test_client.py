"""What the contract suite cannot stage: accounts too large or too odd for a sandbox. One request, one scripted answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors import phone
from connectors.crm.hubspot import wire
from connectors.crm.hubspot.client import HubSpot
from connectors.crm.hubspot.manifest import MANIFEST
from connectors.crm.hubspot.wire_writes import mark
from connectors.crm.port import Stick
from connectors.crm.records import CallLog, Kind, LogCall, Ref
from connectors.errors import Rejected, UnexpectedReply
from connectors.request import Reply, Request

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


class Scripted:
    """A sender that answers from a function of the request."""

    def __init__(self, answer: Callable[[Request], Any]) -> None:
        self._answer = answer
        self.sent: list[Request] = []

    async def send(self, request: Request) -> Reply:
        self.sent.append(request)
        return Reply(status=200, headers={}, body=json.dumps(self._answer(request)).encode())


class Searchable:
    """Contacts with the millisecond of their last change, searched as HubSpot does: by window and offset."""

    def __init__(self, changed: list[tuple[int, datetime]]) -> None:
        self.changed = changed

    def __call__(self, request: Request) -> Any:
        body = request.json
        filters = {
            (each["propertyName"], each["operator"]): int(each["value"]) for each in body["filterGroups"][0]["filters"]
        }
        found = [entry for entry in self.changed if self._fits(entry, filters)]
        by_id = body["sorts"][0]["propertyName"] == "hs_object_id"
        found.sort(key=lambda entry: (entry[0],) if by_id else (wire.milliseconds(entry[1]), -entry[0]))
        offset, limit = int(body.get("after", 0)), body["limit"]
        assert offset + limit <= wire.SEARCH_WINDOW, "HubSpot answers 400 beyond its window"
        page = found[offset : offset + limit]
        more = {"paging": {"next": {"after": str(offset + limit)}}} if offset + limit < len(found) else {}
        results = [{"id": str(id), "properties": {"lastmodifieddate": wire.stamp(at)}} for id, at in page]
        return {"total": len(found), "results": results, **more}

    def _fits(self, entry: tuple[int, datetime], filters: dict[tuple[str, str], int]) -> bool:
        id, at = entry[0], wire.milliseconds(entry[1])
        tests = {
            ("lastmodifieddate", "GTE"): lambda value: at >= value,
            ("lastmodifieddate", "EQ"): lambda value: at == value,
            ("hs_object_id", "GT"): lambda value: id > value,
        }
        return all(tests[wanted](value) for wanted, value in filters.items())


@pytest.mark.parametrize(
    "spread",
    [
        pytest.param(lambda n: timedelta(milliseconds=n), id="one a millisecond"),
        pytest.param(lambda n: timedelta(milliseconds=n // 150), id="some at once"),
        pytest.param(lambda n: timedelta(0), id="all at once, as after an import"),
        pytest.param(lambda n: timedelta(milliseconds=0 if n < 1000 else n), id="an import, then a trickle"),
    ],
)
@pytest.mark.parametrize("count", [0, 1, 200, 399, 400, 401, 1203])
async def test_more_changes_than_a_search_gives_out_are_all_seen(
    monkeypatch: pytest.MonkeyPatch, spread: Callable[[int], timedelta], count: int
) -> None:
    """A mirror that stops at HubSpot's ten thousandth hit forgets everyone after it."""
    monkeypatch.setattr(wire, "SEARCH_WINDOW", 400)
    changed = [(1000 + n, START + spread(n)) for n in range(count)]
    crm = HubSpot(Scripted(Searchable(changed)), sticks={})
    pages = [page async for page in crm.changes_since(Kind.CONTACT, START)]
    assert {contact.id for page in pages for contact in page.items} == {str(id) for id, _ in changed}
    ends = [max(contact.updated_at or START for contact in page.items) for page in pages]
    assert ends == sorted(ends)


def field(unique: bool) -> dict[str, Any]:
    return {"name": "gateway_key", "type": "string", "fieldType": "text", "groupName": "g", "hasUniqueValue": unique}


async def test_a_property_of_our_name_that_is_not_unique_enforces_nothing() -> None:
    """Somebody made a plain field of that name: relying on it would double every lost answer."""

    def answer(request: Request) -> Any:
        if "/objects/" in request.path:
            raise Rejected("no such record", gone=True)
        return field(unique="contacts" in request.path)

    probed = await HubSpot(Scripted(answer), sticks={}).probe()
    assert probed["upsert_contact"].stick is Stick.ENFORCED
    assert {probed[name].stick for name in ("log_call", "create_task", "add_note", "create_deal")} == {Stick.FOUND}
    assert probed["set_fields"].stick is Stick.REPEATABLE


async def test_a_property_that_records_cannot_be_read_by_enforces_nothing() -> None:
    def answer(request: Request) -> Any:
        if "/objects/" in request.path:
            raise Rejected("not a unique property", status=400)
        return field(unique=True)

    probed = await HubSpot(Scripted(answer), sticks={}).probe()
    assert probed["log_call"].stick is Stick.FOUND


MARKED = LogCall(
    key="k-1", subject="s", call=CallLog(direction="inbound", started_at=START), about=(Ref(Kind.CONTACT, "1"),)
)


async def test_half_an_answer_is_not_taken_for_nothing_there() -> None:
    """A batch that failed in part says nothing about what it left out."""

    def answer(request: Request) -> Any:
        return {"results": [], "errors": [{"category": "INTERNAL_ERROR"}]}

    with pytest.raises(UnexpectedReply):
        await HubSpot(Scripted(answer), sticks={}).find(MARKED)


async def test_a_look_goes_through_everything_that_hangs_on_a_person() -> None:
    """The contact has had more calls than fit one page, and ours is among the oldest of them."""
    ids = [str(id) for id in range(1, 701)]
    marker = mark("k-1")

    def answer(request: Request) -> Any:
        given = request.json["inputs"]
        if "/associations/" in request.path:
            start = int(given[0].get("after", 0))
            rest = {"paging": {"next": {"after": str(start + 500)}}} if start + 500 < len(ids) else {}
            return {"results": [{"to": [{"toObjectId": int(id)} for id in ids[start : start + 500]], **rest}]}
        body = {"3": f"<p>Ref. {marker}</p>"}
        return {
            "results": [
                {"id": one["id"], "properties": {"hs_call_body": body.get(one["id"], "<p>x</p>")}} for one in given
            ]
        }

    crm = HubSpot(Scripted(answer), sticks={"log_call": MANIFEST.sticks["log_call"][-1]})
    found = await crm.find(MARKED)
    assert found is not None
    assert found.id == "3"


async def test_what_a_scope_is_missing_for_is_asked_once() -> None:
    """A connection without the companies' scope must not turn every lookup into an error HubSpot counts against us."""

    def answer(request: Request) -> Any:
        if "companies" in request.path:
            raise Rejected("no scope", scopes=("crm.objects.companies.read",), status=403)
        return {"total": 0, "results": []}

    http = Scripted(answer)
    crm = HubSpot(http, sticks={})
    number = phone.read("+41446681800")
    assert number is not None
    assert await crm.find_contacts(number) == []
    assert await crm.find_contacts(number) == []
    assert [request.path.split("/")[4] for request in http.sent] == ["contacts", "companies", "contacts"]

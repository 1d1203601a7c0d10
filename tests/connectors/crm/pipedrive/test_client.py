"""What the contract suite cannot stage: companies too large or too odd for a sandbox. One request, one scripted answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors import phone
from connectors.crm.pipedrive.client import Pipedrive
from connectors.crm.pipedrive.manifest import MANIFEST
from connectors.crm.pipedrive.wire_texts import mark
from connectors.crm.records import CallLog, CreateDeal, Kind, LogCall, Ref, UpsertContact
from connectors.errors import Rejected, UnexpectedReply, Unsupported
from connectors.request import Reply, Request

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


class Scripted:
    """A sender that answers from a function of the request."""

    def __init__(self, answer: Callable[[Request], Any]) -> None:
        self._answer = answer
        self.sent: list[Request] = []

    async def send(self, request: Request) -> Reply:
        self.sent.append(request)
        await asyncio.sleep(0)
        return Reply(status=200, headers={}, body=json.dumps(self._answer(request)).encode())


def listed(rows: list[Any], after: str | None = None) -> Any:
    return {"success": True, "data": rows, "additional_data": {"next_cursor": after}}


def query(request: Request, name: str) -> str | None:
    return dict(request.query).get(name)


def person(id: int, at: datetime = START) -> dict[str, Any]:
    return {"id": id, "name": f"Person {id}", "phones": [], "emails": [], "update_time": at.isoformat()}


async def test_a_cursor_that_is_refused_midway_loses_nobody() -> None:
    """How long one lives is documented nowhere; a mirror must not stop at the page where it died."""
    refused: list[str] = []

    def answer(request: Request) -> Any:
        if "Fields" in request.path:
            return listed([])
        since, cursor = query(request, "updated_since") or "", query(request, "cursor")
        if cursor == "dead" and not refused:
            refused.append(cursor)
            raise Rejected("cursor", status=400)
        start = 3 if since.startswith("2026-11-23T09:00:03") else 1
        return listed(
            [person(id, START + timedelta(seconds=id)) for id in range(start, start + 3)], None if refused else "dead"
        )

    http = Scripted(answer)
    pages = [page async for page in Pipedrive(http, sticks={}).changes_since(Kind.CONTACT, START)]
    assert [contact.id for page in pages for contact in page.items] == ["1", "2", "3", "3", "4", "5"]
    since = [query(request, "updated_since") for request in http.sent if request.path.endswith("/persons")]
    assert since == ["2026-11-23T09:00:00Z", "2026-11-23T09:00:00Z", "2026-11-23T09:00:03Z"]


async def test_a_first_page_that_is_refused_is_no_cursor() -> None:
    def answer(request: Request) -> Any:
        if "Fields" in request.path:
            return listed([])
        raise Rejected("no", status=400)

    with pytest.raises(Rejected):
        [page async for page in Pipedrive(Scripted(answer), sticks={}).changes_since(Kind.CONTACT, START)]


CALL = LogCall(
    key="k-1", subject="s", call=CallLog(direction="inbound", started_at=START), about=(Ref(Kind.CONTACT, "1"),)
)


async def test_a_look_goes_through_everything_that_hangs_on_a_person() -> None:
    """The person has had more calls than fit one page, and ours is among the oldest of them."""

    def answer(request: Request) -> Any:
        start = int(query(request, "cursor") or 0)
        rows = [{"id": id, "note": f"Ref. {mark('k-1')}" if id == 555 else "x"} for id in range(start, start + 100)]
        return listed(rows, str(start + 100) if start < 700 else None)

    found = await Pipedrive(Scripted(answer), sticks={}).find(CALL)
    assert found is not None
    assert found.id == "555"


@pytest.mark.parametrize(
    "said", [[], {"success": True}, {"success": False, "data": []}, {"success": True, "data": [{"no": "id"}]}]
)
async def test_half_an_answer_is_not_taken_for_nothing_there(said: Any) -> None:
    with pytest.raises(UnexpectedReply):
        await Pipedrive(Scripted(lambda _: said), sticks={}).find(CALL)


async def test_a_field_of_ours_that_was_taken_away_makes_deals_unfindable() -> None:
    """ "Not found" would make the deal a second time."""
    sticks = {"create_deal": MANIFEST.sticks["create_deal"][0]}
    crm = Pipedrive(Scripted(lambda _: listed([])), sticks=sticks)
    with pytest.raises(Unsupported):
        await crm.find(CreateDeal(key="d", name="x", about=(Ref(Kind.CONTACT, "1"),)))


async def test_who_cannot_be_looked_for_by_key_is_looked_for_by_number() -> None:
    def answer(request: Request) -> Any:
        if "Fields" in request.path:
            raise Rejected("no scope", status=403, scopes=("contact-fields:full",))
        return listed([{**person(2), "phones": [{"value": "044 668 18 00", "primary": True}]}, person(1)])

    found = await Pipedrive(Scripted(answer), sticks={}).find(UpsertContact(key="p", phone="+41446681800"))
    assert found is not None
    assert found.id == "2"


async def test_what_a_scope_is_missing_for_is_asked_once() -> None:
    """Every request costs the company tokens, and refusals lead to Cloudflare."""

    def answer(request: Request) -> Any:
        if "Fields" in request.path:
            raise Rejected("no scope", status=403)
        return {"success": True, "data": {"items": []}}

    http = Scripted(answer)
    crm = Pipedrive(http, sticks={})
    number = phone.read("+41446681800")
    assert number is not None
    for _ in range(3):
        assert await crm.find_contacts(number) == []
    assert sum("Fields" in request.path for request in http.sent) == 2


async def test_lists_of_a_company_are_read_to_their_end() -> None:
    def answer(request: Request) -> Any:
        if request.path.endswith("/stages"):
            rows = [{"id": 1, "name": "A", "order_nr": 1, "pipeline_id": 1}]
            return listed([{"id": 9, "name": "B", "order_nr": 2, "pipeline_id": 1}] if query(request, "cursor") else rows,
                          None if query(request, "cursor") else "x")  # fmt: skip
        return listed([{"id": 1, "name": "P", "order_nr": 1}])

    (pipeline,) = await Pipedrive(Scripted(answer), sticks={}).pipelines(Kind.DEAL)
    assert [stage.label for stage in pipeline.stages] == ["A", "B", "Won", "Lost"]


async def test_users_are_read_once_for_many_callers() -> None:
    """Their list costs twenty tokens."""

    def answer(request: Request) -> Any:
        if request.path.endswith("/users"):
            return listed([{"id": 5, "name": "Sarah", "email": "sarah@aurora.example"}])
        return {"success": True, "data": {**person(1), "owner_id": 5}} if request.path.endswith("/1") else listed([])

    http = Scripted(answer)
    crm = Pipedrive(http, sticks={})
    for _ in range(3):
        context = await crm.context(Ref(Kind.CONTACT, "1"))
        assert context.owner is not None
        assert context.owner.name == "Sarah"
    assert sum(request.path.endswith("/users") for request in http.sent) == 1
    assert await crm.owner_by_email("nobody@aurora.example") is None
    assert sum(request.path.endswith("/users") for request in http.sent) == 2

"""Lists by name and by number: which one is meant, and what is said when it takes nobody."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connectors.crm.hubspot.client import HubSpot
from connectors.crm.port import Done, Failed, Outcome
from connectors.crm.records import AddToList, Kind, Ref
from connectors.errors import OutcomeUnknown, Rejected
from connectors.request import Reply, Request

PERSON = Ref(Kind.CONTACT, "123")


class Lists:
    """An account with these lists, (id, name, processing), two to a page."""

    def __init__(self, *known: tuple[str, str, str], answer: bytes | None = None) -> None:
        self.known = known
        self.answer = answer
        self.joined: list[str] = []
        self.searches = 0

    async def send(self, request: Request) -> Reply:
        if request.path.endswith("/search"):
            self.searches += 1
            return _reply(self._page(request.json["query"], request.json["offset"]))
        list_id = request.path.split("/")[-3]
        if list_id not in {id for id, *_ in self.known}:
            raise Rejected("HubSpot has no such record", gone=True, status=404)
        self.joined.append(list_id)
        if self.answer is not None:
            return Reply(status=200, headers={}, body=self.answer)
        return _reply({"recordsIdsAdded": request.json, "recordIdsRemoved": [], "recordIdsMissing": []})

    def _page(self, query: str, offset: int) -> dict[str, Any]:
        fitting = [one for one in self.known if query.lower() in one[1].lower()]
        page = fitting[offset : offset + 2]
        lists = [{"listId": id, "name": name, "processingType": kind} for id, name, kind in page]
        more = offset + 2 < len(fitting)
        return {"lists": lists, "offset": offset + len(page), "hasMore": more, "total": len(fitting)}


def _reply(value: object) -> Reply:
    return Reply(status=200, headers={}, body=json.dumps(value).encode())


async def put(account: Lists, named: str, *, crm: HubSpot | None = None) -> Outcome:
    (outcome,) = await (crm or HubSpot(account, sticks={})).write([AddToList(key="l", target=PERSON, list=named)])
    return outcome


VIPS = ("7", "VIP", "MANUAL")


@pytest.mark.parametrize(
    ("named", "known", "chosen"),
    [
        pytest.param("7", [VIPS], "7", id="by its number"),
        pytest.param("vip", [VIPS], "7", id="by its name, case aside"),
        pytest.param("VIP", [("1", "VIP old", "MANUAL"), ("2", "VIP new", "MANUAL"), VIPS], "7", id="on a later page"),
        pytest.param("VIP", [("1", "vip", "DYNAMIC"), VIPS], "7", id="of two, the one that takes people"),
        pytest.param("VIP", [("7", "VIP", "SNAPSHOT")], "7", id="a snapshot takes people"),
        pytest.param("2026", [("7", "2026", "MANUAL")], "7", id="a number that is a name"),
    ],
)
async def test_the_list_that_is_meant_is_found(named: str, known: list[tuple[str, str, str]], chosen: str) -> None:
    account = Lists(*known)
    assert isinstance(await put(account, named), Done)
    assert account.joined == [chosen]


@pytest.mark.parametrize(
    ("known", "words"),
    [
        pytest.param([("1", "VIP old", "MANUAL")], "no list of this name", id="none of that name"),
        pytest.param([("1", "VIP", "DYNAMIC")], "its own filters", id="one that fills itself"),
    ],
)
async def test_a_list_that_takes_nobody_is_said_so(known: list[tuple[str, str, str]], words: str) -> None:
    account = Lists(*known)
    outcome = await put(account, "VIP")
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, Rejected)
    assert words in outcome.error.reason
    assert not outcome.error.gone
    assert account.joined == []


async def test_a_name_is_asked_for_once() -> None:
    account = Lists(VIPS)
    crm = HubSpot(account, sticks={})
    for _ in range(3):
        assert isinstance(await put(account, "VIP", crm=crm), Done)
    assert (account.searches, account.joined) == (1, ["7", "7", "7"])
    account.known = (("8", "VIP", "MANUAL"),)
    assert isinstance(await put(account, "VIP", crm=crm), Failed), "deleted; the next time it is asked for again"
    assert isinstance(await put(account, "VIP", crm=crm), Done)
    assert account.joined[-1] == "8"


async def test_somebody_who_is_gone_is_said_to_be_gone() -> None:
    account = Lists(VIPS, answer=b'{"recordsIdsAdded":[],"recordIdsRemoved":[],"recordIdsMissing":["123"]}')
    outcome = await put(account, "7")
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, Rejected)
    assert outcome.error.gone


async def test_an_answer_nobody_can_read_is_no_refusal() -> None:
    outcome = await put(Lists(VIPS, answer=b"<html>"), "7")
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, OutcomeUnknown)

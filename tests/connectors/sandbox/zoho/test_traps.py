"""What Zoho does that one would not expect; each of these has cost somebody a day."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx2
import msgspec
import pytest

from connectors.request import Request
from connectors.sandbox.face import Call
from connectors.sandbox.faults import Fault, Kind
from connectors.sandbox.serve import running
from connectors.sandbox.zoho import demo_app, shown
from connectors.sandbox.zoho.app import Counting
from connectors.sandbox.zoho.limits import Credits
from connectors.sandbox.zoho.modules import MODULES, FieldDef
from tests.connectors.crm.zoho.world import SCOPES, World, make_world

CALL = {
    "Subject": "x",
    "Call_Type": "Inbound",
    "Call_Start_Time": "2026-11-23T09:00:00+00:00",
    "Call_Duration": "01:00",
}


def insert(world: World, module: str, *records: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    status, told = world.told("POST", module, {"data": list(records)})
    return status, told["data"]


def code(world: World, module: str, record: dict[str, Any]) -> tuple[str, str | None]:
    _, (entry,) = insert(world, module, record)
    return entry["code"], entry["details"].get("api_name")


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_some_good_and_some_bad_is_207_and_all_bad_is_400(world: World) -> None:
    good, bad = {"Last_Name": "A"}, {"First_Name": "B"}
    assert insert(world, "Contacts", good, good)[0] == 201
    status, entries = insert(world, "Contacts", good, bad)
    assert (status, [entry["code"] for entry in entries]) == (207, ["SUCCESS", "MANDATORY_NOT_FOUND"])
    assert entries[1]["details"]["json_path"] == "$.data[1].Last_Name"
    assert insert(world, "Contacts", bad, bad)[0] == 400
    assert world.count("Contacts") == 3


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({**CALL, "Call_Type": "Sideways"}, ("INVALID_DATA", "Call_Type")),
        ({**CALL, "Call_Duration": "90"}, ("INVALID_DATA", "Call_Duration")),
        ({**CALL, "Call_Start_Time": "2026-11-23T09:00:00.5+00:00"}, ("INVALID_DATA", "Call_Start_Time")),
        ({**CALL, "Call_Start_Time": "2026-11-23T09:00:00"}, ("INVALID_DATA", "Call_Start_Time")),
        ({**CALL, "Subject": "x" * 256}, ("INVALID_DATA", "Subject")),
        ({**CALL, "Who_Id": {"id": "1"}}, ("INVALID_DATA", "Who_Id")),
        ({**CALL, "Owner": {"id": "1"}}, ("INVALID_DATA", "Owner")),
        ({**CALL, "No_Such_Field": "x"}, ("SUCCESS", None)),
        ({name: value for name, value in CALL.items() if name != "Call_Type"}, ("MANDATORY_NOT_FOUND", "Call_Type")),
    ],
)
def test_values_are_checked_and_unknown_members_dropped(
    world: World, record: dict[str, Any], expected: tuple[str, str | None]
) -> None:
    assert code(world, "Calls", record) == expected


def test_a_lead_goes_into_what_id_and_says_so(world: World) -> None:
    lead = {"id": world.add("Leads", Last_Name="Lead", Company="X")}
    assert code(world, "Calls", {**CALL, "Who_Id": lead})[0] == "INVALID_DATA"
    assert code(world, "Calls", {**CALL, "What_Id": lead})[0] == "INVALID_DATA"
    assert code(world, "Calls", {**CALL, "What_Id": lead, "$se_module": "Leads"})[0] == "SUCCESS"


def test_types_are_not_converted(world: World) -> None:
    deal = {"Deal_Name": "D", "Stage": "Qualification", "Closing_Date": "2026-12-01"}
    assert code(world, "Deals", {**deal, "Amount": "1200"}) == ("INVALID_DATA", "Amount")
    assert code(world, "Deals", {**deal, "Amount": 1200}) == ("SUCCESS", None)
    assert code(world, "Deals", {**deal, "Stage": "Closed Won", "Pipeline": "Other"}) == ("INVALID_DATA", "Pipeline")
    assert code(world, "Contacts", {"Last_Name": "A", "Email_Opt_Out": "true"}) == ("INVALID_DATA", "Email_Opt_Out")


def test_upsert_by_a_plain_phone_makes_a_double(world: World) -> None:
    """Only unique fields and the address are looked at; others are passed over without a word."""
    body = {"data": [{"Last_Name": "A", "Phone": "044 668 18 00"}], "duplicate_check_fields": ["Phone"]}
    for _ in range(2):
        status, told = world.told("POST", "Contacts/upsert", body)
        assert (status, told["data"][0]["action"]) == (200, "insert")
    assert world.count("Contacts") == 2
    known = {"data": [{"Last_Name": "B", "Email": "a@example.com"}], "duplicate_check_fields": ["Email"]}
    actions = [world.told("POST", "Contacts/upsert", known)[1]["data"][0]["action"] for _ in range(2)]
    assert actions == ["insert", "update"]


def test_a_unique_value_names_its_holder(world: World) -> None:
    world.org.add_field(MODULES["contacts"], FieldDef(name="Customer_No", label="Customer no", unique=True))
    first = insert(world, "Contacts", {"Last_Name": "A", "Customer_No": "Ab-7"})[1][0]["details"]["id"]
    status, (entry,) = insert(world, "Contacts", {"Last_Name": "B", "Customer_No": "aB-7"})
    assert (status, entry["code"]) == (400, "DUPLICATE_DATA")
    assert entry["details"]["duplicate_record"]["id"] == first


def test_a_condition_on_time_is_kept(world: World) -> None:
    id = world.add("Contacts", Last_Name="A")
    seen = world.org.stamp(world.clock())
    world.clock.advance(timedelta(seconds=5))
    request = Request(
        method="PUT",
        path=f"/crm/v8/Contacts/{id}",
        json={"data": [{"City": "Bern"}]},
        headers={"If-Unmodified-Since": seen},
        writes=True,
    )
    assert world.answered(request).status == 200
    assert world.answered(request).status == 412


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_204_and_an_odd_id_is_400(world: World) -> None:
    assert world.told("GET", "Contacts/7328395000000999999") == (204, None)
    assert world.told("GET", "Contacts/abc")[1]["code"] == "INVALID_DATA"
    assert world.told("GET", "Contacts", fields="Last_Name") == (204, None)
    assert world.told("GET", "Nothing", fields="Last_Name")[1]["code"] == "INVALID_MODULE"
    assert world.told("GET", "Contacts")[1]["code"] == "REQUIRED_PARAM_MISSING"
    assert world.told("GET", "settings/nothing")[0] in (400, 404)


def test_page_tokens_belong_to_a_question_and_live_a_day(world: World) -> None:
    for number in range(5):
        world.add("Contacts", Last_Name=f"P{number}")
    asked = {"fields": "Last_Name", "per_page": "2", "sort_by": "id", "sort_order": "asc"}
    first = world.told("GET", "Contacts", **asked)[1]
    token = first["info"]["next_page_token"]
    second = world.told("GET", "Contacts", **asked, page_token=token)[1]
    assert [row["Last_Name"] for row in second["data"]] == ["P2", "P3"]
    other = {**asked, "per_page": "3"}
    assert world.told("GET", "Contacts", **other, page_token=token)[1]["code"] == "TOKEN_BOUND_DATA_MISMATCH"
    world.clock.advance(timedelta(hours=25))
    world.token = world.vendor.grants.issue_access(world.grant, world.clock())
    assert world.told("GET", "Contacts", **asked, page_token=token)[1]["code"] == "EXPIRED_VALUE"
    far = {**asked, "page": "1001"}
    assert world.told("GET", "Contacts", **far)[1]["code"] == "DISCRETE_PAGINATION_LIMIT_EXCEEDED"


def test_lists_since_then_are_304_when_nothing_is_newer(world: World) -> None:
    id = world.add("Leads", Last_Name="A", Company="B")
    later = {"If-Modified-Since": (world.clock() + timedelta(seconds=1)).isoformat(timespec="seconds")}
    for path in ("/crm/v8/Leads", "/crm/v8/Leads/deleted"):
        request = Request(method="GET", path=path, query=[("fields", "Last_Name")], headers=later)
        assert world.answered(request).status == 304
    world.clock.advance(timedelta(seconds=5))
    world.delete("Leads", id)
    (gone,) = world.told("GET", "Leads/deleted", type="all")[1]["data"]
    assert (gone["id"], gone["display_name"], gone["type"]) == (id, "A", "recycle")


def test_search_lags_and_hides_converted_leads(world: World) -> None:
    lead = world.add("Leads", Last_Name="Lead", Company="X", Mobile="+41 44 668 18 00")
    asked = {"phone": "446681800", "fields": "Last_Name"}
    assert world.told("GET", "Leads/search", **asked) == (204, None)
    world.settle()
    assert world.told("GET", "Leads/search", **asked)[0] == 200
    world.told("POST", f"Leads/{lead}/actions/convert", {"data": [{}]})
    world.settle()
    assert world.told("GET", "Leads/search", **asked) == (204, None)
    assert world.told("GET", "Leads/search", **asked, converted="both")[0] == 200
    assert world.told("GET", "Leads/search", phone="44 668'")[1]["code"] == "INVALID_DATA"
    assert world.told("GET", "Leads/search")[1]["code"] == "EXPECTED_PARAM_MISSING"
    criteria = "((Mobile:equals:0446681800)or(Last_Name:equals:Lead))"
    assert world.told("GET", "Leads/search", criteria=criteria, converted="both")[0] == 200
    assert world.told("GET", "Leads/search", criteria="Mobile=1")[1]["code"] == "INVALID_QUERY"


def test_logged_calls_stand_in_the_history(world: World) -> None:
    contact = world.add("Contacts", Last_Name="A")
    world.add("Calls", **CALL, Who_Id={"id": contact})
    assert world.told("GET", f"Contacts/{contact}/Calls", fields="Subject") == (204, None)
    assert world.told("GET", f"Contacts/{contact}/Calls_History", fields="Subject")[0] == 200
    assert world.told("GET", f"Contacts/{contact}/Notes", fields="Note_Title") == (204, None)
    assert world.told("GET", f"Contacts/{contact}/Nothing", fields="x")[0] == 400


def test_a_merged_record_leads_nowhere(world: World) -> None:
    master, other = world.add("Contacts", Last_Name="A"), world.add("Contacts", Last_Name="B", Phone="1234567")
    world.add("Calls", **CALL, Who_Id={"id": other})
    status, _ = world.told("POST", f"Contacts/{master}/actions/merge", {"merge": [{"data": [{"id": other}]}]})
    assert status == 200
    assert world.told("GET", f"Contacts/{other}") == (204, None)
    assert world.held("Contacts", master)["Phone"] == "1234567"
    assert world.told("GET", f"Contacts/{master}/Calls_History", fields="Subject")[0] == 200


# ── composite requests ──────────────────────────────────────────────────────────────────────────────────────────────


def composite(world: World, *parts: dict[str, Any], **more: Any) -> tuple[int, list[dict[str, Any]]]:
    status, told = world.told("POST", "__composite_requests", {"__composite_requests": list(parts), **more})
    return status, told.get("__composite_requests", [told])


def part(id: str, method: str, uri: str, body: Any = None, **params: str) -> dict[str, Any]:
    made: dict[str, Any] = {"sub_request_id": id, "method": method, "uri": f"/crm/v8/{uri}", "params": params}
    return made | ({"body": body} if body is not None else {})


def test_parts_point_at_earlier_ones_and_fail_alone(world: World) -> None:
    status, entries = composite(
        world,
        part("a", "POST", "Contacts", {"data": [{"Last_Name": "A"}]}),
        part("b", "POST", "Calls", {"data": [{**CALL, "Who_Id": {"id": "@{a:$.data[0].details.id}"}}]}),
        part("c", "POST", "Contacts", {"data": [{"First_Name": "No last name"}]}),
        part("d", "PUT", "Contacts/@{c:$.data[0].details.id}", {"data": [{"City": "Bern"}]}),
        part("e", "GET", "Contacts/search", phone="99999"),
        parallel_execution=False,
    )
    assert status == 207
    assert [entry["code"] for entry in entries] == ["SUCCESS", "SUCCESS", "SUCCESS", "INVALID_REFERENCE", "SUCCESS"]
    assert [entry["details"]["response"]["status_code"] for entry in entries if entry["code"] == "SUCCESS"] == [
        201, 201, 400, 204
    ]  # fmt: skip
    assert (world.count("Contacts"), world.count("Calls")) == (1, 1)


def test_rolled_back_is_as_if_nothing_was_sent(world: World) -> None:
    good = part("a", "POST", "Contacts", {"data": [{"Last_Name": "A"}]})
    status, entries = composite(world, good, part("b", "POST", "Contacts", {"data": [{}]}), rollback_on_fail=True)
    assert (status, entries[0]["code"]) == (207, "ROLLBACK_PERFORMED")
    assert world.count("Contacts") == 0


@pytest.mark.parametrize(
    ("parts", "more", "expected"),
    [
        ([part(str(n), "GET", "org") for n in range(6)], {}, "INVALID_DATA"),
        (
            [part("a", "GET", "org")],
            {"rollback_on_fail": True, "parallel_execution": True},
            "AMBIGUITY_DURING_PROCESSING",
        ),
        ([{"method": "GET", "uri": "/elsewhere"}], {}, "INVALID_DATA"),
        ([{**part("a", "GET", "org"), "headers": {"Authorization": "x"}}], {}, "INVALID_DATA"),
        ([part("a", "POST", "__composite_requests")], {}, "NOT_SUPPORTED"),
        ([part("a-b", "GET", "org")], {}, "INVALID_DATA"),
    ],
)
def test_what_no_composite_request_may_be(
    world: World, parts: list[dict[str, Any]], more: dict[str, Any], expected: str
) -> None:
    status, entries = composite(world, *parts, **more)
    assert (status, entries[0]["code"]) == (400, expected)


def test_a_part_writes_one_record_and_reads_twenty_five(world: World) -> None:
    two = {"data": [{"Last_Name": "A"}, {"Last_Name": "B"}]}
    long = {"select_query": "select id from Contacts where id is not null limit 26"}
    _, entries = composite(world, part("a", "POST", "Contacts", two), part("b", "POST", "coql", long))
    assert [entry["details"]["response"]["status_code"] for entry in entries] == [400, 400]


def test_each_part_needs_its_own_scope() -> None:
    world = make_world(scopes=[scope for scope in SCOPES if "deals" not in scope])
    query = {"select_query": "select id from Deals where id is not null"}
    _, entries = composite(world, part("a", "POST", "coql", query), part("b", "GET", "org"))
    assert [entry["details"]["response"]["status_code"] for entry in entries] == [401, 200]
    assert entries[0]["details"]["response"]["body"]["code"] == "OAUTH_SCOPE_MISMATCH"


# ── limits, scopes, faults ──────────────────────────────────────────────────────────────────────────────────────────


def test_credits_are_told_when_half_are_gone_and_then_refused() -> None:
    world = make_world(limits=True)
    world.vendor.credits[world.org.zgid] = Credits(most=10)
    headers = [dict(world.answered(Request(method="GET", path="/crm/v8/org")).headers) for _ in range(10)]
    assert [told.get("X-API-CREDITS-REMAINING") for told in headers] == [None] * 5 + ["4", "3", "2", "1", "0"]
    status, told = world.told("GET", "org")
    assert (status, told["code"]) == (429, "TOO_MANY_REQUESTS")
    world.clock.advance(timedelta(hours=24, seconds=1))
    world.token = world.vendor.grants.issue_access(world.grant, world.clock())
    assert world.told("GET", "org")[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "cost"),
    [
        ("GET", "Leads/deleted", None, 2),
        ("POST", "coql", {"select_query": "select id from Leads where id is not null limit 2000"}, 3),
        ("POST", "Contacts", {"data": [{"Last_Name": "x"}] * 11}, 2),
        ("POST", "__composite_requests", {"__composite_requests": [part("a", "GET", "org")] * 1}, 1),
    ],
)
def test_requests_cost_what_zoho_says(method: str, path: str, body: Any, cost: int) -> None:
    world = make_world(limits=True)
    counted = world.vendor.credits[world.org.zgid] = Credits(most=1000)
    world.told(method, path, body)
    assert counted._sum == cost


async def test_calls_under_way_are_counted_and_a_composite_request_is_five() -> None:
    """No Retry-After, and the code of spent credits: only the text differs."""
    world = make_world(limits=True)
    world.vendor.under_way[world.org.zgid].most = 6
    shared = world.vendor.shared
    face = Counting(world.vendor, clock=shared.clock, faults=shared.faults, journal=shared.journal)
    shared.faults.add(Fault(kind=Kind.LATENCY, delay=timedelta(seconds=0.5)))
    scheme = {"authorization": f"Zoho-oauthtoken {world.token}"}
    async with running(face) as origin, httpx2.AsyncClient(base_url=origin, headers=scheme, verify=False) as client:

        async def ask(path: str) -> httpx2.Response:
            if path == "org":
                return await client.get("/crm/v8/org")
            return await client.post(f"/crm/v8/{path}", json={"__composite_requests": [part("a", "GET", "org")]})

        answers = await asyncio.gather(*(ask(path) for path in ("__composite_requests", "org", "org", "org")))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 200
    assert statuses[-1] == 429
    limited = next(answer for answer in answers if answer.status_code == 429)
    assert limited.json()["code"] == "TOO_MANY_REQUESTS"
    assert "retry-after" not in limited.headers
    assert world.vendor.under_way[world.org.zgid].now == 0


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        (Kind.OUTAGE, 503, "SERVICE_UNAVAILABLE"),
        (Kind.ERROR, 500, "INTERNAL_ERROR"),
        (Kind.RATE_LIMIT, 429, "TOO_MANY_REQUESTS"),
        (Kind.EXPIRED, 401, "INVALID_TOKEN"),
        (Kind.REVOKED, 401, "INVALID_TOKEN"),
    ],
)
def test_faults_are_in_zohos_words(world: World, kind: Kind, status: int, expected: str) -> None:
    call = Call(method="GET", path="/crm/v8/org", query={}, raw_query="", headers={}, body=b"", now=world.clock())
    answer = world.vendor.refuse(Fault(kind=kind), call)
    assert (answer.status, msgspec.json.decode(answer.body)["code"]) == (status, expected)


def test_keys_are_seen_wherever_they_travel(world: World) -> None:
    def keys(body: Any) -> list[str]:
        raw = msgspec.json.encode(body)
        call = Call(method="POST", path="/x", query={}, raw_query="", headers={}, body=raw, now=world.clock())
        return list(world.vendor.keys_in(call))

    one = {"data": [{"Gateway_Key": "k-1"}, {"Last_Name": "x"}]}
    assert keys(one) == ["k-1"]
    assert keys({"__composite_requests": [{"body": one}, {"body": {"data": [{"Gateway_Key": "k-2"}]}}]}) == [
        "k-1",
        "k-2",
    ]
    assert keys({"select_query": "select id from Calls where Gateway_Key = 'k-1'"}) == []


def test_the_demo_has_everybody() -> None:
    """The same story on each CRM begins with the same callers."""
    people = shown(demo_app()).people()
    assert [one.name for one in people[:3]] == ["Jean Dupont", "Aline Voisard", "Hugo Castaneau"]
    assert people[0].numbers == ("+41 (0)44 668 18 00",)
    assert len(people) > 150

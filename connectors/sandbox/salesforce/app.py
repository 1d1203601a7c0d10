"""Salesforce's face: its sign-in, its API, its errors and its daily limit, in front of orgs held in memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from connectors.sandbox.clock import Clock
from connectors.sandbox.control import Control
from connectors.sandbox.face import Answer, Call, Face
from connectors.sandbox.faults import Fault, Faults, Kind
from connectors.sandbox.journal import Journal
from connectors.sandbox.salesforce.books import Books
from connectors.sandbox.salesforce.errors import Refusal, bad_json, error, not_found, session_gone, used_up
from connectors.sandbox.salesforce.grants import Access, Grants
from connectors.sandbox.salesforce.oauth import OAuth
from connectors.sandbox.salesforce.org import Org
from connectors.sandbox.salesforce.rest import Ask, Rest

VERSIONS = range(31, 69)  # 21 to 30 are gone, 68 is Winter '27
_JSON = "application/json;charset=UTF-8"
_KEYS = ("Gateway_Key__c", "CallObject")  # where the callers' own keys lie
_MARK = re.compile(r"Ref\. (gw-[0-9a-f]{20})")


def create_app(
    *orgs: Org,
    clock: Clock | None = None,
    faults: Faults | None = None,
    journal: Journal | None = None,
    client_id: str = "sandbox-client",
    client_secret: str = "sandbox-secret",  # noqa: S107 - a sandbox's, known to all
    redirect_uris: Sequence[str] = (),
    limits: bool = True,
) -> Face:
    """An ASGI application that answers as Salesforce does, for these orgs (one empty one when none are given).

    redirect_uris  those the app registered, compared whole; () allows any on this machine.
    limits         False refuses nothing over the daily limit, for benchmarks.
    """
    clock, faults, journal = clock or Clock(), faults or Faults(), journal or Journal()
    vendor = Salesforce(
        orgs or (Org(),), client_id=client_id, client_secret=client_secret, redirect_uris=redirect_uris, limits=limits
    )
    vendor.shared = Control(clock=clock, faults=faults, journal=journal)
    return Face(vendor, clock=clock, faults=faults, journal=journal)


class Salesforce:
    """The vendor behind the face."""

    shared: Control

    def __init__(
        self, orgs: Iterable[Org], *, client_id: str, client_secret: str, redirect_uris: Sequence[str], limits: bool
    ) -> None:
        self.orgs = {org.id: org for org in orgs}
        self.books = {id: Books(org) for id, org in self.orgs.items()}
        self.grants = Grants()
        self.oauth = OAuth(
            self.grants, self.orgs, client_id=client_id, client_secret=client_secret, redirect_uris=redirect_uris
        )
        self.limited = limits
        self.rest = {id: Rest(org, self._strike) for id, org in self.orgs.items()}

    # ── one request ─────────────────────────────────────────────────────────────────────────────────────────────────

    def answer(self, call: Call) -> Answer:
        headers: Mapping[str, str] = {}
        try:
            if call.path.startswith("/services/oauth2/") or call.path.startswith("/id/"):
                return self._sign_in(call)
            if call.path.rstrip("/") == "/services/data":
                return _answered(200, [_version(number) for number in VERSIONS], {})
            status, body, more, headers = self._api(call)
        except Refusal as refused:
            return _refused(refused, headers)
        return _answered(status, body, {**headers, **more})

    def _api(self, call: Call) -> tuple[int, Any, Mapping[str, str], Mapping[str, str]]:
        found = re.fullmatch(r"/services/data/v(\d{2})\.0(?:/(.*?))?/?", call.path)
        if found is None or int(found[1]) >= VERSIONS.stop:
            raise not_found()
        if int(found[1]) < VERSIONS.start:
            raise error(410, "UNSUPPORTED_API_VERSION", "The version of the API you requested is no longer available")
        org = self.orgs[self._access(call).grant.org]
        if self.limited and org.used >= org.limit:
            refused = used_up()
            refused.headers = {"Sforce-Limit-Info": f"api-usage={org.used}/{org.limit}"}
            raise refused
        org.used += 1
        headers = {"Sforce-Limit-Info": f"api-usage={org.used}/{org.limit}"}
        ask = Ask(
            now=call.now,
            version=f"{found[1]}.0",
            method=call.method,
            path=_segments(call, found[2] or ""),
            query=call.query,
            body=_body(call),
            headers=call.headers,
        )
        rest = self.rest[org.id]
        try:
            if ask.path[:2] == ("jobs", "query"):
                return (*rest.bulk(ask), headers)
            return (*rest.answer(ask), headers)
        except Refusal as refused:
            refused.headers = {**headers, **refused.headers}
            raise

    def _access(self, call: Call) -> Access:
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        access = self.grants.by_access(token) if scheme.lower() == "bearer" else None
        if (
            access is None
            or not access.grant.alive
            or access.expires_at <= call.now
            or access.grant.org not in self.orgs
        ):
            raise session_gone()
        return access

    def _sign_in(self, call: Call) -> Answer:
        origin = f"http://{call.headers.get('host', '127.0.0.1')}"
        match call.method, call.path.removeprefix("/services/oauth2/").rstrip("/"):
            case _, "authorize":
                return self._authorize(call)
            case "POST", "token":
                return _answered(200, self.oauth.token(call.form(), call.now, origin), {})
            case "GET" | "POST", "revoke":
                self.oauth.revoke({**{name: values[-1] for name, values in call.query.items()}, **call.form()})
                return Answer(200, b"", [("content-type", "text/plain")])
            case "POST", "introspect":
                return _answered(200, self.oauth.introspect(call.form(), call.now), {})
            case "GET" | "POST", "userinfo":
                return _answered(200, self.oauth.userinfo(self._access(call).grant, origin), {})
        if call.path.startswith("/id/"):
            return _answered(200, self.oauth.userinfo(self._access(call).grant, origin), {})
        raise not_found()

    def _authorize(self, call: Call) -> Answer:
        query = {name: values[-1] for name, values in call.query.items()}
        if call.method == "POST":
            form = {**query, **call.form()}
            return _redirected(self.oauth.decide(form, form.get("decision", "approve"), call.now))
        if query.get("auto"):
            return _redirected(self.oauth.decide(query, query["auto"], call.now))
        page = self.oauth.show(query).encode()
        return Answer(200, page, [("content-type", "text/html;charset=utf-8"), ("cache-control", "no-store")])

    # ── for the face ────────────────────────────────────────────────────────────────────────────────────────────────

    def refuse(self, fault: Fault, call: Call) -> Answer:
        """An outage, an error, a limit or a dead session, as Salesforce words it."""
        refused = _struck(fault)
        if fault.retry_after is not None:  # Salesforce sends none; what stands in front of it may
            refused.headers["Retry-After"] = str(int(fault.retry_after.total_seconds()))
        return _refused(refused, {})

    def _strike(self, method: str, url: str) -> Refusal | None:
        """Faults whose path begins with /composite/ hit single subrequests."""
        fault = self.shared.faults.strike(method, url)
        return _struck(fault) if fault is not None else None

    def control(self, call: Call) -> Answer | None:
        """`/_sandbox/…`: what any sandbox has, and an org's own doors."""
        return self.shared.answer(call, self.books) or self._own_control(call)

    def _own_control(self, call: Call) -> Answer | None:
        """POST uninstall/{org}, expire/{org}, app {"redirect_uris"}, org/{org} {"demanded","lag","limit","used","customizable"}."""
        name, _, id = call.path.removeprefix("/_sandbox/").partition("/")
        if call.method != "POST":
            return None
        told: dict[str, Any] = msgspec.json.decode(call.body) if call.body else {}
        org = self.orgs.get(id)
        match name:
            case "uninstall" if org is not None:
                ended = [grant for grant in self.grants.all if grant.org == org.id and grant.alive]
                for grant in ended:
                    grant.alive = False
                return _answered(200, {"ended": len(ended)}, {})
            case "expire":
                return _answered(200, {"ended": self.grants.expire_access(org.id if org else None, call.now)}, {})
            case "app":
                self.oauth.redirect_uris = [str(uri) for uri in told.get("redirect_uris", [])]
                return _answered(200, {"redirect_uris": self.oauth.redirect_uris}, {})
            case "org" if org is not None:
                org.demanded |= {type: tuple(names) for type, names in told.get("demanded", {}).items()}
                org.lag = timedelta(seconds=told.get("lag", org.lag.total_seconds()))
                org.limit, org.used = int(told.get("limit", org.limit)), int(told.get("used", org.used))
                org.customizable = bool(told.get("customizable", org.customizable))
                return _answered(200, {"org": org.id}, {})
        return None

    def account_of(self, call: Call) -> str:
        access = self.grants.by_access(call.headers.get("authorization", "").partition(" ")[2])
        return access.grant.org if access is not None else ""

    def keys_in(self, call: Call) -> Sequence[str]:
        """The caller's own keys in the records a request makes, alone or inside a composite one."""
        if call.method != "POST" or not call.path.startswith("/services/data/"):
            return ()
        try:
            told = msgspec.json.decode(call.body)
        except msgspec.DecodeError:
            return ()
        return list(_keys(told)) if isinstance(told, dict) else ()


def _keys(told: Mapping[str, Any]) -> Iterator[str]:
    asked = told.get("compositeRequest")
    made = [one.get("body") for one in asked if one.get("method") == "POST"] if isinstance(asked, list) else [told]
    for record in made:
        if not isinstance(record, dict):
            continue
        plain = [str(record[name]) for name in _KEYS if record.get(name)]
        marks = [found[1] for name in ("Title", "Description") if (found := _MARK.search(str(record.get(name) or "")))]
        yield from (plain or marks)[:1]


def _struck(fault: Fault) -> Refusal:
    match fault.kind:
        case Kind.RATE_LIMIT:
            return (
                used_up()
                if fault.status is None
                else error(fault.status, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests Limit exceeded.")
            )
        case Kind.EXPIRED | Kind.REVOKED:
            return session_gone()
        case Kind.OUTAGE:
            return error(fault.status or 503, "SERVER_UNAVAILABLE", "Service temporarily unavailable")
        case _:
            return error(fault.status or 500, "UNKNOWN_EXCEPTION", "An unexpected error occurred. ErrorId: 0-0 (0)")


def _segments(call: Call, rest: str) -> tuple[str, ...]:
    """The path below the version; the value of an external id may hold anything, slashes too."""
    return tuple(segment for segment in rest.split("/") if segment)


def _body(call: Call) -> Any:
    if not call.body:
        return None
    if "json" not in call.headers.get("content-type", "application/json"):
        raise error(415, "UNSUPPORTED_MEDIA_TYPE", "The content type is not supported")
    try:
        return msgspec.json.decode(call.body)
    except msgspec.DecodeError as wrong:
        raise bad_json(str(wrong)) from None


def _version(number: int) -> dict[str, str]:
    """Recorded: versions_200. Three a year, Winter first: 68 is Winter '27."""
    season = ("Winter", "Spring", "Summer")[(number - 68) % 3]
    year = 27 + (number - 68) // 3
    return {"label": f"{season} '{year:02d}", "url": f"/services/data/v{number}.0", "version": f"{number}.0"}


def _answered(status: int, body: Any, headers: Mapping[str, str]) -> Answer:
    typed = {name.lower(): value for name, value in headers.items()}
    if status == 204:
        return Answer(204, b"", list(typed.items()))
    sent = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Answer(status, sent, list({"content-type": _JSON, **typed}.items()))


def _refused(refused: Refusal, headers: Mapping[str, str]) -> Answer:
    return _answered(refused.status, refused.body, {**headers, **refused.headers})


def _redirected(to: str) -> Answer:
    return Answer(302, b"", [("location", to), ("cache-control", "no-store")])

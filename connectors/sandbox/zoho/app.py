"""Zoho CRM's face: its sign-in, its API, its errors and limits, in front of organisations held in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from connectors.sandbox.clock import Clock
from connectors.sandbox.control import Control
from connectors.sandbox.face import Answer, Call, Face, Receive, Scope, Send
from connectors.sandbox.faults import Fault, Faults, Kind
from connectors.sandbox.journal import Asked, Journal
from connectors.sandbox.zoho import coql, records, related, search, settings
from connectors.sandbox.zoho.ask import Answered, Ask, Routes, nothing, scopes_of
from connectors.sandbox.zoho.composite import composite
from connectors.sandbox.zoho.errors import (
    Refusal,
    invalid_token,
    lacks_scope,
    no_such_page,
    no_token,
    refusal,
    too_many,
)
from connectors.sandbox.zoho.grants import Access, Grants
from connectors.sandbox.zoho.limits import Credits, UnderWay
from connectors.sandbox.zoho.oauth import SignIn
from connectors.sandbox.zoho.org import Org
from connectors.sandbox.zoho.watch import Notification, Watching

_JSON = "application/json;charset=UTF-8"
_OURS = "Gateway_Key"  # the callers' own field, for the journal
_COMPOSITE_WEIGHT = 5  # slots one composite request takes, whatever it holds


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
    """An ASGI application that answers as Zoho CRM does, for these organisations (one empty one when none are given).

    redirect_uris  those the app registered, compared whole; () allows any on this machine.
    limits         False switches credits, slots and token counts off, for benchmarks.
    """
    clock, faults, journal = clock or Clock(), faults or Faults(), journal or Journal()
    vendor = Zoho(
        orgs or (Org("20097655001", "Aurora Demo SA"),),
        client_id=client_id,
        client_secret=client_secret,
        redirect_uris=redirect_uris,
        limits=limits,
    )
    vendor.shared = Control(clock=clock, faults=faults, journal=journal)
    return Counting(vendor, clock=clock, faults=faults, journal=journal)


class Zoho:
    """The vendor behind the face. `orgs` may be added to and taken from at any time."""

    shared: Control

    def __init__(
        self, orgs: Iterable[Org], *, client_id: str, client_secret: str, redirect_uris: Sequence[str], limits: bool
    ) -> None:
        self.orgs = {org.zgid: org for org in orgs}
        self.grants = Grants(limited=limits)
        self.sign_in = SignIn(
            self.grants, self.orgs, client_id=client_id, client_secret=client_secret, redirect_uris=redirect_uris
        )
        self.limited = limits
        self.credits = {zgid: Credits(on=limits) for zgid in self.orgs}
        self.under_way = {zgid: UnderWay(on=limits) for zgid in self.orgs}
        self.watching = Watching()
        self._routes = Routes()
        self._routes.add("POST", "coql", self._coql, self._coql_scopes, _coql_credits)
        self._routes.add(
            "POST", "__composite_requests", self._composite, lambda _: (("zohocrm.composite_requests.custom",),)
        )
        for part in (records, search, related, settings, self.watching):
            part.add_routes(self._routes)

    def outgoing(self, org: Org) -> list[Notification]:
        """Takes the notifications that Zoho would send by now."""
        return self.watching.of(org).outgoing(self.shared.clock())

    # ── one request ─────────────────────────────────────────────────────────────────────────────────────────────────

    def answer(self, call: Call) -> Answer:
        try:
            if call.path.startswith("/oauth/"):
                return self._oauth(call)
            status, body, headers = self._api(call)
        except Refusal as refused:
            return _refused(refused)
        return _answered(status, body, headers)

    def _api(self, call: Call) -> tuple[int, Any, Mapping[str, str]]:
        if not call.path.startswith("/crm/"):  # recorded: vcr-modules-get; no JSON, and nowhere to follow to
            return 302, None, {"location": "https://www.zoho.com/crm/"}
        access = self._access(call)
        org = self.orgs.get(access.grant.zgid)
        if org is None:
            raise invalid_token()
        told = {"X-ACCESSTOKEN-RESET": org.stamp(access.expires_at)}
        route, path = self._routes.find(call.method, call.path)
        ask = Ask(
            org=org,
            now=call.now,
            method=call.method,
            url=call.path,
            path=path,
            query=call.query,
            headers=call.headers,
            body=call.body,
            by=access.grant.user_id,
            origin=_origin(call),
        )
        self._allowed(access, ask, route.need(ask))
        told |= self._credits(org).spend(call.now, route.cost(ask))
        try:
            status, body = route.handler(ask)
        except Refusal as refused:
            refused.headers = {**told, **refused.headers}
            raise
        return status, body, told

    def _access(self, call: Call) -> Access:
        """Who asks. Raises the 401 that fits: an expired token and a revoked one look the same."""
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        if scheme.lower() not in ("zoho-oauthtoken", "bearer") or not token:
            raise no_token()
        access = self.grants.by_access(token)
        if access is None or not access.grant.alive or access.expires_at <= call.now or scheme.lower() == "bearer":
            raise invalid_token()
        return access

    def _allowed(self, access: Access, ask: Ask, groups: Sequence[Sequence[str]]) -> None:
        if not all(access.grant.allows(names) for names in groups):
            raise lacks_scope()

    def _credits(self, org: Org) -> Credits:
        return self.credits.setdefault(org.zgid, Credits(on=self.limited))

    # ── queries, and several requests in one ────────────────────────────────────────────────────────────────────────

    def _coql(self, ask: Ask) -> Answered:
        query = coql.parse(str(ask.document().get("select_query", "")))
        if ask.inside and query.limit > 25:
            raise refusal(400, "LIMIT_EXCEEDED", "limit exceeded", {"limit": 25})
        rows, more = coql.carry_out(ask.org, query, most=25 if ask.inside else None)
        if not rows:
            return nothing()
        return 200, {"data": rows, "info": {"count": len(rows), "more_records": more}}

    def _coql_scopes(self, ask: Ask) -> tuple[tuple[str, ...], ...]:
        module = coql.parse(str(ask.document().get("select_query", ""))).module
        return (("zohocrm.coql.read",), scopes_of(module, "READ"))

    def _composite(self, ask: Ask) -> Answered:
        access = next(one for one in (self.grants.by_access(_token(ask.headers)),) if one is not None)

        def perform(
            outer: Ask,
            method: str,
            path: str,
            query: Mapping[str, list[str]],
            headers: Mapping[str, str],
            body: bytes,
        ) -> tuple[int, Any]:
            struck = self._struck(method, path, body, outer)
            if struck is not None:
                return struck
            try:
                route, values = self._routes.find(method, path)
                inner = msgspec.structs.replace(
                    outer, method=method, url=path, path=values, query=query, headers=headers, body=body, inside=True
                )
                self._allowed(access, inner, route.need(inner))
                return route.handler(inner)
            except Refusal as refused:
                return refused.status, refused.body

        return composite(ask, perform)

    def _struck(self, method: str, path: str, body: bytes, outer: Ask) -> tuple[int, Any] | None:
        """Faults reach the parts of a composite request too: those set for the part's own address (of a query, the
        address with the module behind it) and for nothing wider."""
        where = path + _queried(body) if path.endswith("/coql") else path
        narrow = [
            one
            for _, one, _ in self.shared.faults.armed()
            if fnmatchcase(where, one.path) and not fnmatchcase(outer.url, one.path)
        ]
        fault = self.shared.faults.strike(method, where) if narrow else None
        if fault is None:
            return None
        refused = self._worded(fault)
        return refused.status, refused.body if not isinstance(refused.body, bytes) else None

    # ── sign-in ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _oauth(self, call: Call) -> Answer:
        query = {name: values[-1] for name, values in call.query.items()}
        form = {**query, **(call.form() if call.body else {})}
        origin = _origin(call)
        match call.method, call.path:
            case "GET", "/oauth/v2/auth" if not query.get("auto"):
                page = self.sign_in.show(query).encode()
                return Answer(200, page, [("content-type", "text/html;charset=utf-8"), ("cache-control", "no-store")])
            case "GET" | "POST", "/oauth/v2/auth":
                decision = form.get("auto") or form.get("decision", "approve")
                to = self.sign_in.decide(form, decision, origin=origin, now=call.now)
                return Answer(302, b"", [("location", to), ("cache-control", "no-store")])
            case "POST", "/oauth/v2/token":
                return _answered(*self.sign_in.token(form, origin=origin, now=call.now), {})
            case "POST", "/oauth/v2/token/revoke":
                return _answered(*self.sign_in.revoke(form.get("token", "")), {})
            case _:
                raise no_such_page()

    # ── for the face ────────────────────────────────────────────────────────────────────────────────────────────────

    def refuse(self, fault: Fault, call: Call) -> Answer:
        """An outage, an error, a limit or a dead token, as Zoho words it."""
        return _refused(self._worded(fault))

    def _worded(self, fault: Fault) -> Refusal:
        match fault.kind:
            case Kind.RATE_LIMIT:
                refused = too_many()
            case Kind.EXPIRED | Kind.REVOKED:
                refused = invalid_token()
            case Kind.OUTAGE:
                refused = refusal(fault.status or 503, "SERVICE_UNAVAILABLE", "service unavailable")
            case _:
                refused = refusal(fault.status or 500, "INTERNAL_ERROR", "internal error")
        if fault.status is not None:
            refused.status = fault.status
        if fault.retry_after is not None:
            refused.headers["Retry-After"] = str(int(fault.retry_after.total_seconds()))
        return refused

    def control(self, call: Call) -> Answer | None:
        """`/_sandbox/…`: what any sandbox has, and an organisation's own doors."""
        return self.shared.answer(call, {id: org.crm for id, org in self.orgs.items()}) or self._own_control(call)

    def _own_control(self, call: Call) -> Answer | None:
        """POST end/{org}, expire/{org}, credits/{org} {"left"}, app {"redirect_uris"}, outgoing/{org},
        org/{org} {"required", "activities_unique", "lag", "locked"}."""
        name, _, rest = call.path.removeprefix("/_sandbox/").partition("/")
        if call.method != "POST":
            return None
        told: dict[str, Any] = msgspec.json.decode(call.body) if call.body else {}
        org = self.orgs.get(rest)
        match name:
            case "end" if org:
                return _json(200, {"ended": self.grants.end(org.zgid)})
            case "expire":
                return _json(200, {"ended": self.grants.expire_access(org.zgid if org else None, call.now)})
            case "credits" if org:
                self.credits[org.zgid] = Credits(most=int(told["left"]))
                return _json(200, {"left": told["left"]})
            case "outgoing" if org:
                return _json(200, [{"url": one.url, "body": one.body.decode()} for one in self.outgoing(org)])
            case "app":
                self.sign_in.redirect_uris = [str(uri) for uri in told.get("redirect_uris", [])]
                return _json(200, {"redirect_uris": self.sign_in.redirect_uris})
            case "org" if org:
                org.required = {kind: tuple(names) for kind, names in told.get("required", org.required).items()}
                org.activities_unique = bool(told.get("activities_unique", org.activities_unique))
                org.index.lag = timedelta(seconds=told.get("lag", org.index.lag.total_seconds()))
                org.locked = set(told.get("locked", org.locked))
                return _json(200, {"zgid": org.zgid})
        return None

    def account_of(self, call: Call) -> str:
        access = self.grants.by_access(_token(call.headers))
        return access.grant.zgid if access is not None else ""

    def keys_in(self, call: Call) -> Sequence[str]:
        """Values of the caller's own key field in a write, of one record, many, or those in a composite request."""
        if call.method not in ("POST", "PUT") or _OURS.encode() not in call.body:
            return ()
        try:
            told = msgspec.json.decode(call.body)
        except msgspec.DecodeError:
            return ()
        return _keys(told) if isinstance(told, dict) else ()


class Counting(Face):
    """A face that knows how many requests of an organisation it is answering."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        vendor = self.vendor
        assert isinstance(vendor, Zoho)
        if scope["type"] != "http" or not scope["path"].startswith("/crm/"):
            return await super().__call__(scope, receive, send)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        access = vendor.grants.by_access(_token(headers))
        zgid = access.grant.zgid if access is not None else ""
        counted = vendor.under_way.setdefault(zgid, UnderWay(on=vendor.limited))
        weight = _COMPOSITE_WEIGHT if scope["path"].endswith("/__composite_requests") else 1
        if not counted.enter(weight):
            return await self._turned_away(scope, send, zgid)
        try:
            return await super().__call__(scope, receive, send)
        finally:
            counted.leave(weight)

    async def _turned_away(self, scope: Scope, send: Send, zgid: str) -> None:
        answer = _refused(too_many())
        asked = Asked(
            n=self.journal.next(),
            at=self.clock(),
            method=scope["method"],
            path=scope["path"],
            status=answer.status,
            committed=False,
            account=zgid,
        )
        self.journal.append(asked)
        headers = [(name.encode(), value.encode()) for name, value in answer.headers]
        headers.append((b"content-length", str(len(answer.body)).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})


def _coql_credits(ask: Ask) -> int:
    return coql.credits_for(coql.parse(str(ask.document().get("select_query", ""))).limit)


def _queried(body: bytes) -> str:
    """ "/Deals": the module a query reads from, to set a fault for it."""
    try:
        return "/" + coql.parse(str(msgspec.json.decode(body).get("select_query", ""))).module
    except (msgspec.DecodeError, AttributeError, Refusal):
        return ""


def _keys(told: Mapping[str, Any]) -> list[str]:
    found = []
    for part in told.get("__composite_requests") or []:
        if isinstance(part, dict) and isinstance(part.get("body"), dict):
            found += _keys(part["body"])
    for record in told.get("data") or []:
        if isinstance(record, dict) and isinstance(record.get(_OURS), str):
            found.append(record[_OURS])
    return found


def _token(headers: Mapping[str, str]) -> str:
    return headers.get("authorization", "").partition(" ")[2]


def _origin(call: Call) -> str:
    """Where this server is reached: its own data centre."""
    return f"http://{call.headers.get('host', '127.0.0.1')}"


def _answered(status: int, body: Any, headers: Mapping[str, str]) -> Answer:
    if body is None:
        return Answer(status, b"", list(headers.items()))
    return Answer(status, msgspec.json.encode(body), [("Content-Type", _JSON), ("server", "ZGS"), *headers.items()])


def _refused(refused: Refusal) -> Answer:
    if isinstance(refused.body, bytes):
        return Answer(refused.status, refused.body, [("content-type", "text/html;charset=utf-8")])
    return _answered(refused.status, refused.body, refused.headers)


def _json(status: int, body: Any) -> Answer:
    return Answer(status, msgspec.json.encode(body), [("content-type", "application/json")])

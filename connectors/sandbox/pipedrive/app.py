"""Pipedrive's face: its sign-in, its API in two versions, its errors and limits, in front of companies held in memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec

from connectors.sandbox.clock import Clock
from connectors.sandbox.control import Control
from connectors.sandbox.face import Answer, Call, Face
from connectors.sandbox.faults import Fault, Faults, Kind
from connectors.sandbox.journal import Journal
from connectors.sandbox.pipedrive import fields, hooks, older, records, search
from connectors.sandbox.pipedrive.ask import Ask, Routes
from connectors.sandbox.pipedrive.company import Company
from connectors.sandbox.pipedrive.errors import Refusal, out_of_scope, over_limit, refused, unauthorized, unknown_method
from connectors.sandbox.pipedrive.grants import APP_SCOPES, Grant, Grants
from connectors.sandbox.pipedrive.limits import Limits
from connectors.sandbox.pipedrive.oauth import SignIn

_JSON = "application/json; charset=utf-8"
_MARKER = re.compile(rb"gw-[0-9a-f]{20}")
_OUR_FIELD = "Gateway key"  # the callers' own field, for the journal


def create_app(
    *companies: Company,
    clock: Clock | None = None,
    faults: Faults | None = None,
    journal: Journal | None = None,
    client_id: str = "sandbox-client",
    client_secret: str = "sandbox-secret",  # noqa: S107 - a sandbox's, known to all
    redirect_uris: Sequence[str] = (),
    limits: bool = True,
    scopes: Sequence[str] = APP_SCOPES,
    rotates: bool = False,
) -> Face:
    """An ASGI application that answers as Pipedrive does, for these companies (one empty one when none are given).

    redirect_uris  the app's callback, compared whole; () allows any on this machine.
    limits         False switches limits off, for benchmarks.
    scopes         those of the app's settings.
    rotates        whether refresh tokens change; Pipedrive's do not.
    """
    clock, faults, journal = clock or Clock(), faults or Faults(), journal or Journal()
    vendor = Pipedrive(
        companies or (Company(15043420, "Aurora Demo SA"),),
        client_id=client_id,
        client_secret=client_secret,
        redirect_uris=redirect_uris,
        limits=limits,
        scopes=scopes,
        rotates=rotates,
    )
    vendor.shared = Control(clock=clock, faults=faults, journal=journal)
    return Face(vendor, clock=clock, faults=faults, journal=journal)


class Pipedrive:
    """The vendor behind the face."""

    shared: Control

    def __init__(
        self,
        companies: Iterable[Company],
        *,
        client_id: str,
        client_secret: str,
        redirect_uris: Sequence[str],
        limits: bool,
        scopes: Sequence[str],
        rotates: bool,
    ) -> None:
        self.companies = {company.id: company for company in companies}
        self.grants = Grants(rotates=rotates)
        self.sign_in = SignIn(
            self.grants,
            self.companies,
            client_id=client_id,
            client_secret=client_secret,
            redirect_uris=redirect_uris,
            scopes=scopes,
        )
        self.limits = {id: Limits(on=limits, daily=company.daily_tokens) for id, company in self.companies.items()}
        self.routes = Routes()
        for part in (search, records, fields, older, hooks):
            part.add_routes(self.routes)
        self._asked = 0

    # ── one request ─────────────────────────────────────────────────────────────────────────────────────────────────

    def answer(self, call: Call) -> Answer:
        correlation = self._next_correlation()
        try:
            if call.path.startswith("/oauth/"):
                return self._oauth(call, correlation)
            status, body, headers = self._api(call)
        except Refusal as refusal:
            return _refused(refusal, correlation)
        return _answered(status, body, headers, correlation)

    def _api(self, call: Call) -> tuple[int, Any, Mapping[str, str]]:
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        grant = self.grants.by_access(token, call.now) if scheme.lower() == "bearer" else None
        company = self.companies.get(grant.company_id) if grant else None
        if grant is None or company is None:
            raise unauthorized()
        path = call.path.removesuffix("/")
        if path.startswith("/v1/"):  # api.pipedrive.com's older spelling
            path = f"/api{path}"
        names, route = self.routes.find(call.method, path)
        headers = self.limits[company.id].spend(token, route.cost, call.now, searches=route.searches)
        try:
            if not set(route.scopes) & set(grant.scopes):
                raise out_of_scope()
            ask = Ask(company=company, now=call.now, method=call.method, path=names, query=call.query, body=call.body)
            status, body = route.handler(ask)
        except Refusal as refusal:
            refusal.headers = {**headers, **refusal.headers}
            raise
        return status, body, headers

    def _oauth(self, call: Call, correlation: str) -> Answer:
        form = call.form()
        authorization = call.headers.get("authorization", "")
        match call.method, call.path.removesuffix("/"):
            case (("GET" | "POST"), "/oauth/authorize"):
                return self._authorize(call)
            case "POST", "/oauth/token":
                said = self.sign_in.token(form, authorization, call.now, origin=_origin(call))
                return _answered(200, said, {"cache-control": "no-store"}, correlation)
            case "POST", "/oauth/revoke":
                self.sign_in.revoke(form, authorization)
                return _answered(200, {"success": True}, {}, correlation)
            case _:
                raise unknown_method()

    def _authorize(self, call: Call) -> Answer:
        query = {name: values[-1] for name, values in call.query.items()}
        if call.method == "POST":
            form = {**query, **call.form()}
            return _redirect(self.sign_in.decide(form, form.get("decision", "approve"), call.now))
        if query.get("auto"):
            return _redirect(self.sign_in.decide(query, query["auto"], call.now))
        page = self.sign_in.page(query).encode()
        return Answer(200, page, [("content-type", "text/html; charset=utf-8"), ("cache-control", "no-store")])

    # ── for the face ────────────────────────────────────────────────────────────────────────────────────────────────

    def refuse(self, fault: Fault, call: Call) -> Answer:
        """An outage, an error, a limit or a dead token, as Pipedrive words it."""
        match fault.kind:
            case Kind.RATE_LIMIT:
                refusal = over_limit(
                    {"x-ratelimit-limit": "80", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "2"}
                )
            case Kind.EXPIRED | Kind.REVOKED:
                refusal = unauthorized()
            case Kind.OUTAGE:
                refusal = refused(fault.status or 503, "Service temporarily unavailable")
            case _:
                refusal = refused(fault.status or 500, "Internal server error")
        if fault.status is not None:
            refusal.status = fault.status
        if fault.retry_after is not None:
            refusal.headers["retry-after"] = str(int(fault.retry_after.total_seconds()))
        return _refused(refusal, self._next_correlation())

    def control(self, call: Call) -> Answer | None:
        """`/_sandbox/…`: what any sandbox has, and a company's own doors."""
        companies = {str(company.id): company.crm for company in self.companies.values()}
        return self.shared.answer(call, companies) or self._own_control(call)

    def _own_control(self, call: Call) -> Answer | None:
        """GET outgoing[/{company}]; POST uninstall/{company}, expire, app {"redirect_uris"}, company/{company}
        {"campaigns", "contact_sync", "fields_allowed", "lag"}."""
        name, _, rest = call.path.removeprefix("/_sandbox/").partition("/")
        company = self.companies.get(int(rest)) if rest.isdigit() else next(iter(self.companies.values()))
        if company is None:
            return None
        if (call.method, name) == ("GET", "outgoing"):
            return _json([{"url": sent.address, "user": sent.user, "body": sent.body} for sent in company.outgoing])
        if call.method != "POST":
            return None
        told: dict[str, Any] = msgspec.json.decode(call.body) if call.body else {}
        match name:
            case "uninstall":
                return _json({"ended": self.grants.uninstall(company.id)})
            case "expire":
                return _json({"ended": self.grants.expire_access(call.now)})
            case "app":
                self.sign_in.redirect_uris = [str(uri) for uri in told.get("redirect_uris", [])]
                return _json({"redirect_uris": self.sign_in.redirect_uris})
            case "company":
                company.campaigns = bool(told.get("campaigns", company.campaigns))
                company.contact_sync = bool(told.get("contact_sync", company.contact_sync))
                company.fields_allowed = bool(told.get("fields_allowed", company.fields_allowed))
                company.index.lag = timedelta(seconds=told.get("lag", company.index.lag.total_seconds()))
                return _json({"company_id": company.id})
            case _:
                return None

    def account_of(self, call: Call) -> str:
        grant = self._grant_of(call)
        return str(grant.company_id) if grant else ""

    def keys_in(self, call: Call) -> Sequence[str]:
        """The callers' own keys in a write: values of their key field, and markers in texts."""
        if call.method not in ("POST", "PATCH", "PUT") or not call.body or not call.path.startswith("/api/"):
            return ()
        found = [marker.decode() for marker in _MARKER.findall(call.body)]
        grant = self._grant_of(call)
        company = self.companies.get(grant.company_id) if grant else None
        codes = (
            [one.code for listed in company.definitions.values() for one in listed if one.name == _OUR_FIELD]
            if company
            else []
        )
        if any(code.encode() in call.body for code in codes):
            found += _values_of(call.body, codes)
        return tuple(dict.fromkeys(found))

    def _grant_of(self, call: Call) -> Grant | None:
        return self.grants.by_access(call.headers.get("authorization", "").partition(" ")[2], call.now)

    def _next_correlation(self) -> str:
        self._asked += 1
        return f"{self._asked:08x}-0dd0-402e-916a-75af1ca1af00"


def _values_of(body: bytes, codes: Sequence[str]) -> list[str]:
    try:
        told = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return []
    held = {**told, **(told.get("custom_fields") or {})} if isinstance(told, dict) else {}
    return [str(held[code]) for code in codes if held.get(code)]


def _origin(call: Call) -> str | None:
    """Where the caller reached us, unless it is an address of Pipedrive's own."""
    host = call.headers.get("host", "")
    name = urlsplit(f"//{host}").hostname or ""
    return None if not host or name.endswith("pipedrive.com") else f"http://{host}"


def _answered(status: int, body: Any, headers: Mapping[str, str], correlation: str) -> Answer:
    sent = msgspec.json.encode(body)
    return Answer(status, sent, [("content-type", _JSON), ("x-correlation-id", correlation), *headers.items()])


def _refused(refusal: Refusal, correlation: str) -> Answer:
    if isinstance(refusal.body, bytes):
        return Answer(refusal.status, refusal.body, [("x-correlation-id", correlation), *refusal.headers.items()])
    return _answered(refusal.status, refusal.body, refusal.headers, correlation)


def _redirect(to: str) -> Answer:
    return Answer(302, b"", [("location", to), ("cache-control", "no-store")])


def _json(body: Any) -> Answer:
    return Answer(200, msgspec.json.encode(body), [("content-type", "application/json")])

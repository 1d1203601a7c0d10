"""HubSpot's face: its OAuth pages, its API, its errors and limits, in front of portals held in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from connectors.sandbox.clock import Clock
from connectors.sandbox.control import Control
from connectors.sandbox.face import Answer, Call, Face
from connectors.sandbox.faults import Fault, Faults, Kind
from connectors.sandbox.hubspot import (
    associations,
    batch,
    lists,
    objects,
    preferences,
    properties,
    search,
    settings,
)
from connectors.sandbox.hubspot.ask import DATED, Ask, Routes
from connectors.sandbox.hubspot.consent import Consent
from connectors.sandbox.hubspot.errors import (
    Refusal,
    error,
    expired,
    lacks_scopes,
    no_credentials,
    not_authentic,
    page_not_found,
    unreadable_token,
)
from connectors.sandbox.hubspot.grants import Access, Grants
from connectors.sandbox.hubspot.limits import Limits, out_of
from connectors.sandbox.hubspot.oauth import TokenEndpoint
from connectors.sandbox.hubspot.portal import Portal, type_of
from connectors.sandbox.journal import Journal

_JSON = "application/json;charset=utf-8"
_OAUTH_VERSIONS = frozenset({"v1", "v3", "2026-03", "2026-09"})  # v1 ends 2027-02-16
_OURS = "gateway_key"  # the callers' own unique property, for the journal


def create_app(
    *portals: Portal,
    clock: Clock | None = None,
    faults: Faults | None = None,
    journal: Journal | None = None,
    client_id: str = "sandbox-client",
    client_secret: str = "sandbox-secret",  # noqa: S107 - a sandbox's, known to all
    redirect_uris: Sequence[str] = (),
    limits: bool = True,
) -> Face:
    """An ASGI application that answers as HubSpot does, for these portals (one empty one when none are given).

    redirect_uris  those the app registered, compared whole; () allows any on this machine.
    limits         False switches rate limits off, for benchmarks.
    """
    clock, faults, journal = clock or Clock(), faults or Faults(), journal or Journal()
    vendor = HubSpot(
        portals or (Portal(62515, "Aurora Demo SA"),),
        client_id=client_id,
        client_secret=client_secret,
        redirect_uris=redirect_uris,
        limits=limits,
    )
    vendor.shared = Control(clock=clock, faults=faults, journal=journal)
    return Face(vendor, clock=clock, faults=faults, journal=journal)


class HubSpot:
    """The vendor behind the face. `portals` may be added to and taken from at any time."""

    shared: Control

    def __init__(
        self,
        portals: Iterable[Portal],
        *,
        client_id: str,
        client_secret: str,
        redirect_uris: Sequence[str],
        limits: bool,
    ) -> None:
        self.portals = {portal.hub_id: portal for portal in portals}
        self.grants = Grants()
        self.tokens = TokenEndpoint(self.grants, self.portals, client_id, client_secret)
        self.consent = Consent(self.grants, self.portals, client_id=client_id, redirect_uris=redirect_uris)
        self.limited = limits
        self.limits = {hub_id: Limits(on=limits) for hub_id in self.portals}
        self._routes = Routes()
        for part in (objects, batch, search, associations, properties, settings, lists, preferences):
            part.add_routes(self._routes)
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
        access = self._access(call)
        portal = self.portals.get(access.grant.hub_id)
        if portal is None:
            raise not_authentic()
        searching = call.method == "POST" and call.path.endswith("/search") and "/objects/" in call.path
        if portal.hub_id not in self.limits:
            self.limits[portal.hub_id] = Limits(on=self.limited)
        headers = self.limits[portal.hub_id].spend(call.now, search=searching)
        try:
            if call.path.startswith("/appinstalls/") and call.method == "DELETE":
                self.grants.uninstall(portal.hub_id)
                return 204, None, headers
            path, handler, need = self._routes.find(call.method, call.path)
            version = _version(path, call.path)
            if call.body and "json" not in call.headers.get("content-type", "application/json"):
                raise error(415, "Unsupported Media Type", None)
            ask = Ask(
                portal=portal,
                now=call.now,
                version=version,
                method=call.method,
                url=call.path,
                path=path,
                query=call.query,
                body=call.body,
            )
            scopes = need(ask)
            if not set(scopes) & set(access.grant.scopes):
                raise self._lacks(ask, scopes, access)
            status, body = handler(ask)
        except Refusal as refusal:
            refusal.headers = {**headers, **refusal.headers}
            raise
        if call.method == "POST" and status == 201 and isinstance(body, dict) and "id" in body:
            headers = {**headers, "Location": f"https://api.hubapi.com{call.path}/{body['id']}"}
        return status, body, headers

    def _access(self, call: Call) -> Access:
        """Who asks. Raises the 401 that fits."""
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise no_credentials()
        access = self.grants.by_access(token)
        if access is None:
            raise unreadable_token(call.now)
        if self.grants.is_dead(token, access):
            raise not_authentic()
        if access.expires_at <= call.now:
            raise expired(access.expires_at, call.now)
        return access

    def _lacks(self, ask: Ask, scopes: Sequence[str], access: Access) -> Refusal:
        kind = type_of(ask.path.get("type") or ask.path.get("from") or "")
        action = "view_schema" if "/properties/" in ask.url else "view" if ask.method == "GET" else "edit"
        name = kind.name if kind is not None else "UNKNOWN"
        return lacks_scopes(scopes, private=access.private, action=action, kind=name, portal=ask.portal.hub_id)

    def _oauth(self, call: Call, correlation: str) -> Answer:
        parts = call.path.strip("/").split("/")
        if parts == ["oauth", "authorize"]:
            return self._authorize(call)
        if len(parts) < 3 or parts[1] not in _OAUTH_VERSIONS:
            raise page_not_found()
        form = _fields(call)
        match call.method, *parts[2:]:
            case "POST", "token":
                return _answered(200, self.tokens.token(form, call.now), {}, correlation)
            case "POST", "token", "introspect" if parts[1] != "v1":
                return _answered(200, self.tokens.introspect(form, call.now), {}, correlation)
            case "POST", "token", "revoke" if parts[1] != "v1":
                self.tokens.revoke(form)
                return _answered(200, {}, {}, correlation)
            case "GET", "access-tokens" | "refresh-tokens", token if parts[1] == "v1":
                return _answered(200, self.tokens.describe(token, call.now), {}, correlation)
            case "DELETE", "refresh-tokens", token if parts[1] == "v1":
                self.grants.revoke(token)
                return _answered(204, None, {}, correlation)
            case _:
                raise page_not_found()

    def _authorize(self, call: Call) -> Answer:
        query = {name: values[-1] for name, values in call.query.items()}
        if call.method == "POST":
            form = {**query, **call.form()}
            return _redirect(self.consent.decide(form, form.get("decision", "approve"), call.now))
        if query.get("auto"):
            return _redirect(self.consent.decide(query, query["auto"], call.now))
        page = self.consent.show(query).encode()
        return Answer(200, page, [("content-type", "text/html;charset=utf-8"), ("cache-control", "no-store")])

    # ── for the face ────────────────────────────────────────────────────────────────────────────────────────────────

    def refuse(self, fault: Fault, call: Call) -> Answer:
        """An outage, an error, a limit or a dead token, as HubSpot words it."""
        correlation = self._next_correlation()
        match fault.kind:
            case Kind.RATE_LIMIT:
                searching = call.path.endswith("/search")
                refusal = (
                    error(429, "You have reached your secondly limit.", "RATE_LIMITS")
                    if searching
                    else out_of("TEN_SECONDLY_ROLLING")
                )
            case Kind.EXPIRED:
                refusal = expired(call.now - timedelta(seconds=75), call.now)
            case Kind.REVOKED:
                refusal = not_authentic()
            case Kind.OUTAGE:
                refusal = error(fault.status or 503, "Service temporarily unavailable", None)
            case _:
                refusal = error(fault.status or 500, "internal error", "INTERNAL_ERROR")
        if fault.status is not None:
            refusal.status = fault.status
        if fault.retry_after is not None:
            refusal.headers["Retry-After"] = str(int(fault.retry_after.total_seconds()))
        return _refused(refusal, correlation)

    def control(self, call: Call) -> Answer | None:
        """`/_sandbox/…`: what any sandbox has, and a portal's own doors."""
        portals = {str(portal.hub_id): portal for portal in self.portals.values()}
        return self.shared.answer(call, {id: portal.crm for id, portal in portals.items()}) or self._own_control(call)

    def _own_control(self, call: Call) -> Answer | None:
        """POST uninstall/{hub}, expire/{hub}, app {"redirect_uris"}, portal/{hub} {"required","activities_unique","lag"}."""
        name, _, rest = call.path.removeprefix("/_sandbox/").partition("/")
        if call.method != "POST":
            return None
        told: dict[str, Any] = msgspec.json.decode(call.body) if call.body else {}
        hub_id = int(rest) if rest.isdigit() else None
        if name == "uninstall" and hub_id is not None:
            return _json(200, {"ended": self.grants.uninstall(hub_id)})
        if name == "expire":
            return _json(200, {"ended": self.grants.expire_access(hub_id, call.now)})
        if name == "app":
            self.consent.redirect_uris = [str(uri) for uri in told.get("redirect_uris", [])]
            return _json(200, {"redirect_uris": self.consent.redirect_uris})
        if name == "portal" and hub_id in self.portals:
            portal = self.portals[hub_id]
            if "required" in told:
                portal.required = {kind: tuple(names) for kind, names in told["required"].items()}
            portal.activities_unique = bool(told.get("activities_unique", portal.activities_unique))
            portal.index.lag = timedelta(seconds=told.get("lag", portal.index.lag.total_seconds()))
            return _json(200, {"hub_id": hub_id})
        return None

    def account_of(self, call: Call) -> str:
        access = self.grants.by_access(call.headers.get("authorization", "").partition(" ")[2])
        return str(access.grant.hub_id) if access is not None else ""

    def keys_in(self, call: Call) -> Sequence[str]:
        """Values of the caller's own key property in a write, one or many."""
        if call.method not in ("POST", "PATCH") or _OURS.encode() not in call.body:
            return ()
        try:
            told = msgspec.json.decode(call.body)
        except msgspec.DecodeError:
            return ()
        inputs = told.get("inputs") if isinstance(told, dict) else None
        found = []
        for given in inputs if isinstance(inputs, list) else [told]:
            if not isinstance(given, dict):
                continue
            values = given.get("properties")
            key = values.get(_OURS) if isinstance(values, dict) else None
            if key is None and given.get("idProperty") == _OURS:
                key = given.get("id")
            if key is not None:
                found.append(str(key))
        return found

    def _next_correlation(self) -> str:
        self._asked += 1
        return f"{self._asked:08x}-0000-4000-8000-000000000000"


def _fields(call: Call) -> Mapping[str, str]:
    """A form, as documented; or the same as JSON, which is how the official SDK (0.1.0a9) sends it."""
    if "form" in call.headers.get("content-type", ""):
        return call.form()
    try:
        return msgspec.json.decode(call.body, type=dict[str, str])
    except msgspec.DecodeError:
        return {}


def _version(path: Mapping[str, str], url: str) -> str:
    """The API's version, from the path. Raises the 404 page for one that does not exist."""
    version = path.get("version")
    if version is None:
        return "v4" if "/v4/" in url else "v3"
    if version not in DATED:
        raise page_not_found()
    return version


def _answered(status: int, body: Any, headers: Mapping[str, str], correlation: str) -> Answer:
    sent = b"" if status == 204 else msgspec.json.encode(body)
    return Answer(status, sent, [("Content-Type", _JSON), ("X-HubSpot-Correlation-Id", correlation), *headers.items()])


def _refused(refusal: Refusal, correlation: str) -> Answer:
    if isinstance(refusal.body, bytes):
        headers = {"content-type": "text/html;charset=iso-8859-1", **refusal.headers}
        return Answer(refusal.status, refusal.body, [("X-HubSpot-Correlation-Id", correlation), *headers.items()])
    body = refusal.body if "error" in refusal.body else {**refusal.body, "correlationId": correlation}
    return _answered(refusal.status, body, refusal.headers, correlation)


def _redirect(to: str) -> Answer:
    return Answer(302, b"", [("location", to), ("cache-control", "no-store")])


def _json(status: int, body: Any) -> Answer:
    return Answer(status, msgspec.json.encode(body), [("content-type", "application/json")])

"""Four vendors by their manifests alone, and an internet in which every one of their hosts answers and is written down.

Hosts are the real ones: what is tested is which of them is ever sent a secret, a code or a token.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast
from urllib.parse import parse_qs

import httpx2
from pydantic import SecretStr

from connectors.crm.catalog import Provider
from connectors.crm.port import Manifest, Open, Sticking
from connectors.crm.records import Account
from connectors.errors import ConnectorError, ReconnectNeeded, Rejected, Unavailable
from connectors.request import Reply, Request
from connectors.tokens import Token, read_object, token_in
from gateway.connections.providers import Providers
from gateway.settings import App

SECRET, SECRET_EU = "secret-of-all", "secret-of-eu"
LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"


def manifest(slug: str, **more: Any) -> Manifest:
    fields: dict[str, Any] = {
        "slug": slug, "name": slug.capitalize(), "revoke_path": "/oauth/revoke", "authorize_path": "/oauth/authorize",
        "token_path": "/oauth/token", "optional_scopes": (), "pkce": False, "client_auth": "body", "can": frozenset(),
        "sticks": {}, "buckets": {}, "refresh_ahead": timedelta(minutes=5), "refresh_floor": timedelta(0),
    }  # fmt: skip
    return Manifest(**{**fields, **more})


MANIFESTS = {
    "salesforce": manifest(
        "salesforce",
        api_origin="https://login.salesforce.com",
        auth_origin="https://login.salesforce.com",
        token_origin="https://login.salesforce.com",
        scopes=("api", "refresh_token"),
        pkce=True,
        login_hosts=rf"(?:login|test)\.salesforce\.com|(?:{LABEL}\.){{1,4}}my\.salesforce\.com",
        login_words="test.salesforce.com for a sandbox, or your My Domain",
        region_hosts=rf"(?:{LABEL}\.){{1,4}}my\.salesforce\.com|(?:na|eu)[0-9]{{1,3}}\.salesforce\.com",
        origin_field="instance_url",
        assumed_life=timedelta(hours=2),
        idle_life=timedelta(days=30),
    ),
    "pipedrive": manifest(
        "pipedrive",
        api_origin="https://api.pipedrive.com",
        auth_origin="https://oauth.pipedrive.com",
        token_origin="https://oauth.pipedrive.com",
        scopes=("base", "contacts:full"),
        optional_scopes=("leads:full",),
        scope_field="",
        client_auth="basic",
        region_hosts=rf"{LABEL}\.pipedrive\.com",
        origin_field="api_domain",
        idle_life=timedelta(days=60),
    ),
    "zoho": manifest(
        "zoho",
        api_origin="https://www.zohoapis.com",
        auth_origin="https://accounts.zoho.com",
        token_origin="https://accounts.zoho.com",
        scopes=("ZohoCRM.modules.contacts.READ", "ZohoCRM.users.READ"),
        optional_scopes=("ZohoCRM.bulk.READ",),
        scope_separator=",",
        optional_scope_field="",
        authorize_extra={"access_type": "offline", "prompt": "consent"},
        login_hosts=r"accounts\.zoho(?:cloud)?\.(?P<region>com|eu|in|com\.au|ca)",
        region_hosts=r"(?:www|sandbox)\.zohoapis\.(?P<region>com|eu|in|com\.au|ca)",
        callback_host="accounts-server",
        origin_field="api_domain",
        auth_scheme="Zoho-oauthtoken",
        refresh_floor=timedelta(minutes=1),
        grants_apart=True,
    ),
    "hubspot": manifest(
        "hubspot",
        api_origin="https://api.hubapi.com",
        auth_origin="https://app.hubspot.com",
        token_origin="https://api.hubapi.com",
        scopes=("oauth", "crm.objects.contacts.read"),
        optional_scopes=("tickets",),
        pkce=True,
    ),
}

GRANTS: Mapping[str, Mapping[str, Any]] = {
    "salesforce": {
        "access_token": "sf-1", "refresh_token": "sf-r1", "instance_url": "https://acme.my.salesforce.com",
        "id": "https://login.salesforce.com/id/00D/005", "token_type": "Bearer", "issued_at": "1763776800000",
        "scope": "refresh_token api",
    },
    "pipedrive": {
        "access_token": "pd-1", "refresh_token": "pd-r1", "api_domain": "https://acme.pipedrive.com",
        "token_type": "Bearer", "expires_in": 3599, "scope": "base,contacts:full",
    },
    "zoho": {
        "access_token": "zo-1", "refresh_token": "zo-r1", "api_domain": "https://www.zohoapis.eu",
        "token_type": "Bearer", "expires_in": 3600,
    },
    "hubspot": {
        "access_token": "hs-1", "refresh_token": "hs-r1", "expires_in": 1800, "token_type": "bearer",
        "scopes": ["oauth", "crm.objects.contacts.read"], "hub_id": 62515,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Dialled:
    """One request, as it left."""

    host: str
    path: str
    authorization: str
    form: Mapping[str, str] = field(repr=False)


Answer = Callable[[Dialled], tuple[int, Any]]


class Internet(httpx2.AsyncBaseTransport):
    """Answers for every host. `tokens` are the token endpoint's next answers, the last one for ever; `api` the API's."""

    def __init__(self) -> None:
        self.dialled: list[Dialled] = []
        self.tokens: list[tuple[int, Any]] = []
        self.api: Answer = lambda _: (200, {"id": "1", "name": "Acme SA"})

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = (await request.aread()).decode()
        one = Dialled(
            host=str(request.url).partition("//")[2].partition("/")[0],
            path=request.url.path,
            authorization=request.headers.get("authorization", ""),
            form={name: values[0] for name, values in parse_qs(body).items()},
        )
        self.dialled.append(one)
        if one.path == "/oauth/token":
            status, answer = self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]
        else:
            status, answer = (200, {}) if one.path == "/oauth/revoke" else self.api(one)
        return answer if isinstance(answer, httpx2.Response) else httpx2.Response(status, json=answer)

    def to(self, path: str) -> list[Dialled]:
        return [one for one in self.dialled if one.path == path]

    @property
    def hosts(self) -> set[str]:
        return {one.host for one in self.dialled}


def secret_in(one: Dialled) -> str:
    """The client secret that a request carried, wherever it did."""
    if one.authorization.startswith("Basic "):
        return base64.b64decode(one.authorization[6:]).decode().partition(":")[2]
    return one.form.get("client_secret", "")


class FakeCrm:
    """As much of a connector as connecting needs."""

    def __init__(self, http: Any, *, sticks: Mapping[str, Sticking], **_: Any) -> None:
        self.http = http

    async def who_am_i(self) -> Account:
        said = json.loads((await self.http.send(Request(method="GET", path="/me"))).body)
        return Account(id=said["id"], name=said["name"])

    async def probe(self) -> Mapping[str, Sticking]:
        return {}


def read_token(status: int, headers: Mapping[str, str], body: bytes) -> Token:
    said = read_object(body)
    token = token_in(said) if status == 200 else None
    if token is not None:
        return token
    if said.get("error") in ("invalid_code", "invalid_grant"):
        raise ReconnectNeeded("the permission has ended", status=status)
    raise Unavailable("no token", status=status, retry_after=timedelta(minutes=10))


def read_error(request: Request, reply: Reply) -> ConnectorError:
    if reply.status == 401:
        return ReconnectNeeded("the token is not accepted", status=401)
    return Rejected("refused", status=reply.status)


def providers(more: Mapping[str, Provider] | None = None, **apps: App) -> Providers:
    """All four, `more` in place of some. `apps` replace the registration of some."""

    def registration(slug: str) -> App:
        secrets = {"eu": SecretStr(SECRET_EU)} if slug == "zoho" else {}
        usual = App(client_id="our-app", client_secret=SecretStr(SECRET), client_secrets=secrets)
        return apps.get(slug, usual)

    catalog = {slug: provider(known) for slug, known in MANIFESTS.items()}
    return Providers({**catalog, **(more or {})}, registration)


def provider(known: Manifest, **more: Any) -> Provider:
    """A fake connector with this manifest, reading as `more` says."""
    reads = {"read_token": read_token, "read_error": read_error, "read_limits": lambda _request, _reply: (), **more}
    return Provider(manifest=known, open=cast(Open, FakeCrm), **reads)

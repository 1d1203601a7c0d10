"""Pipedrive's sign-in: a consent page, and a token endpoint whose refusals are not RFC 6749's.

Recorded: vcr2-token-refresher; the 401 of a wrong client (2018). The sentences of the 400s are documented, the member they
stand in is likely.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import html
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

from connectors.sandbox.pipedrive.company import Company
from connectors.sandbox.pipedrive.errors import Refusal
from connectors.sandbox.pipedrive.grants import ACCESS_LIFE, Grant, Grants

_KEPT = ("client_id", "redirect_uri", "state")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem;color:#21232c}"
    "button{font:inherit;padding:.5rem 1.2rem;border-radius:4px;border:1px solid #017737;margin-right:.5rem;cursor:pointer}"
    ".yes{background:#017737;color:#fff}.no{background:#fff;color:#21232c}code{font-size:.85em}"
)


class SignIn:
    """The pages and the endpoint of one app. Without `redirect_uris` any address on this very machine will do.

    scopes  what the app's settings ask for; addresses have no say.
    """

    def __init__(
        self,
        grants: Grants,
        companies: Mapping[int, Company],
        *,
        client_id: str,
        client_secret: str,
        redirect_uris: Sequence[str],
        scopes: Sequence[str],
    ) -> None:
        self.grants = grants
        self.companies = companies
        self.client_id = client_id
        self.client_secret = client_secret
        self.redirect_uris = list(redirect_uris)
        self.scopes = tuple(scopes)

    def page(self, query: Mapping[str, str]) -> str:
        """Who wants what of which company. Raises `Refusal` with a page where there is nothing to decide."""
        self._check(query)
        hidden = "".join(
            f'<input type="hidden" name="{name}" value="{html.escape(query[name])}">' for name in _KEPT if name in query
        )
        companies = "".join(
            f'<p><label><input type="radio" name="company_id" value="{company.id}"{" checked" if at == 0 else ""}> '
            f"{html.escape(company.name)} <code>{company.domain}.pipedrive.com</code></label></p>"
            for at, company in enumerate(self.companies.values())
        )
        scopes = "".join(f"<li><code>{html.escape(scope)}</code></li>" for scope in self.scopes)
        return _page(
            "Install an app",
            f'<form method="post" action="/oauth/authorize">{hidden}<p>Into which company?</p>{companies}'
            f"<p>The app will be able to:</p><ul>{scopes}</ul>"
            '<button class="yes" name="decision" value="approve">Allow and install</button>'
            '<button class="no" name="decision" value="deny">Cancel</button></form>'
            "<p><small>This is a sandbox: no real Pipedrive account is touched.</small></p>",
        )

    def decide(self, form: Mapping[str, str], decision: str, now: datetime) -> str:
        """The address to send the browser to. Raises `Refusal` as `page` does."""
        self._check(form)
        back = {"state": form["state"]} if "state" in form else {}
        if decision != "approve":
            return _with_query(form["redirect_uri"], {"error": "user_denied", **back})
        chosen = form.get("company_id", "")
        company = self.companies.get(int(chosen)) if chosen.isdigit() else None
        company = company or next(iter(self.companies.values()))
        code = self.grants.issue_code(company.id, company.installer.id, self.scopes, form["redirect_uri"], now)
        return _with_query(form["redirect_uri"], {"code": code, **back})

    def token(
        self, form: Mapping[str, str], authorization: str, now: datetime, *, origin: str | None
    ) -> dict[str, Any]:
        """Exchange a code, or refresh.

        origin  where this sandbox is reached, if that is no address of Pipedrive's: the company's API is there too.
        """
        self._authenticate(form, authorization)
        match form.get("grant_type"):
            case "authorization_code":
                code = self.grants.code(form.get("code", ""))
                if code is None:
                    raise _refused(400, "Invalid grant: authorization_code is invalid")
                if code.until <= now:
                    raise _refused(400, "Invalid grant: authorization_code has expired")
                if code.redirect_uri != form.get("redirect_uri"):
                    raise _refused(400, "Invalid request: redirect_uri is invalid")
                return self._answer(code.grant, now, origin)
            case "refresh_token":
                grant = self.grants.by_refresh(form.get("refresh_token", ""), now)
                if grant is None:
                    raise _refused(400, "Invalid grant: refresh_token is invalid")
                return self._answer(grant, now, origin)
            case _:
                raise _refused(400, "Invalid request: grant_type is invalid")

    def revoke(self, form: Mapping[str, str], authorization: str) -> None:
        """Unknown tokens are as good as revoked."""
        self._authenticate(form, authorization)
        self.grants.revoke(form.get("token", ""))

    def _answer(self, grant: Grant, now: datetime, origin: str | None) -> dict[str, Any]:
        company = self.companies.get(grant.company_id)
        if company is None:
            raise _refused(400, "Invalid grant: company is gone")
        access = self.grants.issue_access(grant, now)
        return {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": int(ACCESS_LIFE.total_seconds()),
            "refresh_token": grant.refresh_token,
            "scope": ",".join(grant.scopes),
            "api_domain": origin or f"https://{company.domain}.pipedrive.com",
        }

    def _authenticate(self, form: Mapping[str, str], authorization: str) -> None:
        """HTTP Basic; credentials in the body are tolerated."""
        id, secret = form.get("client_id", ""), form.get("client_secret", "")
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "basic":
            try:
                id, _, secret = base64.b64decode(given, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                id = ""
        right = hmac.compare_digest(id.encode(), self.client_id.encode())
        if not (hmac.compare_digest(secret.encode(), self.client_secret.encode()) and right):
            raise _refused(401, "Invalid client: client is invalid", {"www-authenticate": 'Basic realm="Service"'})

    def _check(self, query: Mapping[str, str]) -> None:
        if query.get("client_id") != self.client_id:
            raise _no_page("There is no app with this client ID.")
        address = query.get("redirect_uri", "")
        ours = address in self.redirect_uris if self.redirect_uris else urlsplit(address).hostname in _LOOPBACK
        if not ours:
            raise _no_page("The callback URL is not the one this app has registered.")


def _refused(status: int, message: str, headers: dict[str, str] | None = None) -> Refusal:
    return Refusal(status, {"success": False, "message": message}, headers)


def _no_page(why: str) -> Refusal:
    page = _page("This app cannot be installed", f"<p>{html.escape(why)}</p>").encode()
    return Refusal(400, page, {"content-type": "text/html; charset=utf-8"})


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>{body}</body></html>"
    )


def _with_query(address: str, query: Mapping[str, str]) -> str:
    return f"{address}{'&' if '?' in address else '?'}{urlencode(query)}"

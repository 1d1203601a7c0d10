"""Salesforce's sign-in: the page that asks, the token endpoint, revocation, introspection, who am I.

PKCE is demanded of confidential apps too, refresh tokens rotate, an answer never says how long its token lives
(vendors/salesforce.md §2; recorded: o_token_200, refresh_success, n_userinfo_200).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

from connectors.sandbox.salesforce.errors import Refusal
from connectors.sandbox.salesforce.grants import Grant, Grants, verifies
from connectors.sandbox.salesforce.org import Org

_KEPT = ("response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method")
_SCOPES = frozenset({"api", "refresh_token", "offline_access", "id", "openid", "profile", "email", "web", "full"})
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem;color:#16325c}"
    "button{font:inherit;padding:.5rem 1.2rem;border-radius:4px;border:1px solid #0070d2;margin-right:.5rem;cursor:pointer}"
    ".yes{background:#0070d2;color:#fff}.no{background:#fff;color:#0070d2}code{font-size:.85em}"
)


class OAuth:
    """One app's. Without `redirect_uris` any address on this very machine will do. `rotation`: as partner apps must."""

    def __init__(
        self,
        grants: Grants,
        orgs: Mapping[str, Org],
        *,
        client_id: str,
        client_secret: str,
        redirect_uris: Sequence[str],
    ) -> None:
        self.grants = grants
        self.orgs = orgs
        self.client_id = client_id
        self.client_secret = client_secret
        self.redirect_uris = list(redirect_uris)
        self.rotation = True

    # ── the page ────────────────────────────────────────────────────────────────────────────────────────────────────

    def show(self, query: Mapping[str, str]) -> str:
        """The page with two buttons. Raises `Refusal` with another page, or with a redirect, where there is nothing to ask."""
        self._checked(query)
        hidden = "".join(
            f'<input type="hidden" name="{name}" value="{html.escape(query[name])}">' for name in _KEPT if name in query
        )
        orgs = "".join(
            f'<p><label><input type="radio" name="org" value="{org.id}"{" checked" if at == 0 else ""}> '
            f"{html.escape(org.name)} <code>{org.id}</code></label></p>"
            for at, org in enumerate(self.orgs.values())
        )
        scopes = "".join(f"<li><code>{html.escape(scope)}</code></li>" for scope in query.get("scope", "").split())
        return _page(
            "Allow Access?",
            f'<form method="post" action="/services/oauth2/authorize">{hidden}<p>Log in to which org?</p>{orgs}'
            f"<p>The app asks to:</p><ul>{scopes}</ul>"
            '<button class="yes" name="decision" value="approve">Allow</button>'
            '<button class="no" name="decision" value="deny">Deny</button></form>'
            "<p><small>This is a sandbox: no real Salesforce org is touched.</small></p>",
        )

    def decide(self, form: Mapping[str, str], decision: str, now: datetime) -> str:
        """The address to send the browser to, after a decision."""
        self._checked(form)
        back = {"state": form["state"]} if "state" in form else {}
        if decision != "approve":
            return _with(
                form["redirect_uri"],
                {"error": "access_denied", "error_description": "end-user denied authorization", **back},
            )
        org = self.orgs.get(form.get("org") or form.get("hub_id") or "") or next(iter(self.orgs.values()))
        grant = Grant(org.id, org.user, form.get("scope", "api").split(), now)
        code = self.grants.issue_code(
            grant, redirect_uri=form["redirect_uri"], challenge=form["code_challenge"], now=now
        )
        return _with(form["redirect_uri"], {"code": code, **back})

    def _checked(self, query: Mapping[str, str]) -> None:
        if query.get("client_id") != self.client_id:
            raise _refused("error=invalid_client_id&error_description=client identifier invalid")
        address = query.get("redirect_uri", "")
        if not self._ours(address):
            raise _refused("error=redirect_uri_mismatch&error_description=redirect_uri must match configuration")
        back = {"state": query["state"]} if "state" in query else {}
        if query.get("response_type") != "code":
            raise _redirect(address, {"error": "unsupported_response_type", **back})
        if not query.get("code_challenge") or query.get("code_challenge_method", "S256") != "S256":
            raise _redirect(
                address, {"error": "invalid_request", "error_description": "missing required code challenge", **back}
            )
        if set(query.get("scope", "api").split()) - _SCOPES:
            raise _redirect(
                address, {"error": "invalid_scope", "error_description": "the requested scope is not allowed", **back}
            )

    def _ours(self, address: str) -> bool:
        if self.redirect_uris:
            return address in self.redirect_uris
        parts = urlsplit(address)
        return parts.scheme in ("http", "https") and parts.hostname in _LOOPBACK

    # ── tokens ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def token(self, form: Mapping[str, str], now: datetime, origin: str) -> dict[str, Any]:
        """Exchange a code, or refresh. `origin`: where this org's API is reached."""
        match form.get("grant_type"):
            case "authorization_code":
                grant = self._exchange(form, now)
                return {**self._answer(grant, now, origin), "refresh_token": grant.refresh_token}
            case "refresh_token":
                self._authenticate(form)
                found = self.grants.by_refresh(form.get("refresh_token", ""), now)
                if found is None or found.org not in self.orgs:
                    raise _error("invalid_grant", "expired access/refresh token")
                answer = self._answer(found, now, origin)
                if self.rotation:
                    found.rotate()
                    answer["refresh_token"] = found.refresh_token
                return answer
        raise _error("unsupported_grant_type", "grant type not supported")

    def revoke(self, form: Mapping[str, str]) -> None:
        if not self.grants.revoke(form.get("token", "")):
            raise _error("invalid_token", "invalid token: unknown or revoked")

    def introspect(self, form: Mapping[str, str], now: datetime) -> dict[str, Any]:
        self._authenticate(form)
        access = self.grants.by_access(form.get("token", ""))
        grant = access.grant if access else self.grants.by_refresh(form.get("token", ""), now)
        if grant is None or not grant.alive or (access is not None and access.expires_at <= now):
            return {"active": False}
        told = {"active": True, "scope": " ".join(grant.scopes), "client_id": self.client_id, "sub": self._identity(grant),
                "username": f"integration@{self.orgs[grant.org].domain}.example", "nbf": int(now.timestamp())}  # fmt: skip
        if access is None:
            return {**told, "token_type": "refresh_token"}
        return {**told, "token_type": "access_token", "exp": int(access.expires_at.timestamp())}

    def userinfo(self, grant: Grant, origin: str) -> dict[str, Any]:
        org = self.orgs[grant.org]
        user = org.get("User", grant.user)
        assert user is not None, "the user who approved is there"
        return {
            "sub": self._identity(grant),
            "user_id": grant.user,
            "organization_id": grant.org,
            "preferred_username": user.get("Username"),
            "nickname": "integration",
            "name": user.get("Name"),
            "email": user.get("Email"),
            "email_verified": True,
            "zoneinfo": user.get("TimeZoneSidKey"),
            "active": True,
            "user_type": "STANDARD",
            "language": "en_US",
            "locale": "de_CH",
            "urls": {"rest": f"{origin}/services/data/v{{version}}/", "custom_domain": org.origin},
        }

    def _identity(self, grant: Grant) -> str:
        return f"https://login.salesforce.com/id/{grant.org}/{grant.user}"

    def _answer(self, grant: Grant, now: datetime, origin: str) -> dict[str, Any]:
        issued = str(int(now.timestamp() * 1000))
        signed = hmac.digest(self.client_secret.encode(), (self._identity(grant) + issued).encode(), hashlib.sha256)
        return {
            "access_token": self.grants.issue_access(grant, now),
            "signature": base64.b64encode(signed).decode(),
            "scope": " ".join(grant.scopes),
            "instance_url": origin,
            "id": self._identity(grant),
            "token_type": "Bearer",
            "issued_at": issued,
        }

    def _exchange(self, form: Mapping[str, str], now: datetime) -> Grant:
        self._authenticate(form)
        code = self.grants.take_code(form.get("code", ""), now)
        if code is None:
            raise _error("invalid_grant", "invalid authorization code")
        if code.expires_at <= now:
            raise _error("invalid_grant", "expired authorization code")
        if form.get("redirect_uri") != code.redirect_uri:
            raise _error("redirect_uri_mismatch", "redirect_uri must match configuration")
        if not verifies(code.challenge, form.get("code_verifier", "")):
            raise _error("invalid_grant", "invalid code verifier")
        return code.grant

    def _authenticate(self, form: Mapping[str, str]) -> None:
        if not hmac.compare_digest(form.get("client_id", "").encode(), self.client_id.encode()):
            raise _error("invalid_client_id", "client identifier invalid")
        if not hmac.compare_digest(form.get("client_secret", "").encode(), self.client_secret.encode()):
            raise _error("invalid_client", "invalid client credentials")


def _error(code: str, text: str) -> Refusal:
    return Refusal(400, {"error": code, "error_description": text})


def _refused(why: str) -> Refusal:
    body = _page("OAuth Error", f"<p>We can't authorize you because of an OAuth error: {html.escape(why)}</p>")
    return Refusal(400, body.encode(), {"content-type": "text/html;charset=utf-8"})


def _redirect(address: str, query: Mapping[str, str]) -> Refusal:
    return Refusal(302, b"", {"location": _with(address, query)})


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>{body}</body></html>"
    )


def _with(address: str, query: Mapping[str, str]) -> str:
    return f"{address}{'&' if '?' in address else '?'}{urlencode(query)}"

"""Zoho's sign-in: the page on which a person lets the app in, and the endpoint that refuses with status 200.

A browser walks the page by its buttons; a script adds `auto=approve` or `auto=deny` (and `org`) to the address, or posts
the form. The callback names the data centre the user's organisation lives in: here, this very server.
"""

from __future__ import annotations

import hmac
import html
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

from connectors.sandbox.zoho.errors import Refusal
from connectors.sandbox.zoho.grants import ACCESS_LIFE, Grant, Grants, TooOften
from connectors.sandbox.zoho.org import Org

_KEPT = ("client_id", "redirect_uri", "scope", "state", "access_type", "prompt", "response_type")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_AREAS = ("modules", "settings", "users", "org", "coql", "composite_requests", "notifications", "bulk", "change_owner")
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem;color:#1d1d1f}"
    "button{font:inherit;padding:.5rem 1.2rem;border-radius:4px;border:1px solid #1a73e8;margin-right:.5rem;cursor:pointer}"
    ".yes{background:#1a73e8;color:#fff}.no{background:#fff;color:#444}code{font-size:.85em}"
)


class SignIn:
    """One app's. Without `redirect_uris` any address on this very machine will do.

    location  what the callback calls the data centre.
    """

    def __init__(
        self,
        grants: Grants,
        orgs: Mapping[str, Org],
        *,
        client_id: str,
        client_secret: str,
        redirect_uris: Sequence[str],
        location: str = "eu",
    ) -> None:
        self.grants = grants
        self.orgs = orgs
        self.client_id, self.client_secret = client_id, client_secret
        self.redirect_uris = list(redirect_uris)
        self.location = location

    # ── the page ────────────────────────────────────────────────────────────────────────────────────────────────────

    def show(self, query: Mapping[str, str]) -> str:
        """The page. Raises `Refusal` with another page where there is nothing to decide."""
        asked = self._checked(query)
        hidden = "".join(
            f'<input type="hidden" name="{name}" value="{html.escape(query[name])}">' for name in _KEPT if name in query
        )
        orgs = "".join(
            f'<p><label><input type="radio" name="org" value="{org.zgid}"{" checked" if at == 0 else ""}> '
            f"{html.escape(org.name)} <code>{org.zgid}</code></label></p>"
            for at, org in enumerate(self.orgs.values())
        )
        scopes = "".join(f"<li><code>{html.escape(scope)}</code></li>" for scope in asked)
        return _page(
            "Zoho: an app would like to access",
            f'<form method="post" action="/oauth/v2/auth">{hidden}<p>Which organisation?</p>{orgs}'
            f"<p>The app asks for:</p><ul>{scopes}</ul>"
            '<button class="yes" name="decision" value="approve">Accept</button>'
            '<button class="no" name="decision" value="deny">Reject</button></form>'
            "<p><small>This is a sandbox: no real Zoho account is touched.</small></p>",
        )

    def decide(self, form: Mapping[str, str], decision: str, *, origin: str, now: datetime) -> str:
        """The address to send the browser to, after a decision. Raises `Refusal` as `show` does."""
        asked = self._checked(form)
        back = {"state": form["state"]} if "state" in form else {}
        if decision != "approve":
            return _with_query(form["redirect_uri"], {"error": "access_denied", **back})
        org = self.orgs.get(form.get("org") or next(iter(self.orgs)))
        if org is None:
            raise _refused("There is no such organisation.")
        code = self.grants.issue_code(
            zgid=org.zgid,
            user_id=org.installer.id,
            scopes=asked,
            redirect_uri=form["redirect_uri"],
            offline=form.get("access_type") == "offline" and form.get("prompt") == "consent",
            now=now,
        )
        told = {"code": code, "location": self.location, "accounts-server": origin}
        return _with_query(form["redirect_uri"], {**told, **back})

    def _checked(self, query: Mapping[str, str]) -> list[str]:
        if query.get("client_id") != self.client_id:
            raise _refused("Invalid Client Id.")
        if query.get("response_type", "code") != "code":
            raise _refused("Invalid response type.")
        if not self._ours(query.get("redirect_uri", "")):
            raise _refused("Redirect URI passed does not match with the one configured.")
        asked = [scope for scope in query.get("scope", "").split(",") if scope]
        wrong = [scope for scope in asked if not _is_scope(scope)]
        if wrong or not asked:
            raise _refused(f"Scope does not exist: {', '.join(wrong) or 'none'}.")
        return asked

    def _ours(self, address: str) -> bool:
        if self.redirect_uris:
            return address in self.redirect_uris
        parts = urlsplit(address)
        return parts.scheme in ("http", "https") and parts.hostname in _LOOPBACK

    # ── the endpoint ────────────────────────────────────────────────────────────────────────────────────────────────

    def token(self, form: Mapping[str, str], *, origin: str, now: datetime) -> tuple[int, dict[str, Any]]:
        """A token; or an error, in the same status."""
        if not hmac.compare_digest(form.get("client_id", "").encode(), self.client_id.encode()):
            return 200, {"error": "invalid_client"}
        if not hmac.compare_digest(form.get("client_secret", "").encode(), self.client_secret.encode()):
            return 200, {"error": "invalid_client_secret"}
        match form.get("grant_type"):
            case "authorization_code":
                code = self.grants.take_code(form.get("code", ""), now)
                if code is None:
                    return 200, {"error": "invalid_code"}
                if form.get("redirect_uri") not in (code.redirect_uri, None):
                    return 200, {"error": "invalid_redirect_uri"}
                more = {"refresh_token": code.grant.refresh_token} if code.grant.refresh_token else {}
                return self._given(code.grant, origin, now, more)
            case "refresh_token":
                grant = self.grants.by_refresh(form.get("refresh_token", ""))
                return self._given(grant, origin, now, {}) if grant else (200, {"error": "invalid_code"})
            case _:
                return 200, {"error": "general_error"}

    def _given(self, grant: Grant, origin: str, now: datetime, more: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        try:
            access = self.grants.issue_access(grant, now)
        except TooOften:
            text = "You have made too many requests continuously. Please try again after some time."
            return 400, {"error_description": text, "error": "Access Denied", "status": "failure"}
        lives = int(ACCESS_LIFE.total_seconds())
        known = {"access_token": access, "api_domain": origin, "token_type": "Bearer", "expires_in": lives}
        return 200, {**known, **more, "scope": " ".join(grant.scopes)}

    def revoke(self, token: str) -> tuple[int, dict[str, Any]]:
        return (200, {"status": "success"}) if self.grants.revoke(token) else (400, {"error": "invalid_code"})


def _is_scope(scope: str) -> bool:
    service, _, rest = scope.partition(".")
    if service == "ZohoSearch":
        return rest.lower() == "securesearch.read"
    return service == "ZohoCRM" and rest.partition(".")[0] in _AREAS and rest.count(".") in (1, 2)


def _refused(why: str) -> Refusal:
    return Refusal(400, _page("Oops! Something went wrong", f"<p>{html.escape(why)}</p>").encode())


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>{body}</body></html>"
    )


def _with_query(address: str, query: Mapping[str, str]) -> str:
    return f"{address}{'&' if '?' in address else '?'}{urlencode(query)}"

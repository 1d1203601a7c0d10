"""The page on which a person chooses a portal and lets the app in, or does not.

A browser walks it by its two buttons; a script adds `auto=approve` or `auto=deny` (and `hub_id`) to the address, or posts
the form. What HubSpot's page refuses before asking (unknown app, foreign redirect address, unknown or unavailable
scopes) is a page here too, and never a redirect.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import urlencode, urlsplit

from connectors.sandbox.hubspot.errors import Refusal
from connectors.sandbox.hubspot.grants import KNOWN_SCOPES, Grants, granted
from connectors.sandbox.hubspot.portal import Portal

_KEPT = ("client_id", "redirect_uri", "scope", "optional_scope", "state", "code_challenge", "code_challenge_method")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem;color:#213343}"
    "button{font:inherit;padding:.5rem 1.2rem;border-radius:4px;border:1px solid #ff7a59;margin-right:.5rem;cursor:pointer}"
    ".yes{background:#ff7a59;color:#fff}.no{background:#fff;color:#b34a2f}code{font-size:.85em}"
)


class Consent:
    """The authorize page of one app. Without `redirect_uris` any address on this very machine will do."""

    def __init__(
        self, grants: Grants, portals: Mapping[int, Portal], *, client_id: str, redirect_uris: Sequence[str]
    ) -> None:
        self.grants = grants
        self.portals = portals
        self.client_id = client_id
        self.redirect_uris = list(redirect_uris)

    def show(self, query: Mapping[str, str]) -> str:
        """The page. Raises `Refusal` with another page where there is nothing to decide."""
        asked, optional = self._checked(query)
        hidden = "".join(
            f'<input type="hidden" name="{name}" value="{html.escape(query[name])}">' for name in _KEPT if name in query
        )
        portals = "".join(
            f'<p><label><input type="radio" name="hub_id" value="{portal.hub_id}"{" checked" if at == 0 else ""}> '
            f"{html.escape(portal.name)} <code>{portal.hub_id}</code></label></p>"
            for at, portal in enumerate(self.portals.values())
        )
        scopes = "".join(f"<li><code>{html.escape(scope)}</code></li>" for scope in (*asked, *optional))
        return _page(
            "Connect an app",
            f'<form method="post" action="/oauth/authorize">{hidden}<p>Which account shall be connected?</p>{portals}'
            f"<p>The app asks for:</p><ul>{scopes}</ul>"
            '<button class="yes" name="decision" value="approve">Connect app</button>'
            '<button class="no" name="decision" value="deny">Cancel</button></form>'
            "<p><small>This is a sandbox: no real HubSpot account is touched.</small></p>",
        )

    def decide(self, form: Mapping[str, str], decision: str, now: datetime) -> str:
        """The address to send the browser to, after a decision. Raises `Refusal` as `show` does."""
        asked, optional = self._checked(form)
        back = {"state": form["state"]} if "state" in form else {}
        if decision != "approve":
            denied = {"error": "access_denied", "error_description": "The user did not authorize the application"}
            return _with_query(form["redirect_uri"], {**denied, **back})
        chosen = form.get("hub_id") or str(next(iter(self.portals)))
        portal = self.portals.get(int(chosen)) if chosen.isdigit() else None
        if portal is None:
            raise _refused("There is no such account.")
        missing = sorted(set(asked) & portal.lacks)
        if missing:
            raise _refused(f"This account's subscription does not include: {', '.join(missing)}.")
        code = self.grants.issue_code(
            hub_id=portal.hub_id,
            user_id=portal.installer.user_id,
            scopes=granted(asked, optional, portal.lacks),
            redirect_uri=form["redirect_uri"],
            challenge=form.get("code_challenge") or None,
            now=now,
        )
        return _with_query(form["redirect_uri"], {"code": code, **back})

    def _checked(self, query: Mapping[str, str]) -> tuple[list[str], list[str]]:
        if query.get("client_id") != self.client_id:
            raise _refused("There is no app with this client ID.")
        address = query.get("redirect_uri", "")
        if not self._ours(address):
            raise _refused("The redirect URL is not one that this app has registered.")
        asked, optional = query.get("scope", "").split(), query.get("optional_scope", "").split()
        unknown = sorted({*asked, *optional} - KNOWN_SCOPES)
        if unknown:
            raise _refused(f"There are no such scopes: {', '.join(unknown)}.")
        if not asked:
            raise _refused("The install URL names no scope.")
        if query.get("code_challenge") and query.get("code_challenge_method", "S256") != "S256":
            raise _refused("The only code challenge method is S256.")
        return asked, optional

    def _ours(self, address: str) -> bool:
        if self.redirect_uris:
            return address in self.redirect_uris
        parts = urlsplit(address)
        return parts.scheme in ("http", "https") and parts.hostname in _LOOPBACK


def _refused(why: str) -> Refusal:
    body = _page("Couldn't complete the connection", f"<p>Authorization failed. {html.escape(why)}</p>")
    return Refusal(400, body.encode(), {"content-type": "text/html;charset=utf-8"})


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>{body}</body></html>"
    )


def _with_query(address: str, query: Mapping[str, str]) -> str:
    return f"{address}{'&' if '?' in address else '?'}{urlencode(query)}"

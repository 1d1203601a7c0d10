"""HubSpot's OAuth: the token endpoint in its three spellings, introspection, revocation.

Credentials travel in the form body only. Error bodies: developer changelog "New OAuth v3"; the texts of the rarer ones
are not confirmed anywhere, their `error` and `status` are.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from connectors.sandbox.hubspot.errors import Refusal, error
from connectors.sandbox.hubspot.grants import ACCESS_LIFE, Access, Grant, Grants, verifies
from connectors.sandbox.hubspot.portal import Portal

APP_ID = 18221010


class TokenEndpoint:
    """What `POST /oauth/{version}/token` and its neighbours answer. All of them raise `Refusal` for what they refuse."""

    def __init__(self, grants: Grants, portals: Mapping[int, Portal], client_id: str, client_secret: str) -> None:
        self.grants = grants
        self.portals = portals
        self.client_id = client_id
        self.client_secret = client_secret

    def token(self, form: Mapping[str, str], now: datetime) -> dict[str, Any]:
        """Exchange a code, or refresh."""
        self._authenticate(form)
        match form.get("grant_type"):
            case "authorization_code":
                return self._answer(self._exchange(form, now), now)
            case "refresh_token":
                grant = self.grants.by_refresh(form.get("refresh_token", ""))
                if grant is None:
                    text = "refresh token is invalid, expired or revoked"
                    raise _refused("invalid_grant", "BAD_REFRESH_TOKEN", text)
                return self._answer(grant, now)
            case other:
                raise _refused("unsupported_grant_type", "BAD_GRANT_TYPE", f"unsupported grant_type: {other}")

    def introspect(self, form: Mapping[str, str], now: datetime) -> dict[str, Any]:
        """What a token is worth; {"active": false} for one that is worth nothing."""
        self._authenticate(form)
        token = form.get("token", "")
        access = self.grants.by_access(token)
        if access is not None:
            if self.grants.is_dead(token, access) or access.expires_at <= now:
                return {"active": False}
            return self._described(token, access.grant) | self._signed(access, now)
        grant = self.grants.by_refresh(token)
        if grant is None:
            return {"active": False}
        return self._described(token, grant) | {"token_use": "refresh_token"}

    def describe(self, token: str, now: datetime) -> dict[str, Any]:
        """v1's way to look at a token: by its address, without credentials. Raises the 404 for one that is worth nothing."""
        access, grant = self.grants.by_access(token), self.grants.by_refresh(token)
        if access is not None and not self.grants.is_dead(token, access) and access.expires_at > now:
            left = int((access.expires_at - now).total_seconds())
            return self._described(token, access.grant) | {"token_type": "access", "expires_in": left}
        if grant is None:
            raise error(404, "Unknown or expired token", None)
        return self._described(token, grant) | {"token_type": "refresh"}

    def revoke(self, form: Mapping[str, str]) -> None:
        self._authenticate(form)
        self.grants.revoke(form.get("token", ""))

    def _authenticate(self, form: Mapping[str, str]) -> None:
        if not hmac.compare_digest(form.get("client_id", "").encode(), self.client_id.encode()):
            raise _refused("invalid_client", "BAD_CLIENT_ID", "missing or unknown client id")
        if not hmac.compare_digest(form.get("client_secret", "").encode(), self.client_secret.encode()):
            raise _refused("invalid_client", "BAD_CLIENT_SECRET", "missing or invalid client secret")

    def _exchange(self, form: Mapping[str, str], now: datetime) -> Grant:
        code = self.grants.take_code(form.get("code", ""), now)
        if code is None:
            raise _refused("invalid_grant", "BAD_AUTH_CODE", "missing or unknown auth code")
        if form.get("redirect_uri") != code.redirect_uri:
            raise _refused("invalid_grant", "BAD_REDIRECT_URI", "missing or mismatched redirect uri")
        verifier = form.get("code_verifier")
        if code.challenge is not None and (verifier is None or not verifies(code.challenge, verifier)):
            raise _refused("invalid_grant", "BAD_CODE_VERIFIER", "code verifier does not match the challenge")
        return code.grant

    def _answer(self, grant: Grant, now: datetime) -> dict[str, Any]:
        """`scopes` is a list, there is no `scope`; the refresh token is the same every time."""
        if grant.hub_id not in self.portals:
            raise _refused("access_denied", "BAD_HUB", "the account does not exist any more")
        return {
            "token_type": "bearer",
            "refresh_token": grant.refresh_token,
            "access_token": self.grants.issue_access(grant, now),
            "hub_id": grant.hub_id,
            "user_id": grant.user_id,
            "scopes": list(grant.scopes),
            "expires_in": int(ACCESS_LIFE.total_seconds()),
            "token_use": "access_token",
        }

    def _described(self, token: str, grant: Grant) -> dict[str, Any]:
        portal = self.portals.get(grant.hub_id)
        return {
            "token": token,
            "active": True,
            "token_type": "bearer",
            "hub_id": grant.hub_id,
            "hub_domain": portal.domain if portal else None,
            "app_id": APP_ID,
            "client_id": self.client_id,
            "user": portal.installer.email if portal else None,
            "user_id": grant.user_id,
            "scopes": list(grant.scopes),
        }

    def _signed(self, access: Access, now: datetime) -> dict[str, Any]:
        grant = access.grant
        return {
            "token_use": "access_token",
            "expires_in": int((access.expires_at - now).total_seconds()),
            "is_private_distribution": False,
            "signed_access_token": {
                "expiresAt": int(access.expires_at.timestamp() * 1000),
                "scopes": "",
                "hubId": grant.hub_id,
                "userId": grant.user_id,
                "appId": APP_ID,
                "signature": "",
                "scopeToScopeGroupPks": "",
                "newSignature": "",
                "hublet": "eu1",
                "trialScopes": "",
                "trialScopeToScopeGroupPks": "",
                "isUserLevel": False,
                "isPrivateDistribution": False,
                "installingUserId": grant.user_id,
                "isServiceAccount": False,
            },
        }


def _refused(code: str, status: str, text: str) -> Refusal:
    return Refusal(400, {"error": code, "error_description": text, "status": status, "message": text})

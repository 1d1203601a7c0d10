"""The steps of OAuth 2, one at a time, for any provider. Stores nothing.

Authlib builds the requests and knows the standards (RFC 6749, 7009, 7636, 7662). It does not get to judge the answers:
left alone it takes a 429 or 401 with a JSON body for a token, and a null `refresh_token` for a reason to forget the
stored one. So the provider's own `read_token` reads every answer first, and its word is final.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import httpx2
from authlib.integrations.httpx_client import AsyncOAuth2Client  # type: ignore[import-untyped]

from connectors.crm.port import Manifest
from connectors.errors import ConnectorError, ReconnectNeeded, Unavailable, Unsupported
from connectors.http import TooLarge, read_bounded, tls
from connectors.tokens import ReadToken, Token, read_object

LARGEST_ANSWER = 256 * 1024
_CLIENT_AUTH = {"body": "client_secret_post", "basic": "client_secret_basic"}


class OAuth:
    """Our app at one provider's authorisation server.

    auth_origin, token_origin  replace the manifest's: an operator's override, or the host a grant belongs to.
    total                      wall clock for one step.
    transport                  for tests; the network otherwise.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        client_id: str,
        client_secret: str,
        read_token: ReadToken,
        auth_origin: str | None = None,
        token_origin: str | None = None,
        total: timedelta = timedelta(seconds=15),
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._manifest = manifest
        self._client_id = client_id
        self._client_secret = client_secret
        self._read_token = read_token
        self._auth_origin = (auth_origin or manifest.auth_origin).rstrip("/")
        self._token_origin = (token_origin or manifest.token_origin).rstrip("/")
        self._total = total
        self._transport = transport

    def __repr__(self) -> str:
        return f"<OAuth {self._manifest.slug}>"

    def authorize_url(self, *, redirect_uri: str, state: str, verifier: str | None = None) -> str:
        """Where a browser goes to be asked for consent.

        verifier  PKCE's; sent as its S256 challenge where the manifest says the vendor takes it, else left out.
        """
        client = self._client(code_challenge_method="S256")
        url, _ = client.create_authorization_url(
            self._auth_origin + self._manifest.authorize_path,
            state=state,
            code_verifier=verifier if self._manifest.pkce else None,
            redirect_uri=redirect_uri,
            **{"scope": None, **self._scopes(), **self._manifest.authorize_extra},
        )
        return str(url).replace("+", "%20")  # a plus of its own would be %2B; HubSpot documents %20 between scopes

    async def exchange(self, *, code: str, redirect_uri: str, verifier: str | None = None) -> Token:
        """The code of a callback for a token. A code works once: an exchange that failed is not repeated."""
        more = {"code_verifier": verifier} if verifier and self._manifest.pkce else {}
        return await self._grant(
            "access_token_response",
            lambda client: client.fetch_token(
                self._token_url, grant_type="authorization_code", code=code, redirect_uri=redirect_uri, **more
            ),
        )

    async def refresh(self, refresh_token: str) -> Token:
        """A fresh token. Where the answer carries no refresh token, `refresh_token` of the result is None: keep yours.

        Raises `ReconnectNeeded` if the grant is gone, `Unavailable` if the server is, `Unsupported` without a secret.
        """
        return await self._grant(
            "refresh_token_response",
            lambda client: client.refresh_token(self._token_url, refresh_token=refresh_token),
        )

    async def revoke(self, token: str, *, hint: str = "refresh_token") -> None:
        """Drop a grant at the vendor. One that is gone already counts as dropped. Raises `Unavailable` or `Unsupported`."""
        if self._manifest.revoke_path is None:
            raise Unsupported(f"{self._manifest.name} has no way to revoke a grant")
        url = self._token_origin + self._manifest.revoke_path
        status, _ = await self._ask(lambda client: client.revoke_token(url, token=token, token_type_hint=hint))
        if status >= 500 or status in (408, 423, 429, 477):
            raise Unavailable(f"{self._manifest.name} did not revoke the grant", status=status)

    async def introspect(self, token: str, *, hint: str = "access_token") -> Mapping[str, Any]:
        """What the vendor says about a token (RFC 7662: `active`, and its own fields).

        Raises `ReconnectNeeded` for an inactive one.
        """
        if self._manifest.introspect_path is None:
            raise Unsupported(f"{self._manifest.name} does not describe tokens")
        url = self._token_origin + self._manifest.introspect_path
        status, body = await self._ask(lambda client: client.introspect_token(url, token=token, token_type_hint=hint))
        answer = read_object(body)
        if status != 200 or not answer:
            raise Unavailable(f"{self._manifest.name} did not describe the token", status=status)
        if answer.get("active") is False:
            raise ReconnectNeeded("the grant is no longer active", status=status)
        return answer

    def _scopes(self) -> Mapping[str, str]:
        """What we ask for, as parameters of the consent page."""
        manifest = self._manifest
        asked = [(manifest.scope_field, manifest.scopes), (manifest.optional_scope_field, manifest.optional_scopes)]
        if not manifest.scope_field:
            return {}
        if not manifest.optional_scope_field:
            asked = [(manifest.scope_field, (*manifest.scopes, *manifest.optional_scopes))]
        return {field: manifest.scope_separator.join(scopes) for field, scopes in asked if scopes}

    @property
    def _token_url(self) -> str:
        return self._token_origin + self._manifest.token_path

    def _client(self, **more: Any) -> AsyncOAuth2Client:
        method = _CLIENT_AUTH[self._manifest.client_auth]
        return AsyncOAuth2Client(
            self._client_id,
            self._client_secret,
            token_endpoint_auth_method=method,
            revocation_endpoint_auth_method=method,
            transport=_Bounded(self._transport or httpx2.AsyncHTTPTransport(verify=tls(), trust_env=False)),
            timeout=self._total.total_seconds(),
            trust_env=False,
            follow_redirects=False,
            headers={"accept": "application/json", "accept-encoding": "gzip"},
            **more,
        )

    async def _grant(self, hook: str, step: Callable[[AsyncOAuth2Client], Any]) -> Token:
        """Run a step that ends in a token, with `read_token` in Authlib's place."""
        if not self._client_secret:  # a vendor's data centres have secrets of their own
            raise Unsupported(f"this installation has no client secret for this server of {self._manifest.name}")
        granted: list[Token] = []

        def judge(response: httpx2.Response) -> httpx2.Response:
            granted.append(self._read_token(response.status_code, _headers(response), response.content))
            return httpx2.Response(
                200, json={"access_token": "read", "refresh_token": "read"}
            )  # all Authlib gets to see

        async with self._client() as client:
            client.register_compliance_hook(hook, judge)
            await self._sent(step(client))
        return granted[0]

    async def _ask(self, step: Callable[[AsyncOAuth2Client], Any]) -> tuple[int, bytes]:
        async with self._client() as client:
            response = await self._sent(step(client))
            return response.status_code, response.content

    async def _sent(self, step: Any) -> Any:
        try:
            return await step
        except ConnectorError:
            raise
        except (httpx2.HTTPError, TooLarge) as error:  # its text would hold the address
            reason = f"no answer from {self._manifest.name}'s sign-in ({type(error).__name__})"
            raise Unavailable(reason) from None


class _Bounded(httpx2.AsyncBaseTransport):
    """Reads answers whole, but no more of them than `LARGEST_ANSWER`, before the client above gets to see them."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        try:
            body = await read_bounded(response, LARGEST_ANSWER)
        finally:
            await response.aclose()
        headers = [(name, value) for name, value in response.headers.items() if name.lower() not in _OF_THE_WIRE]
        return httpx2.Response(response.status_code, headers=headers, content=body)

    async def aclose(self) -> None:
        await self._inner.aclose()


_OF_THE_WIRE = {"content-encoding", "content-length", "transfer-encoding"}


def _headers(response: httpx2.Response) -> Mapping[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}

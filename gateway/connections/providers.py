"""Which CRMs can be connected here: the catalogue, joined with this installation's registration at each vendor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from connectors.crm.catalog import CATALOG, Provider
from connectors.crm.port import Manifest
from connectors.oauth import OAuth
from connectors.tokens import Token
from gateway.connections import hosts
from gateway.connections.hosts import ForeignHost
from gateway.settings import App, app_of


@dataclass(frozen=True)
class Registered:
    """One CRM and our app there. `app` may be empty: then nobody can connect, and existing connections end in words."""

    provider: Provider
    app: App

    @property
    def manifest(self) -> Manifest:
        return self.provider.manifest

    @property
    def ready(self) -> bool:
        """Whether the operator has registered an app at the vendor and told us."""
        return not self.lacking

    @property
    def lacking(self) -> tuple[str, ...]:
        """The settings without which nobody can connect."""
        prefix = f"GATEWAY_{self.manifest.slug.upper()}"
        secret = self.app.client_secret.get_secret_value() or self.app.client_secrets
        given = {f"{prefix}_CLIENT_ID": self.app.client_id, f"{prefix}_CLIENT_SECRET": secret}
        return tuple(name for name, value in given.items() if not value)

    @property
    def auth_origin(self) -> str:
        return self.app.auth_url or self.manifest.auth_origin

    @property
    def token_origin(self) -> str:
        return self.app.token_url or self.manifest.token_origin

    @property
    def own_sign_in(self) -> bool:
        """Whether a tenant may name a sign-in host of its own."""
        return bool(self.manifest.login_hosts) and not (self.app.auth_url or self.app.token_url)

    def sign_in_at(self, host: str) -> str:
        """The origin of a sign-in host that a tenant named (`login_host`). Raises `ForeignHost`."""
        name = self.manifest.name
        if not self.manifest.login_hosts:
            raise ForeignHost(f"{name} has one sign-in address; leave it out")
        if not self.own_sign_in:
            raise ForeignHost("this installation signs in at an address its operator has set; leave it out")
        found = hosts.at_host(self.manifest.login_hosts, host)
        if found is None:
            words = f": {self.manifest.login_words}" if self.manifest.login_words else ""
            raise ForeignHost(f"not a sign-in host of {name}{words}")
        return found

    def exchange_at(self, named: str, *, otherwise: str) -> str:
        """Where a callback's code becomes a token: at the server it names, if that is the vendor's.

        named      what the callback says (`manifest.callback_host`), empty if nothing; `otherwise`: the flow's own.
        Raises `ForeignHost`: whoever is named there would be sent the client secret.
        """
        if not named or not self.manifest.callback_host:
            return self.app.token_url or otherwise
        found = hosts.at_origin(self.manifest.login_hosts, named)
        if self.app.token_url:  # the only address we talk to, whatever an emulator calls itself
            if found is not None or named in (self.app.token_url, self.app.auth_url):
                return self.app.token_url
        elif found is not None:
            return found
        raise ForeignHost(f"the answer names a server that is not {self.manifest.name}'s")

    def api_origin_of(self, granted: Token, *, token_origin: str, otherwise: str = "") -> str:
        """Where the API is for a grant: what the token's answer says, if that is the vendor's, and of the same region.

        otherwise  where it was, should the answer say nothing. An operator's override is where it is, whatever is said.
        Raises `ForeignHost`: whoever is named there would be sent the access token.
        """
        if self.app.api_url:
            return self.app.api_url
        manifest = self.manifest
        said = granted.extra.get(manifest.origin_field) if manifest.origin_field else None
        if said in (None, ""):
            return otherwise or manifest.api_origin
        found = hosts.at_origin(manifest.region_hosts, said)
        if found is None:
            raise ForeignHost(f"the token came with an address that is not {manifest.name}'s")
        there, here = hosts.region_of(manifest.region_hosts, found), hosts.region_of(manifest.login_hosts, token_origin)
        if there and here and there != here:
            raise ForeignHost(f"the token came with an address in another region of {manifest.name}")
        return found

    def oauth(self, *, auth_origin: str | None = None, token_origin: str | None = None) -> OAuth:
        """Our app at the authorisation server a flow or a connection belongs to, with its secret for that data centre."""
        server = token_origin or self.token_origin
        secret = self.app.client_secrets.get(hosts.region_of(self.manifest.login_hosts, server), self.app.client_secret)
        return OAuth(
            self.manifest,
            client_id=self.app.client_id,
            client_secret=secret.get_secret_value(),
            read_token=self.provider.read_token,
            auth_origin=auth_origin or self.auth_origin,
            token_origin=server,
        )

    def oauth_of(self, token_origin: str) -> OAuth:
        """Our app where a stored grant came from; an override, if there is one, is the only address we talk to."""
        return self.oauth(token_origin=self.app.token_url or token_origin)

    @property
    def wanted_scopes(self) -> tuple[str, ...]:
        """All we ask for; what of it is not granted is shown as missing."""
        return (*self.manifest.scopes, *self.manifest.optional_scopes)


class Providers:
    """The CRMs of this installation, read from the environment once."""

    def __init__(self, catalog: Mapping[str, Provider] = CATALOG, registration: Callable[[str], App] = app_of) -> None:
        self._known = {slug: Registered(provider, registration(slug)) for slug, provider in catalog.items()}

    def get(self, slug: str) -> Registered | None:
        return self._known.get(slug)

    def of(self, slug: str) -> Registered:
        """A provider that rows name already. Raises LookupError when this release does not have it."""
        if slug not in self._known:
            raise LookupError(f"this release has no connector called {slug!r}")
        return self._known[slug]

    def name_of(self, slug: str) -> str:
        """What people call it; the slug of one that only another release knows."""
        known = self._known.get(slug)
        return slug if known is None else known.manifest.name

    def all(self) -> list[Registered]:
        """By name."""
        return sorted(self._known.values(), key=lambda one: one.manifest.name)

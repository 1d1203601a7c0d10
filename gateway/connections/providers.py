"""Which CRMs can be connected here: the catalogue, joined with this installation's registration at each vendor."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from connectors.crm.catalog import CATALOG, Provider
from connectors.crm.port import Manifest
from connectors.oauth import OAuth
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
        return bool(self.app.client_id and self.app.client_secret.get_secret_value())

    @property
    def auth_origin(self) -> str:
        return self.app.auth_url or self.manifest.auth_origin

    @property
    def token_origin(self) -> str:
        return self.app.token_url or self.manifest.token_origin

    @property
    def api_origin(self) -> str:
        return self.app.api_url or self.manifest.api_origin

    def sign_in_at(self, host: str) -> str:
        """The origin of a sign-in host that a tenant named (`login_host`), rebuilt from what matched.

        Matched whole against the vendor's pattern (security.md §5: a suffix check lets https://evil.com/.vendor.com
        through, client secret and all). Raises ValueError with a reason for people.
        """
        if not self.manifest.region_hosts:
            raise ValueError(f"{self.manifest.name} has one sign-in address; leave it out")
        if self.app.auth_url or self.app.token_url:
            raise ValueError("this installation signs in at an address its operator has set; leave it out")
        found = re.fullmatch(self.manifest.region_hosts, host, re.ASCII)
        if found is None:
            raise ValueError(f"not a sign-in host of {self.manifest.name}")
        return f"https://{found.group()}"

    def oauth(self, *, auth_origin: str | None = None, token_origin: str | None = None) -> OAuth:
        """Our app at the authorisation server a flow or a connection belongs to; never at one from a callback."""
        return OAuth(
            self.manifest,
            client_id=self.app.client_id,
            client_secret=self.app.client_secret.get_secret_value(),
            read_token=self.provider.read_token,
            auth_origin=auth_origin or self.auth_origin,
            token_origin=token_origin or self.token_origin,
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

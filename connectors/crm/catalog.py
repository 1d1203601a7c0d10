"""Every CRM we know: slug → connector, a line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from connectors.crm.hubspot import wire_errors as hubspot_errors
from connectors.crm.hubspot.client import HubSpot
from connectors.crm.hubspot.manifest import MANIFEST as HUBSPOT
from connectors.crm.port import Left, Manifest, Open
from connectors.errors import ConnectorError
from connectors.request import Reply, Request
from connectors.tokens import ReadToken


@dataclass(frozen=True)
class Provider:
    """A CRM as `gateway` gets to see it.

    open         (http, *, sticks, account=None, region=None, phone_fields=()) → `Crm`. `http` sends (`connectors.http.Http`);
                 `sticks` is what `Crm.probe` said, {} before it ran; `account` what `Crm.who_am_i` said.
    read_token   for `connectors.oauth.OAuth`.
    read_error   for `connectors.http.Http`.
    read_limits  what an answer's headers say is left of the account's limits; none if they say nothing.
    """

    manifest: Manifest
    open: Open
    read_token: ReadToken
    read_error: Callable[[Request, Reply], ConnectorError]
    read_limits: Callable[[Request, Reply], tuple[Left, ...]]


CATALOG: Mapping[str, Provider] = {
    "hubspot": Provider(
        HUBSPOT, HubSpot, hubspot_errors.read_token, hubspot_errors.read_error, hubspot_errors.read_limits
    ),
}

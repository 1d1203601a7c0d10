"""Every CRM we know: slug → connector, a line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from connectors.crm.changes import ReadChanges
from connectors.crm.hubspot import wire_account as hubspot_account
from connectors.crm.hubspot import wire_changes as hubspot_changes
from connectors.crm.hubspot import wire_errors as hubspot_errors
from connectors.crm.hubspot.client import HubSpot
from connectors.crm.hubspot.manifest import MANIFEST as HUBSPOT
from connectors.crm.pipedrive import wire_changes as pipedrive_changes
from connectors.crm.pipedrive import wire_errors as pipedrive_errors
from connectors.crm.pipedrive.client import Pipedrive
from connectors.crm.pipedrive.manifest import MANIFEST as PIPEDRIVE
from connectors.crm.port import Left, Manifest, Open
from connectors.crm.records import Account
from connectors.crm.salesforce import wire_errors as salesforce_errors
from connectors.crm.salesforce.client import Salesforce
from connectors.crm.salesforce.manifest import MANIFEST as SALESFORCE
from connectors.crm.zoho import wire_changes as zoho_changes
from connectors.crm.zoho import wire_errors as zoho_errors
from connectors.crm.zoho.client import Zoho
from connectors.crm.zoho.manifest import MANIFEST as ZOHO
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
    read_changes what a change notification speaks of; None where it sends none.
    name_account what the token's own description (`OAuth.introspect`) adds to what `who_am_i` said; None: nothing.
    """

    manifest: Manifest
    open: Open
    read_token: ReadToken
    read_error: Callable[[Request, Reply], ConnectorError]
    read_limits: Callable[[Request, Reply], tuple[Left, ...]]
    read_changes: ReadChanges | None = None
    name_account: Callable[[Account, Mapping[str, Any]], Account] | None = None


CATALOG: Mapping[str, Provider] = {
    "hubspot": Provider(
        HUBSPOT,
        HubSpot,
        hubspot_errors.read_token,
        hubspot_errors.read_error,
        hubspot_errors.read_limits,
        hubspot_changes.read_changes,
        name_account=hubspot_account.name_account,
    ),
    "pipedrive": Provider(
        PIPEDRIVE,
        Pipedrive,
        pipedrive_errors.read_token,
        pipedrive_errors.read_error,
        pipedrive_errors.read_limits,
        pipedrive_changes.read_changes,
    ),
    "salesforce": Provider(
        SALESFORCE,
        Salesforce,
        salesforce_errors.read_token,
        salesforce_errors.read_error,
        salesforce_errors.read_limits,
    ),
    "zoho": Provider(
        ZOHO,
        Zoho,
        zoho_errors.read_token,
        zoho_errors.read_error,
        zoho_errors.read_limits,
        zoho_changes.read_changes,
    ),
}

"""Where people sign in: only at hosts that are the vendor's."""

import dataclasses

import msgspec
import pytest
from pydantic import SecretStr

from connectors.crm.catalog import CATALOG
from gateway.connections.providers import Providers, Registered
from gateway.settings import App

SALESFORCE_LIKE = r"(?:[a-z0-9-]+\.){1,4}my\.salesforce\.com|test\.salesforce\.com"


def registered(app: App | None = None, *, hosts: str = SALESFORCE_LIKE) -> Registered:
    known = CATALOG["hubspot"]
    manifest = msgspec.structs.replace(known.manifest, login_hosts=hosts)
    return Registered(
        dataclasses.replace(known, manifest=manifest), app or App(client_id="id", client_secret=SecretStr("s"))
    )


@pytest.mark.parametrize(
    "host", ["acme.my.salesforce.com", "acme--dev.sandbox.my.salesforce.com", "test.salesforce.com"]
)
def test_a_host_of_the_vendor_s_is_taken(host: str) -> None:
    assert registered().sign_in_at(host) == f"https://{host}"


@pytest.mark.parametrize(
    "host",
    [
        "evil.com/.my.salesforce.com",
        "https://acme.my.salesforce.com",
        "acme.my.salesforce.com:8443",
        "user@acme.my.salesforce.com",
        "acme.my.salesforce.com.evil.com",
        "acme.my.salesforce.com\n",
        "ACME.my.salesforce.com",
        "xn--.my.salesforce.com/..",
        "my.salesforce.com.",
        "ácme.my.salesforce.com",
        "",
    ],
)
def test_everything_else_is_not(host: str) -> None:
    """The client secret would go there with the code."""
    with pytest.raises(ValueError, match="not a sign-in host"):
        registered().sign_in_at(host)


def test_where_the_vendor_has_one_address_none_may_be_named() -> None:
    with pytest.raises(ValueError, match="one sign-in address"):
        registered(hosts="").sign_in_at("app.hubspot.com")


def test_an_operator_s_override_is_the_only_address() -> None:
    app = App(
        client_id="id",
        client_secret=SecretStr("s"),
        auth_url="http://127.0.0.1:9001",
        token_url="http://127.0.0.1:9001",
        api_url="http://127.0.0.1:9001",
    )
    known = registered(app)
    assert {known.auth_origin, known.token_origin} == {"http://127.0.0.1:9001"}
    with pytest.raises(ValueError, match="operator"):
        known.sign_in_at("acme.my.salesforce.com")


def test_without_an_app_nobody_can_connect() -> None:
    assert not registered(App()).ready
    assert not registered(App(client_id="id")).ready
    assert registered().ready


def test_every_scope_we_ask_for_has_words() -> None:
    """A missing one is shown to people."""
    for known in Providers(registration=lambda _: App()).all():
        assert set(known.wanted_scopes) <= set(known.manifest.scope_words), known.manifest.slug

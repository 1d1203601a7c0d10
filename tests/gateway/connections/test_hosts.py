"""Which hosts are a vendor's: all of a name, and nothing around it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.connections.hosts import as_typed, at_host, at_origin, region_of

LOOSE = r".*\.my\.salesforce\.com"  # as nobody should write it: what it matches must still be a host


@pytest.mark.parametrize("host", ["acme.my.salesforce.com", "acme--dev.sandbox.my.salesforce.com"])
def test_a_host_that_matches_whole_is_rebuilt(host: str) -> None:
    assert at_host(LOOSE, host) == f"https://{host}"
    assert at_origin(LOOSE, f"https://{host}") == f"https://{host}"


@pytest.mark.parametrize(
    "host",
    [
        "evil.com/.my.salesforce.com",
        "evil.com#.my.salesforce.com",
        "evil.com?.my.salesforce.com",
        "evil.com\\.my.salesforce.com",
        "evil.com:443.my.salesforce.com",
        "user@acme.my.salesforce.com",
        "acme.my.salesforce.com:443",
        "acme.my.salesforce.com/",
        "acme.my.salesforce.com.",
        "acme.my.salesforce.com\n",
        "\nacme.my.salesforce.com",
        "acme .my.salesforce.com",
        "acme%2emy.my.salesforce.com",
        "ACME.my.salesforce.com",
        "acme。my.salesforce.com",
        "аcme.my.salesforce.com",
        "-acme.my.salesforce.com",
        "acme..my.salesforce.com",
        ".my.salesforce.com",
        "[::1].my.salesforce.com",
        f"{'a' * 64}.my.salesforce.com",
        f"{'a.' * 130}my.salesforce.com",
        "",
    ],
    ids=ascii,
)
def test_even_a_loose_pattern_lets_nothing_through_that_is_no_host(host: str) -> None:
    assert at_host(LOOSE, host) is None
    assert at_origin(LOOSE, f"https://{host}") is None


@given(st.text(max_size=60))
def test_what_comes_out_is_https_and_what_went_in(text: str) -> None:
    for found in (at_host(r".*", text), at_origin(r".*", f"https://{text}")):
        assert found in (None, f"https://{text}")
        assert found is None or (found.isascii() and found == found.lower() and found.count("/") == 2)


@pytest.mark.parametrize("origin", ["http://a.zoho.eu", "//a.zoho.eu", "a.zoho.eu", "HTTPS://a.zoho.eu", None, 7, []])
def test_an_origin_is_https_and_text(origin: object) -> None:
    assert at_origin(r"a\.zoho\.eu", origin) is None


def test_no_pattern_matches_nothing() -> None:
    assert at_host("", "acme.example.com") is None
    assert at_origin("", "https://acme.example.com") is None


@pytest.mark.parametrize(
    ("pattern", "origin", "region"),
    [
        (r"accounts\.zoho\.(?P<region>com|eu|com\.au)", "https://accounts.zoho.com.au", "com.au"),
        (r"accounts\.zoho\.(?P<region>com|eu)", "http://sandbox:9001", ""),
        (r"accounts\.zoho\.(?:com|eu)", "https://accounts.zoho.eu", ""),
        ("", "https://accounts.zoho.eu", ""),
    ],
)
def test_the_region_is_what_the_pattern_says(pattern: str, origin: str, region: str) -> None:
    assert region_of(pattern, origin) == region


@pytest.mark.parametrize(
    "typed",
    [
        "acme.my.salesforce.com",
        " https://acme.my.salesforce.com/ ",
        "HTTPS://Acme.my.Salesforce.com/lightning/page/home",
    ],
)
def test_people_paste_addresses(typed: str) -> None:
    assert as_typed(typed) == "acme.my.salesforce.com"


def test_what_people_paste_is_still_matched() -> None:
    assert at_host(LOOSE, as_typed("https://evil.com/.my.salesforce.com")) is None
    assert at_host(LOOSE, as_typed("https://x@evil.com/.my.salesforce.com")) is None

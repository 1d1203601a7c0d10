"""The text of API keys: told from other text without a database, never kept."""

import base64
import string
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.db.base import TenantId, new_id
from gateway.tenants import api_keys
from gateway.tenants.api_keys import KnownKey
from gateway.tenants.principal import SCOPES, Principal, UnknownScope, scopes_of


def test_a_new_key_reads_back() -> None:
    key_id = new_id("ak")
    text = api_keys.new_text(key_id)
    read = api_keys.read(text)
    assert read is not None
    assert read.id == key_id
    assert len(base64.urlsafe_b64decode(text[31:74] + "=")) == 32
    assert read.secret_sha256.hex() not in repr(read)


@given(st.text(max_size=200) | st.from_regex(r"\Agwk_[0-9a-z]{26}_[A-Za-z0-9_-]{43}[0-9a-f]{8}\Z"))
def test_other_text_is_no_key(text: str) -> None:
    assert api_keys.read(text) is None


@given(st.integers(0, 81), st.sampled_from(string.ascii_letters + string.digits + "_-é\x00 "))
def test_one_wrong_character_is_noticed_without_a_database(at: int, character: str) -> None:
    text = api_keys.new_text(new_id("ak"))
    mistyped = text[:at] + character + text[at + 1 :]
    assert (api_keys.read(mistyped) is None) == (mistyped != text)


WHO = Principal(TenantId("tn_1"), "ak_1", frozenset(SCOPES), "key", "CH", "Europe/Zurich")


@pytest.mark.parametrize(
    ("networks", "address", "usable"),
    [
        ((), "203.0.113.7", True),
        ((), "", True),
        (("203.0.113.0/24",), "203.0.113.7", True),
        (("203.0.113.0/24",), "203.0.114.7", False),
        (("203.0.113.0/24", "2001:db8::/32"), "2001:db8::1", True),
        (("203.0.113.7/32",), "2001:db8::1", False),
        (("203.0.113.0/24",), "not an address", False),
        (("203.0.113.0/24",), "", False),
    ],
)
def test_a_key_works_from_its_networks_only(networks: tuple[str, ...], address: str, usable: bool) -> None:
    assert KnownKey(WHO, None, networks).usable_from(address) is usable


def test_scopes_come_in_our_order_each_once() -> None:
    assert scopes_of(["admin", " lookup", "admin", ""]) == ("lookup", "admin")


@pytest.mark.parametrize("words", [["lookup", "root"], [], [""], ["Lookup"]])
def test_an_unknown_scope_is_refused_with_the_known_ones(words: list[str]) -> None:
    with pytest.raises(UnknownScope, match="lookup, events, read"):
        scopes_of(words)


def test_the_marker_outlives_every_cache() -> None:
    assert timedelta(seconds=10) < api_keys.REVOKED_FOR

"""Raw events are kept without other people's secrets."""

import json

import pytest

from connectors.voice.scrub import strip_secrets

FOUND_IN_CAPTURES = {
    "phoneNumber": {"number": "+41435550100", "twilioAuthToken": "hush-1", "twilioAccountSid": "AC9"},
    "serverUrlSecret": "hush-2",
    "tools": [{"server": {"url": "https://gateway.example.invalid", "secret": "hush-3"}}],
    "credentials": [{"apiKey": "hush-4"}, {"API_KEY": "hush-5"}, {"clientPassword": {"value": "hush-6"}}],
    "headers": {"Authorization": "Bearer hush-7"},
    "access_token": "hush-8",
}


def test_no_secret_stays_at_any_depth() -> None:
    """A leaked database must not open the tenant's carrier account."""
    kept = strip_secrets(FOUND_IN_CAPTURES)
    assert "hush" not in json.dumps(kept)
    assert kept["phoneNumber"] == {"number": "+41435550100", "twilioAccountSid": "AC9"}
    assert kept["tools"] == [{"server": {"url": "https://gateway.example.invalid"}}]


def test_the_event_itself_is_left_as_it_was() -> None:
    event = {"a": [{"secret": 1, "b": 2}]}
    assert strip_secrets(event) == {"a": [{"b": 2}]}
    assert event == {"a": [{"secret": 1, "b": 2}]}


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "secret", [], {}])
def test_plain_values_pass(value: object) -> None:
    assert strip_secrets(value) == value

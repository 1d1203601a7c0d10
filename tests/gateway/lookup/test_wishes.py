"""What a tenant's document says about lookups."""

from typing import Any

import pytest

from gateway.lookup.wishes import Wishes, read


@pytest.mark.parametrize(
    ("document", "wished"),
    [
        ({}, Wishes()),
        (
            {"own_numbers": ["+41435550100", "043 555 01 01", "not a number", 7, "112"]},
            Wishes(own_numbers=frozenset({"+41435550100", "+41435550101"})),
        ),
        ({"own_numbers": "no list"}, Wishes()),
        ({"profiling_purpose": "to call back who complained"}, Wishes(profiling=True)),
        ({"profiling_purpose": ""}, Wishes()),
        ({"prompt_fields": {"last_call_summary": "always"}}, Wishes(summary_in_prompts=True)),
        ({"prompt_fields": {"last_call_summary": "verified"}}, Wishes()),
        ({"prompt_fields": {"last_call_summary": "never"}}, Wishes()),
        ({"prompt_fields": {"name_when_unsigned": True}}, Wishes(name_when_unsigned=True)),
        ({"prompt_fields": {"name_when_unsigned": "yes"}}, Wishes()),
        ({"prompt_fields": []}, Wishes()),
    ],
)
def test_what_is_missing_or_odd_is_off(document: dict[str, Any], wished: Wishes) -> None:
    assert read(document, region="CH") == wished

"""What the tenant's document says about lookups. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connectors import phone


@dataclass(frozen=True, repr=False)
class Wishes:
    """own_numbers        the tenant's own lines, E.164: a call from one of them is a transfer, not a customer.
    summary_in_prompts    the summary of the last call may stand in prompts (free text, hence off by default).
    profiling             a purpose for mood and scores was stated.
    name_when_unsigned    endpoints protected by their address alone may say salutation and last name.
    """

    own_numbers: frozenset[str] = frozenset()
    summary_in_prompts: bool = False
    profiling: bool = False
    name_when_unsigned: bool = False


def read(document: Mapping[str, Any], *, region: str | None) -> Wishes:
    """From the document's `own_numbers`, `prompt_fields`, `profiling_purpose`. What is missing or odd is off."""
    numbers = document.get("own_numbers")
    own = (phone.read(text, region) for text in numbers if isinstance(text, str)) if isinstance(numbers, list) else ()
    fields = document.get("prompt_fields")
    prompts: Mapping[str, Any] = fields if isinstance(fields, dict) else {}
    return Wishes(
        own_numbers=frozenset(phone.e164(number) for number in own if number is not None),
        summary_in_prompts=prompts.get("last_call_summary")
        == "always",  # "verified" needs a verified caller: none is yet
        profiling=bool(document.get("profiling_purpose")),
        name_when_unsigned=prompts.get("name_when_unsigned") is True,
    )

"""What each sandbox's account holds, as the demo shows it: the same people at every vendor, under whatever names."""

from __future__ import annotations

import pytest

from connectors.sandbox.seed import invent
from connectors.sandbox.serve import PROVIDERS, SHOWN


@pytest.mark.parametrize("provider", sorted(SHOWN))
def test_the_same_clientele_is_there_at_every_vendor(provider: str) -> None:
    """The demo's callers are found whichever CRM it is told on, with their numbers as somebody typed them."""
    shown = SHOWN[provider](PROVIDERS[provider](people=40))
    people = {one.name: one for one in shown.people()}
    there = [one for one in invent(people=40, seed=1).people if f"{one.first_name} {one.last_name}".strip() in people]
    assert len(there) > 20, "the rest are leads, where a vendor keeps those apart"
    for invented in there:
        held = people[f"{invented.first_name} {invented.last_name}".strip()]
        for typed in filter(None, (invented.phone, invented.mobile)):  # some vendors trim what is typed, and cut it
            assert any(one.strip() and typed.strip().startswith(one.strip()) for one in held.numbers)
    known = {one.id for one in shown.people()}
    assert shown.items("call")
    assert shown.items("deal")
    for kind in ("call", "task", "deal"):
        items = shown.items(kind)
        assert all(one.title and one.people and one.people <= known for one in items)
        assert len({one.id for one in items}) == len(items)

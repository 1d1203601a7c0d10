"""Queries out of foreign text: whatever somebody is called, the query asks what we meant, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from connectors.crm.zoho import wire_coql as coql
from connectors.sandbox.zoho.coql import Condition, Pair, Where, parse

NASTY = st.text(alphabet="'\"\\ ()=<>,;%@{}-\n\x00abcorselectwhere12", max_size=24)


def _flat(where: Where) -> list[Condition]:
    return [where] if isinstance(where, Condition) else [*_flat(where.one), *_flat(where.other)]


@given(st.one_of(st.text(max_size=40), NASTY))
def test_a_text_stays_one_value(value: str) -> None:
    """Written as a literal and read back by a parser, it is itself; or it is not written at all."""
    try:
        request = coql.select(["id"], "Contacts", coql.either([coql.equals("Email", value), "id = '1'"]), limit=1)
    except coql.Unspeakable:
        assert any(sign in value for sign in ("\\", "@{")) or not value.isprintable()
        return
    query = parse(request.json["select_query"])
    assert (query.columns, query.module, query.limit) == (("id",), "Contacts", 1)
    assert query.where == Pair("or", Condition("Email", "=", (value,)), Condition("id", "=", ("1",)))


@given(st.lists(NASTY, min_size=1, max_size=60))
def test_many_values_stay_as_many(values: list[str]) -> None:
    try:
        condition = coql.among("Phone", values)
    except coql.Unspeakable:
        assume(False)
    query = parse(coql.select(["id"], "Contacts", condition).json["select_query"])
    assert query.where == Condition("Phone", "in", tuple(values[: coql.MOST_VALUES]))


@pytest.mark.parametrize("name", ["", "Phone or id", "Phone'", "a b", "1a", "a..b", "a.", "id)--", "Ph\u00f6ne", "x;y"])
def test_names_are_words(name: str) -> None:
    with pytest.raises(coql.Unspeakable):
        coql.equals(name, "1")
    with pytest.raises(coql.Unspeakable):
        coql.select([name], "Contacts", "id = '1'")
    with pytest.raises(coql.Unspeakable):
        coql.select(["id"], name, "id = '1'")


@given(st.integers(1, 25), st.sampled_from(["and", "or"]))
def test_conditions_stand_in_pairs(count: int, word: str) -> None:
    """Three in a row without brackets is a syntax error at Zoho."""
    conditions = [coql.equals("Phone", str(number)) for number in range(count)]
    joined = (coql.both if word == "and" else coql.either)(conditions)
    query = parse(coql.select(["id"], "Leads", joined).json["select_query"])
    assert [one.values for one in _flat(query.where)] == [(str(number),) for number in range(count)]


def test_a_link_to_several_modules_is_quoted() -> None:
    query = parse(coql.select(["id"], "Calls", coql.points_at("What_Id", "Leads", "12")).json["select_query"])
    assert query.where == Condition("What_Id->Leads.id", "=", ("12",))


def test_times_have_an_offset_and_no_fractions() -> None:
    at = datetime(2026, 11, 23, 9, 0, 0, 5000, tzinfo=UTC)
    assert coql.time(at) == "'2026-11-23T09:00:00+00:00'"


@pytest.mark.parametrize(("rows", "credits"), [(1, 1), (200, 1), (201, 2), (1000, 2), (2000, 3)])
def test_a_query_costs_by_its_rows(rows: int, credits: int) -> None:
    assert coql.select(["id"], "Contacts", "id = '1'", limit=rows).cost == credits

"""The CRM in memory: unique values, links, merges, and that a failed batch can be undone, whatever came before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sandbox.index import Index
from connectors.sandbox.store import Crm, Taken

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def _crm() -> Crm:
    crm = Crm()
    crm.make_unique("person", "key")
    return crm


def _state(crm: Crm) -> object:
    """All that can be asked of it."""
    return (
        list(crm.all("person")),
        crm.page("person", start=0, limit=100),
        [crm.holder("person", "key", value) for value in "abc"],
        len(crm.changes),
    )


def test_a_value_is_free_again_when_its_holder_lets_go() -> None:
    crm = _crm()
    first = crm.create("person", {"key": "A"}, NOW)
    with pytest.raises(Taken) as taken:
        crm.create("person", {"key": " a "}, NOW)
    assert taken.value.holder == first.id
    first = crm.update(first, {"key": "b"}, NOW)
    second = crm.create("person", {"key": "a"}, NOW)
    crm.archive(first, NOW)
    assert crm.update(second, {"key": "b"}, NOW).properties == {"key": "b"}
    assert crm.holder("person", "key", "a") is None


def test_a_merge_moves_links_and_names_and_resolves_for_ever() -> None:
    crm = _crm()
    one, two, three = (crm.create("person", {"key": key}, NOW) for key in "abc")
    deal = crm.create("deal", {}, NOW)
    crm.link(deal, two, forward=3, backward=4, now=NOW)
    crm.link(one, two, forward=449, backward=449, now=NOW)
    one = crm.merge(one, two, NOW)
    crm.also_known(one, "key", "b")
    three = crm.merge(three, one, NOW)
    assert [crm.get("person", entry.id) for entry in (one, two, three)] == [three] * 3
    assert dict(crm.linked("deal", deal.id, "person")) == {three.id: {3: NOW}}
    assert dict(crm.linked("person", three.id, "deal")) == {deal.id: {4: NOW}}
    assert not crm.linked("person", three.id, "person")
    assert crm.holder("person", "key", "b") is None  # its second name went with it
    assert [entry.id for entry in crm.page("person", start=0, limit=9, archived=True)] == []


def _steps() -> st.SearchStrategy[list[tuple[str, str]]]:
    return st.lists(st.tuples(st.sampled_from(["create", "update"]), st.sampled_from(["a", "b", "c", ""])), max_size=8)


def _take(crm: Crm, steps: list[tuple[str, str]]) -> None:
    for what, key in steps:
        known = list(crm.all("person"))
        try:
            if what == "create" or not known:
                crm.create("person", {"key": key, "name": key}, NOW)
            else:
                crm.update(known[-1], {"key": key}, NOW + timedelta(seconds=1))
        except Taken:
            continue


@given(before=_steps(), undone=_steps())
def test_what_is_undone_was_never_there(before: list[tuple[str, str]], undone: list[tuple[str, str]]) -> None:
    crm = _crm()
    _take(crm, before)
    mark, state = len(crm.changes), _state(crm)
    _take(crm, undone)
    crm.revert(mark)
    assert _state(crm) == state


@given(steps=_steps())
def test_an_index_that_caught_up_knows_what_the_store_knows(steps: list[tuple[str, str]]) -> None:
    crm = _crm()
    index = Index(crm, lag=timedelta(seconds=2))
    _take(crm, steps[:3])
    index.advance(NOW + timedelta(hours=1))
    list(index.holding("person", "key", "a"))  # from here on it keeps this property's values by hand
    _take(crm, steps[3:])
    index.advance(NOW + timedelta(hours=1))
    assert sorted(index.all("person"), key=lambda entry: entry.id) == list(crm.all("person"))
    for key in "abc":
        expected = [entry for entry in crm.all("person") if entry.properties.get("key") == key]
        assert list(index.holding("person", "key", key)) == expected

"""Literals, expressions and texts with expressions in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.facts import MISSING
from rules.values import Literal, Rendered, Template, read, render, spoken
from tests.rules.builders import facts

KNOWN = facts(
    {"score": 85.0, "products": ("Panel", "Pump"), "data": {"budget": 5000}}, {"name": "Jean Dupont"}
).settle()


def rendered(raw: object) -> Rendered:
    value = read(raw)
    assert not isinstance(value, tuple), value
    return render(value, KNOWN)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("High", "High"),
        (3, 3),
        (True, True),
        ("price: $5, {a}", "price: $5, {a}"),
        ({"cel": "call.data.budget * 2"}, 10_000),
        ({"cel": "call.score > 80 ? 'high' : 'low'"}, "high"),
        ("Call of ${caller.name}", "Call of Jean Dupont"),
        ("${call.products} / ${call.score}", "Panel, Pump / 85"),
        ("$${caller.name} ${caller.name}", "${caller.name} Jean Dupont"),
        ("${has(caller.tier) ? caller.tier : 'no tier'}", "no tier"),
        ("${'}'}${ {'a': 'b'}['a'] }", "}b"),
        ("${'${'}", "${"),
    ],
)
def test_three_forms_of_a_value(raw: object, value: object) -> None:
    assert rendered(raw) == Rendered(value)


def test_a_missing_fact_leaves_its_place_empty() -> None:
    """A note with a gap is of use; a call without a note is not."""
    assert rendered("Tier: ${caller.tier}!") == Rendered("Tier: !", ("caller.tier is not known",))
    assert rendered({"cel": "caller.tier"}) == Rendered(MISSING, ("caller.tier is not known",))


def test_an_error_in_a_text_is_noted() -> None:
    assert rendered("${call.products[7]}") == Rendered("", ("it looks past the end of a list",))


@pytest.mark.parametrize(
    ("raw", "part_of_reason"),
    [
        (None, "This takes"),
        ([1], "This takes"),
        ({"cel": "1", "jinja": "2"}, "This takes"),
        ({"cel": 3}, "This takes"),
        ("${caller.name", "closed by }"),
        ("${'}", "closed by }"),
        ("${caller.nam}", 'mean "caller.name"'),
        ("${}", "no condition"),
        ("${caller.name}" * 21, "at most 20"),
        ("${caller.name}" + "x" * 4_000, "at most 4000"),
        ({"cel": "(" * 13 + "1" + ")" * 13}, "12 deep"),
        ("${" + "(" * 13 + "1" + ")" * 13 + "}", "12 deep"),
    ],
)
def test_what_cannot_be_rendered_is_refused_when_saved(raw: object, part_of_reason: str) -> None:
    """Expressions in texts are held to the bounds of a condition; otherwise a text would be the way around them."""
    found = read(raw)
    assert isinstance(found, tuple)
    assert part_of_reason in found[0].text


def test_words_out_of_the_call_are_known_by_what_is_read() -> None:
    value = read("${caller.name}: ${call.summary} ${call.data.room} ${call.score}")
    assert isinstance(value, Template)
    assert spoken(value) == ("call.summary", "call.data.room")


@given(
    st.text(max_size=200) | st.lists(st.sampled_from(["$", "{", "}", "'", "call.score", "x", "$$", "${"])).map("".join)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    value = read(text)
    if isinstance(value, tuple):
        assert value[0].text
    elif isinstance(value, Literal):
        assert value.value == text
    else:
        assert isinstance(render(value, KNOWN).value, str)

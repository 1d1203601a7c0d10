"""Values inside queries: whatever a caller is called, a query stays the query we meant."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import phone
from connectors.crm.salesforce import wire
from connectors.crm.salesforce import wire_soql as soql
from connectors.errors import Rejected, UnexpectedReply
from connectors.json_text import clean
from connectors.sandbox.salesforce import searching
from connectors.sandbox.salesforce import soql as theirs

NASTY = st.text(alphabet=st.sampled_from(list("'\\\"%_(){}[]@ \n\r\t\b\f;-+*?&|!~^:OR AND\x00é𝄞\ud83d")), max_size=30)


@given(st.one_of(st.text(max_size=40), NASTY))
def test_a_text_comes_out_of_a_query_as_it_went_in(given_text: str) -> None:
    """One quote too few, and a caller named ' OR Name LIKE '% reads the whole CRM."""
    parsed = theirs.parse(f"SELECT Id FROM Contact WHERE Email={soql.text(given_text)}")
    assert parsed.where == theirs.Compare("Email", "=", clean(given_text))


@given(st.lists(st.one_of(st.text(max_size=20), NASTY), min_size=1, max_size=4))
def test_a_list_of_texts_stays_a_list(several: list[str]) -> None:
    parsed = theirs.parse(f"SELECT Id FROM Contact WHERE Id IN {soql.texts(several)}")
    assert parsed.where == theirs.Compare("Id", "IN", tuple(clean(one) for one in several))


@given(st.one_of(st.text(max_size=40), NASTY, st.from_regex(r"[A-Za-z_.]{1,30}", fullmatch=True)))
def test_what_cannot_be_quoted_must_be_a_name(given_name: str) -> None:
    try:
        name = soql.name(given_name)
    except Rejected:
        return
    assert re.fullmatch(r"[A-Za-z]\w*(\.[A-Za-z]\w*)*", name, re.ASCII)
    assert theirs.parse(soql.select((name,), "Contact")).fields == (name,)


@pytest.mark.parametrize(
    "name", ["Id FROM User", "Id,Name", "", "1Id", "a.b.", "Name'--", "count()", "Ünamed", "a" * 90]
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(Rejected):
        soql.select((name,), "Contact")


NUMBERS = st.sampled_from(["CH", "FR", "DE", "IT", "US", "GB", "AT", "BR", "JP", "IN"]).map(phonenumbers.example_number)


@given(NUMBERS)
def test_a_search_for_a_number_holds_digits_only(number: phonenumbers.PhoneNumber) -> None:
    """The words of a search are a language of their own; what is not in it cannot be said in it."""
    text = soql.find_number(number, ["Contact(Id LIMIT 5)", "Lead(Id WHERE IsConverted=false LIMIT 5)"], limit=10)
    words = text[text.index("{") + 1 : text.index("}")]
    assert all(re.fullmatch(r"\"[0-9]+(?: [0-9]+)*\"", term) for term in words.split(" OR "))
    read = searching._FIND.fullmatch(text)
    assert read is not None
    assert [query.of for query in searching._returning(read["returning"])] == ["Contact", "Lead"]
    assert len(text) < 4_000


@pytest.mark.parametrize(
    "written",
    [
        "+41 44 668 18 00", "044 668 18 00", "0041446681800", "+41446681800", "041 44 668 18 00", "446681800",
        "+41 (0)44 668 18 00", "044/668 18 00", "044.668.18.00", "Tel. 044 668 18 00 (nur vormittags)",
        "+41 44 668 18 00 ext. 12", "044 668 18 00 / 079 555 01 23",
    ],
)  # fmt: skip
def test_every_common_spelling_is_asked_for(written: str) -> None:
    number = phone.read("+41446681800")
    assert number is not None
    text = soql.find_number(number, ["Contact(Id)"], limit=5)
    terms = re.findall(r'"([0-9 ]+)"', text)
    assert any(searching._number_matches(written, term) for term in terms)


def test_a_moment_is_asked_for_in_whole_seconds() -> None:
    at = datetime(2026, 11, 23, 10, 0, 0, 999_000, tzinfo=UTC)
    assert soql.moment(at) == "2026-11-23T10:00:00.000Z"
    parsed = theirs.parse(f"SELECT Id FROM Contact WHERE SystemModstamp>={soql.moment(at)}")
    assert parsed.where == theirs.Compare("SystemModstamp", ">=", at - timedelta(microseconds=999_000))


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/services/data/v66.0/query/01gabcdefghijklmno-2000",
        "/services/data/v66.0/query/../../../oauth2/token",
        "/services/data/v66.0/sobjects/User",
        "/services/data/v66.0/query/01g?q=SELECT",
        "",
    ],
)
def test_an_address_inside_an_answer_is_not_dialled(url: str) -> None:
    with pytest.raises(UnexpectedReply):
        wire.query_more(url)


def test_a_next_page_keeps_its_locator_and_our_version() -> None:
    asked = wire.query_more("/services/data/v59.0/query/01gRO0000016PIAYA2-500")
    assert asked.path == "/services/data/v66.0/query/01gRO0000016PIAYA2-500"

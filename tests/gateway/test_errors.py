"""What clients are told: fields and reasons, and nothing of what they sent."""

from datetime import date, timedelta
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from gateway import errors

SENT = "Zx9Quoted4447"


class Colour(Enum):
    RED = "red"


class Cat(BaseModel):
    do: Literal["cat"]


class Dog(BaseModel):
    do: Literal["dog"]


class Body(BaseModel):
    """A field of every kind whose message might quote its input."""

    model_config = ConfigDict(extra="forbid")

    number: int = 0
    text: Annotated[str, Field(pattern="^a+$", max_length=3)] = "a"
    when: date = date(2026, 1, 1)
    wait: timedelta = timedelta(0)
    id: UUID = UUID(int=0)
    url: AnyUrl = AnyUrl("https://example.com")
    one_of: Literal["x", "y"] = "x"
    colour: Colour = Colour.RED
    pet: Annotated[Cat | Dog, Field(discriminator="do")] = Cat(do="cat")
    things: list[int] = []
    table: dict[int, int] = {}


FIELDS = [name for name in Body.model_fields if name != "pet"]


@pytest.mark.parametrize(
    ("value", "field"),
    [({name: SENT}, f"body.{name}") for name in FIELDS] + [({"pet": {"do": SENT}}, "body.pet")],
    ids=[*FIELDS, "pet"],
)
def test_a_wrong_value_is_named_and_not_quoted(value: dict[str, Any], field: str) -> None:
    """A number in an error text ends in somebody's log."""
    problem = _problem(value)
    assert [error.field for error in problem.errors] == [field]
    assert SENT.lower() not in str(problem.body()).lower()


def test_an_unknown_field_is_named() -> None:
    assert _problem({"numbre": 1}).errors == (errors.FieldError("body.numbre", "is not known here"),)


def test_every_wrong_field_is_named_at_once() -> None:
    assert {error.field for error in _problem({"number": "x", "things": ["x", 1, "y"]}).errors} == {
        "body.number",
        "body.things.0",
        "body.things.2",
    }


@given(st.lists(st.text(max_size=300) | st.integers(), max_size=6))
def test_a_field_path_is_short_and_plain(location: list[str | int]) -> None:
    path = errors.field_path(location)
    assert path
    assert path.isprintable()
    assert len(path) <= 65 * max(1, len(location))


@given(st.recursive(st.none() | st.booleans() | st.text() | st.floats(), lambda inner: st.lists(inner, max_size=3)))
def test_no_value_breaks_the_telling(value: Any) -> None:
    problem = _problem({**dict.fromkeys(Body.model_fields, value), "unknown": value})
    assert problem.status == 422
    assert errors.FieldError("body.unknown", "is not known here") in problem.errors


def test_json_that_cannot_be_read_is_a_400() -> None:
    with pytest.raises(ValidationError) as wrong:
        TypeAdapter(Body).validate_json("{")
    assert errors.from_validation(_located(wrong.value)).status == 400


@pytest.mark.parametrize(("wait", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.001, "2"), (59.5, "60")], ids=str)
def test_retry_after_is_whole_seconds_and_never_too_early(wait: float, header: str) -> None:
    assert errors.TooMany(timedelta(seconds=wait)).headers["Retry-After"] == header


def test_each_problem_has_a_name_of_its_own() -> None:
    family = errors.family()
    assert len({kind.slug for kind in family}) == len(family)
    assert {kind.status for kind in family} >= {400, 401, 403, 404, 405, 409, 413, 415, 421, 422, 429, 500, 501, 503}


def test_documented_answers_share_a_status() -> None:
    told = errors.documented(errors.Unauthenticated, errors.BadSignature, errors.NotFound)
    assert set(told) == {401, 404}
    assert set(told[401]["content"][errors.MEDIA_TYPE]["examples"]) == {"unauthenticated", "bad-signature"}


def _problem(value: dict[str, Any]) -> errors.Problem:
    with pytest.raises(ValidationError) as wrong:
        Body.model_validate(value)
    return errors.from_validation(_located(wrong.value))


def _located(wrong: ValidationError) -> list[Any]:
    """As FastAPI hands them on: with where the field was."""
    return [{**error, "loc": ("body", *error["loc"])} for error in wrong.errors()]

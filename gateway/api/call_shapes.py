"""Our own contract for calls: what `POST /v1/calls` takes and `GET` answers. Pure (design.md §5)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool
from pydantic.functional_validators import model_validator

from connectors import phone
from connectors.voice.events import CallNews
from connectors.voice.reading import https_url

_EXAMPLE: dict[str, Any] = {
    "call_id": "c-123",
    "direction": "inbound",
    "from": "+41446681800",
    "to": "+41435550100",
    "started_at": "2026-11-21T09:30:00Z",
    "ended_at": "2026-11-21T09:31:35Z",
    "end_reason": "caller_hung_up",
    "summary": "Wants to be called back on Monday about the offer.",
    "transcript": [{"role": "caller", "text": "Can somebody call me back on Monday?", "at_s": 3.2}],
    "lookup_id": "lk_01kax6zv3c9f4m2t8q5r7w1y0d",
    "complete": True,
    "analysis": {
        "type": "inquiry",
        "sentiment": "neutral",
        "intents": ["purchase"],
        "products": ["X"],
        "score": 85,
        "promises": [{"what": "call back", "due": "2026-11-23"}],
        "data": {"budget": 1200},
    },
}


def _text_only(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("must be a time as text: RFC 3339")  # noqa: TRY004 - pydantic takes ValueError
    return value


def _utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


def _https(value: str) -> str:
    if https_url(value) is None:
        raise ValueError("must be an https address")
    return value


Time = Annotated[AwareDatetime, BeforeValidator(_text_only), AfterValidator(_utc)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Short = Annotated[str, Field(max_length=200)]
Words = Annotated[str, Field(max_length=20_000)]
Phone = Annotated[str, Field(max_length=phone.LONGEST_TEXT)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class NewTurn(_Shape):
    role: Literal["caller", "agent", "tool"]
    text: Words
    at_s: Number | None = Field(default=None, ge=0, description="Seconds since the call began.")


class NewPromise(_Shape):
    what: Words
    due: Short | None = Field(default=None, description="A date or time, or words.")


class NewAnalysis(_Shape):
    type: Short | None = None
    sentiment: Short | None = None
    intents: tuple[Short, ...] = Field(default=(), max_length=100)
    products: tuple[Short, ...] = Field(default=(), max_length=100)
    questions: tuple[Words, ...] = Field(default=(), max_length=100)
    promises: tuple[NewPromise, ...] = Field(default=(), max_length=100)
    score: Number | None = None
    success: StrictBool | None = None
    data: dict[str, Any] = Field(default={}, description="Your own fields, for rules and mappings to look at.")


class NewCall(_Shape):
    """What happened in a call. All but `call_id`, `direction` and the numbers may come later, with the same `call_id`."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]}, populate_by_name=False)

    call_id: Annotated[str, Field(pattern=r"^[!-~]{1,200}$", description="Yours: printable ASCII without spaces.")]
    direction: Literal["inbound", "outbound", "web"]
    from_: Phone | None = Field(
        default=None, alias="from", description="In any spelling. null or a word like `anonymous`: withheld."
    )
    to: Phone | None = None
    started_at: Time | None = None
    ended_at: Time | None = None
    duration_s: Number | None = Field(default=None, ge=0, description="The end minus the start wins.")
    end_reason: Short | None = None
    outcome: Literal["completed", "no_answer", "busy", "failed", "voicemail", "cancelled"] | None = None
    transferred_to: Phone | None = None
    summary: Words | None = None
    transcript: tuple[NewTurn, ...] = Field(default=(), max_length=10_000)
    recording_url: Annotated[str, Field(max_length=2048), AfterValidator(_https)] | None = Field(
        default=None, description="Kept only if you have switched recording links on."
    )
    lookup_id: Annotated[str, Field(pattern=r"^lk_[0-9A-Za-z_-]{1,36}$")] | None = Field(
        default=None, description="Of the lookup while it rang."
    )
    complete: StrictBool = Field(
        default=False, description="Nothing more will come: decide now. Else it is decided after a grace time."
    )
    analysis: NewAnalysis | None = None

    @model_validator(mode="after")
    def _somebody_was_called(self) -> NewCall:
        if self.direction != "web" and not {"from_", "to"} & self.model_fields_set:
            raise ValueError("from or to must be there")
        return self


class CallTaken(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"id": "ca_01kax6zv3c9f4m2t8q5r7w1y0d", "call_id": "c-123", "duplicate": False}]
        }
    )

    id: str = Field(description="Our own id; every route takes either.")
    call_id: str
    duplicate: bool = Field(description="This event changed nothing that was stored.")


class DecidedRule(BaseModel):
    id: str
    name: str
    matched: bool
    outcome: Literal["fired", "declined", "undecided"]
    because: str


class CallDecision(BaseModel):
    rules: list[DecidedRule]


class RecordLeft(BaseModel):
    crm: str
    kind: str | None
    id: str
    url: str | None


class TriedOnce(BaseModel):
    at: datetime
    outcome: str
    status: int | None
    took_ms: int
    reason: str | None


class CallDelivery(BaseModel):
    id: str
    rule: str
    action: str
    state: Literal["waiting", "pending", "in_flight", "delivered", "uncertain", "held", "dead", "cancelled"]
    record: RecordLeft | None
    reason: str | None
    attempts: list[TriedOnce]


CallState = Literal["received", "planned", "done", "attention"]


class CallListed(BaseModel):
    """A call without the people in it."""

    id: str
    call_id: str
    source: str = Field(description="The voice endpoint it came from, or `api`.")
    state: CallState = Field(description="`attention`: a delivery needs somebody to look at it.")
    direction: str | None
    started_at: datetime | None
    received_at: datetime
    updated_at: datetime
    ended: bool
    complete: bool = Field(description="The platform's last event came.")


class CallsListed(BaseModel):
    items: list[CallListed]
    next: str | None


class CallShown(CallListed):
    """What we know of a call, what was decided and why, and each delivery with its attempts."""

    known: dict[str, Any] = Field(description="What its events say together, in the words of POST /v1/calls.")
    decision: CallDecision
    deliveries: list[CallDelivery]


def known_of(news: CallNews) -> dict[str, Any]:
    """Merged news in the words of `NewCall`, without what nobody said."""
    said: dict[str, Any] = msgspec.to_builtins(news)
    for ours, theirs in (("from_number", "from"), ("to_number", "to")):
        said[theirs] = said.pop(ours)
    for inner in ("standings", "counted_s"):
        said.pop(inner, None)
    analysis = said.pop("analysis") or {}
    shown = {name: value for name, value in said.items() if value not in (None, "", [], ())}
    told = {name: value for name, value in analysis.items() if value not in (None, "", [], (), {})}
    return {**shown, "analysis": told} if told else shown

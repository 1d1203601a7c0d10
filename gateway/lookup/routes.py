"""The documented twin of `endpoint.py`: the same question, the same `find`, the same answer. Served where it is absent."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.errors import (
    BadRequest,
    Forbidden,
    Invalid,
    TooLarge,
    TooMany,
    Unauthenticated,
    WrongMediaType,
    documented,
)
from gateway.lookup.endpoint import PATH, SCOPE, read_question
from gateway.lookup.find import Finder
from gateway.tenants.access import Principal, needs

router = APIRouter(tags=["lookup"])


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LookupQuestion(_Shape):
    """The number is in the body so that it stays out of access logs."""

    phone: str = Field(
        description="The caller, in any spelling: E.164, national, SIP or tel URI, or what stands for a hidden number."
    )
    region: str | None = Field(
        default=None, description="ISO 3166: how a national spelling is read. Default: the tenant's region."
    )


class CompanyAnswer(_Shape):
    id: str
    name: str


class OwnerAnswer(_Shape):
    id: str
    name: str
    email: str | None


class DealAnswer(_Shape):
    id: str
    name: str
    stage: str
    amount: float | None
    currency: str | None


class TicketAnswer(_Shape):
    id: str
    subject: str
    stage: str
    priority: str | None


class ActivityAnswer(_Shape):
    kind: str
    at: datetime
    subject: str


class LastCallAnswer(_Shape):
    """Our own last call with this number."""

    at: datetime
    summary: str | None
    sentiment: str | None = Field(description="Only where the tenant stated a purpose for profiling.")


class FactOrigin(_Shape):
    crm: str
    connection_id: str
    id: str


class ContactAnswer(_Shape):
    crm: str
    connection_id: str
    kind: Literal["contact", "lead", "company"]
    id: str
    url: str | None
    name: str
    first_name: str | None
    last_name: str | None
    salutation: str | None
    email: str | None
    company: CompanyAnswer | None
    tier: str | None
    owner: OwnerAnswer | None
    open_deals: list[DealAnswer]
    open_tickets: list[TicketAnswer]
    recent: list[ActivityAnswer] = Field(description="Newest first.")
    last_call: LastCallAnswer | None
    from_: dict[str, FactOrigin] | None = Field(
        default=None,
        alias="from",
        description="Facts that another record of the same person gave; only where there are any.",
    )


class MatchAnswer(_Shape):
    crm: str
    kind: Literal["contact", "lead", "company"]
    id: str
    name: str
    match: Literal["exact", "national"]
    reason: str | None = Field(description="Which field holds the number.")


class LookupAnswer(_Shape):
    """Who is calling, as far as it is known in time."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "lookup_id": "lk_01kax6zv3c9f4m2t8q5r7w1y0d",
                    "status": "known",
                    "phone": "+41446681800",
                    "contact": {
                        "crm": "hubspot",
                        "connection_id": "cn_01kax6b1m8s4e7h2j9k3n5p0qr",
                        "kind": "contact",
                        "id": "286101",
                        "url": "https://app.hubspot.com/contacts/62515/record/0-1/286101",
                        "name": "Jean Dupont",
                        "first_name": "Jean",
                        "last_name": "Dupont",
                        "salutation": "Monsieur",
                        "email": "jean.dupont@example.com",
                        "company": {"id": "7101", "name": "Exemple SA"},
                        "tier": "customer",
                        "owner": {"id": "31", "name": "Anna Muster", "email": "anna.muster@example.com"},
                        "open_deals": [
                            {"id": "905", "name": "Renewal", "stage": "Offer sent", "amount": 1200, "currency": "CHF"}
                        ],
                        "open_tickets": [],
                        "recent": [{"kind": "call", "at": "2026-11-20T09:12:00Z", "subject": "Asked for an offer"}],
                        "last_call": {
                            "at": "2026-11-20T09:12:00Z",
                            "summary": "Asked for an offer",
                            "sentiment": "neutral",
                        },
                    },
                    "matches": [
                        {
                            "crm": "hubspot",
                            "kind": "contact",
                            "id": "286101",
                            "name": "Jean Dupont",
                            "match": "exact",
                            "reason": "mobile",
                        }
                    ],
                    "variables": {"customer_known": "true", "customer_name": "Jean Dupont"},
                    "caller_verified": False,
                    "source": "cache",
                    "age_s": 12.4,
                    "complete": True,
                    "took_ms": 1.1,
                }
            ]
        },
    )

    lookup_id: str
    status: Literal["known", "several", "unknown", "withheld", "pending"] = Field(
        description="`several`: more than one person has this number; ask. `pending`: the CRM is slow; ask again."
    )
    phone: str | None = Field(description="E.164; null when the text is no number.")
    contact: ContactAnswer | None
    matches: list[MatchAnswer] = Field(description="Every record that holds the number, best first.")
    variables: dict[str, str] = Field(description="Flat strings for prompt templates; always the same names.")
    caller_verified: bool = Field(description="A number identifies, it does not authenticate.")
    source: Literal["cache", "directory", "crm", "none"]
    age_s: float = Field(description="How long ago the CRM said so, in seconds.")
    complete: bool = Field(description="Whether everybody who was to be asked has answered in time.")
    took_ms: float


@router.post(
    PATH,
    summary="Who is calling?",
    response_model=None,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": LookupQuestion.model_json_schema(),
                    "examples": {
                        "international": {"value": {"phone": "+41 44 668 18 00"}},
                        "national": {"value": {"phone": "044 668 18 00", "region": "CH"}},
                        "sip": {"value": {"phone": "sip:+41446681800@203.0.113.7;user=phone"}},
                    },
                }
            },
        }
    },
    responses={
        200: {"model": LookupAnswer, "description": "Always, for a good key and a readable question."},
        **documented(BadRequest, Unauthenticated, Forbidden, TooLarge, WrongMediaType, Invalid, TooMany),
    },
)
async def look_up(request: Request, who: Annotated[Principal, needs(SCOPE)]) -> Response:
    """Answered within 150 ms whatever the CRM does. Asking again changes nothing, and is how `pending` gets warm."""
    question = read_question(request.headers.raw, await request.body())
    finder: Finder = request.app.state.parts.finder
    found = await finder.find(
        who.tenant_id,
        question.phone,
        region=question.region or who.region,
        asked_by=who.id,
        assurance="key",
    )
    return Response(found.to_json(), media_type="application/json")

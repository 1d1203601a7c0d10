"""What came of a call, as facts for the rules. Pure: the merged news, who the caller is at the CRM, and the tenant's zone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Literal, cast
from zoneinfo import ZoneInfo

from connectors.voice.events import Analysis, CallNews
from rules.facts import CallerFacts, CallFacts, Facts, LocalFacts, Promise

# The same mood in the languages our tenants' agents speak. A tenant's own table of synonyms comes on top of this one.
_MOODS: Mapping[str, str] = {
    **dict.fromkeys(("positive", "positif", "positiv", "positivo", "happy", "satisfied"), "positive"),
    **dict.fromkeys(("neutral", "neutre", "neutro", "mixed"), "neutral"),
    **dict.fromkeys(("negative", "négatif", "negatif", "negativ", "negativo", "angry", "unhappy"), "negative"),
}
_KINDS: Mapping[str, str] = {
    **dict.fromkeys(("réclamation", "reclamation", "plainte", "beschwerde", "reklamation", "reclamo"), "complaint"),
}
_DIRECTIONS = ("inbound", "outbound", "web")
PROFILING = ("call.sentiment", "call.score")  # worked out about a person: off until the tenant states a purpose


def facts_of(
    news: CallNews,
    *,
    customer: str | None,
    contact: Mapping[str, Any] | None,
    caller_settled: bool,
    previous_calls: int,
    complete: bool,
    profiling: bool,
    zone: str,
    now: datetime,
) -> Facts:
    """The facts of one call.

    customer        E.164 of the person on the line, if there is a number that can be called back.
    contact         the `contact` of a lookup's answer (design.md §5); None when the CRMs know nobody.
    caller_settled  the CRMs have answered: what is missing about the caller will not come.
    complete        the platform's last event came: what is missing about the call will not come.
    profiling       the tenant has stated a purpose for moods and scores; without one they are absent.
    """
    analysis = news.analysis or Analysis()
    settled = {*(("call",) if complete else ()), *(("caller",) if caller_settled else ())}
    if not profiling:
        settled |= set(PROFILING)
    ended = news.ended_at or news.started_at or now
    return Facts(
        call=_call(news, analysis, profiling=profiling, complete=complete),
        caller=_caller(customer, contact, caller_settled, previous_calls),
        local=LocalFacts.at(ended.astimezone(ZoneInfo(zone))),
        settled=frozenset(settled),
    )


def _call(news: CallNews, analysis: Analysis, *, profiling: bool, complete: bool) -> CallFacts:
    direction = news.direction if news.direction in _DIRECTIONS else "inbound"
    outcome = news.outcome
    return CallFacts(
        direction=cast(Literal["inbound", "outbound", "web"], direction),
        started_at=news.started_at,
        ended_at=news.ended_at,
        duration_s=seconds(news),
        end_reason=news.end_reason,
        answered=None if outcome is None else outcome in ("completed", "voicemail"),
        voicemail=None if outcome is None else outcome == "voicemail",
        transferred=True if news.transferred_to else (False if complete else None),
        has_transcript=True if news.transcript or news.transcript_text else (False if complete else None),
        summary=news.summary,
        type=_word(analysis.type, _KINDS),
        sentiment=_word(analysis.sentiment, _MOODS) if profiling else None,
        intents=tuple(word.lower() for word in analysis.intents) or _none(complete),
        products=analysis.products or _none(complete),
        questions=analysis.questions or _none(complete),
        promises=tuple(Promise(one.what, _due(one.due)) for one in analysis.promises) or _none(complete),
        score=analysis.score if profiling else None,
        success=analysis.success,
        data=analysis.data,
    )


def _caller(customer: str | None, contact: Mapping[str, Any] | None, settled: bool, previous_calls: int) -> CallerFacts:
    if contact is None:
        known = False if settled else None
        return CallerFacts(
            number_known=customer is not None, number=customer, known=known, previous_calls=previous_calls
        )
    owner = contact.get("owner") or {}
    company = contact.get("company") or {}
    return CallerFacts(
        number_known=customer is not None,
        number=customer,
        known=True,
        kind=contact.get("kind"),
        name=contact.get("name") or None,
        first_name=contact.get("first_name"),
        last_name=contact.get("last_name"),
        email=contact.get("email"),
        company=company.get("name"),
        tier=contact.get("tier"),
        owner_id=owner.get("id"),
        owner_email=owner.get("email"),
        open_deals=len(contact.get("open_deals") or ()),
        open_tickets=len(contact.get("open_tickets") or ()),
        previous_calls=previous_calls,
    )


def seconds(news: CallNews) -> float | None:
    """How long it lasted; end minus start wins over what the platform counted."""
    if news.started_at and news.ended_at and news.ended_at >= news.started_at:
        return (news.ended_at - news.started_at).total_seconds()
    return news.duration_s


def _none(complete: bool) -> tuple[()] | None:
    """Known to be none, once nothing more can come."""
    return () if complete else None


def _word(text: str | None, synonyms: Mapping[str, str]) -> str | None:
    if text is None:
        return None
    word = text.strip().lower()
    return synonyms.get(word, word) or None


def _due(text: str | None) -> date | datetime | None:
    """A day or a time with its zone; prose is left to the rule's own default."""
    if text is None:
        return None
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.date()

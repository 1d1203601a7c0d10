"""What the pages say, in one place. English; another language is another module with the same names."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from gateway.connections.authorize import Outcome, Refusal
from gateway.connections.health import State
from gateway.connections.throttle import Standing
from gateway.errors import Invalid

LANGUAGE = "en"


@dataclass(frozen=True)
class Result:
    """One result page. `good`: shown as a success. `{crm}`, `{tenant}` and `{account}` are filled in by the template.

    again  whether the next step is to start over.
    """

    title: str
    text: str
    next: str
    good: bool = False
    again: bool = True


RESULTS: dict[Outcome, Result] = {
    Outcome.CONNECTED: Result(
        "{crm} is connected",
        "From now on calls of {tenant} can be written to {account}, and callers are looked up there.",
        "There is nothing more to do here.",
        good=True,
        again=False,
    ),
    Outcome.RECONNECTED: Result(
        "{crm} is connected again",
        "What waited for {account} is being delivered now. Nothing was lost.",
        "There is nothing more to do here.",
        good=True,
        again=False,
    ),
    Outcome.DENIED: Result(
        "Access was not granted",
        "You declined at {crm}, so nothing was connected and nothing was changed.",
        "If that was a mistake, start again and accept what {crm} asks.",
    ),
    Outcome.WRONG_ACCOUNT: Result(
        "That was another account",
        "You signed in to {account}, but this link is for another {crm} account of {tenant}. Nothing was connected, "
        "and the access you just gave was handed back.",
        "Sign out of {crm}, or switch accounts there, then start again.",
    ),
    Outcome.ALREADY_CONNECTED: Result(
        "This account is connected already",
        "{tenant} is connected to {account} and that connection works. It was left as it is.",
        "To connect a different account, switch accounts at {crm} first, then start again.",
    ),
    Outcome.USED_ELSEWHERE: Result(
        "This account belongs to another customer here",
        "{account} is connected to this gateway for somebody else. Nothing was connected.",
        "If both belong to you, ask whoever operates this gateway to allow sharing this account.",
        again=False,
    ),
    Outcome.GONE: Result(
        "This connection no longer exists",
        "It was disconnected while you signed in. Nothing was connected.",
        "Connect {crm} anew.",
    ),
    Outcome.REFUSED: Result(
        "{crm} did not complete the sign-in",
        "{crm} did not accept the sign-in. Nothing was connected.",
        "Start again. If it happens twice, ask whoever operates this gateway to check its app at {crm}.",
    ),
    Outcome.FOREIGN_HOST: Result(
        "Somebody else's address came back",
        "The sign-in ended with an address that is not {crm}'s. Nothing was sent there, and nothing was connected.",
        "Start again from your connections. If it happens twice, tell whoever operates this gateway.",
    ),
    Outcome.NO_ANSWER: Result(
        "{crm} did not answer",
        "You did your part, but {crm} is having trouble right now. Nothing was connected.",
        "Wait a few minutes, then start again.",
    ),
}

REFUSALS: dict[Refusal, Result] = {
    Refusal.UNKNOWN: Result(
        "This link is not valid",
        "It is incomplete, or it was never made here. Nothing was connected.",
        "Ask for a new link, or start again from your connections.",
    ),
    Refusal.EXPIRED: Result(
        "This link has expired",
        "Links to connect a CRM work for ten minutes. Nothing was connected.",
        "Ask for a new link, or start again from your connections.",
    ),
    Refusal.USED: Result(
        "This link was used already",
        "Each link works once. If you have just connected, it worked the first time: look at your connections.",
        "Otherwise ask for a new link.",
    ),
    Refusal.OTHER_BROWSER: Result(
        "The sign-in ended in another browser",
        "It has to end in the browser in which it was approved, so that nobody can finish it for you. "
        "Nothing was connected.",
        "Start again, and stay in one browser.",
    ),
}

STATES: dict[State, tuple[str, str]] = {
    State.ACTIVE: ("Working", "good"),
    State.DEGRADED: ("The CRM does not answer", "warn"),
    State.RECONNECT_NEEDED: ("Needs you: sign in again", "bad"),
    State.DISCONNECTED: ("Disconnected", "off"),
}
"""Words, and how they are shown."""


def cannot_start(crm: str, wrong: Invalid) -> str:
    """Why a sign-in cannot even begin, as a sentence."""
    reasons = "; ".join(error.reason for error in wrong.errors)
    return f"{crm}: {reasons}." if reasons else f"{crm} cannot be connected like this."


def how_it_stands(one: Standing) -> str:
    """One rate limit: "search: 4 of 5 left, per second"."""
    if one.resumes_in is not None:
        return f"{one.name}: paused for {_in_words(one.resumes_in)}, because the CRM asked for it"
    if not one.per:
        return f"{one.name}: {one.limit - one.remaining:,} of {one.limit:,} under way at once"
    per = "today" if one.per >= timedelta(days=1) else f"per {_in_words(one.per)}"
    return f"{one.name}: {one.remaining:,} of {one.limit:,} left, {per}"


def _in_words(span: timedelta) -> str:
    seconds = max(1, round(span.total_seconds()))
    for unit, length in (("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{round(seconds / length)} {unit}s"
    return "second" if seconds == 1 else f"{seconds} seconds"


PREPARING = ("Being prepared", "warn")

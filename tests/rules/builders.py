"""Facts and rule sets with sensible defaults; a test states only what it is about."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from rules.decide import Decision, Outcome, decide
from rules.facts import CallerFacts, CallFacts, Facts, LocalFacts
from rules.rule import RuleSet, parse, with_ids

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)  # a Friday
ZURICH = timezone(timedelta(hours=1))


def facts(
    call: Mapping[str, Any] | None = None, caller: Mapping[str, Any] | None = None, *, settled: tuple[str, ...] = ()
) -> Facts:
    """An inbound call with a number, on a Friday at ten, Zurich time; nothing else is known."""
    return Facts(
        call=CallFacts(**{"direction": "inbound", **(call or {})}),
        caller=CallerFacts(**{"number_known": True, **(caller or {})}),
        local=LocalFacts.at(NOW.astimezone(ZURICH)),
        settled=frozenset(settled),
    )


def rule(
    when: str = "true", name: str = "Rule", *, shared: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """A rule document that opts the caller out, unless `then` says otherwise; `shared` is its `with`."""
    return {"name": name, "when": when, "then": [{"do": "opt_out"}], **({"with": shared} if shared else {}), **more}


def rule_set(*rules: dict[str, Any]) -> RuleSet:
    return with_ids(parse({"rules": list(rules)}))


def outcomes(decision: Decision) -> dict[str, Outcome]:
    """By rule id, as they are handed to the next decision."""
    return {rule.rule_id: rule.outcome for rule in decision.rules}


def by_name(decision: Decision) -> dict[str, Outcome]:
    return {rule.name: rule.outcome for rule in decision.rules}


def decided(rules: RuleSet, known: Facts, **more: Any) -> Decision:
    return decide(rules, known, **{"now": NOW, **more})

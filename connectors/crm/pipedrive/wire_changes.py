"""Pipedrive's notifications (webhooks v2) and its list of recent changes → `Change`. Pure.

Nothing is signed: a notice carries the HTTP Basic pair that we chose when we subscribed. Ids in `meta` are texts.
Source: webhooks v2 guide of 2026-07; recorded: webhook-v2-lead-change-application, and version 1 as must-not-break.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from connectors.crm.changes import Change, Forged, Happened, Notice, Subscription
from connectors.crm.pipedrive.wire import Row, Rows, moment
from connectors.crm.records import Kind, Ref
from connectors.json_text import BadJson, parse_json

USER = "gateway"
ENTITIES: Mapping[str, Kind] = {"person": Kind.CONTACT, "organization": Kind.COMPANY, "lead": Kind.LEAD}
"""What we ask to be told about: everything that holds phone numbers, or stands for someone who does."""

_HAPPENED = {"create": Happened.CHANGED, "change": Happened.CHANGED, "delete": Happened.DELETED}


def read_changes(notice: Notice, secret: str, now: datetime) -> Sequence[Change]:
    """At most one change. `now` plays no part: notices carry no signed time, and an old one is only a stale hint.

    Raises `Forged` for another pair than ours.
    """
    if not _is_ours(notice.headers.get("authorization", ""), secret):
        raise Forged("this notice does not carry the secret it was subscribed with")
    try:
        said = parse_json(notice.body)
    except BadJson:
        return ()
    meta = said.get("meta") if isinstance(said, dict) else None
    if not isinstance(meta, dict):
        return ()
    kind = ENTITIES.get(str(meta.get("entity")))
    happened = _HAPPENED.get(str(meta.get("action")))
    id = _id(meta.get("entity_id"))
    if kind is None or happened is None or not id:
        return ()
    into = _id(meta.get("merged_to_id")) if happened is Happened.DELETED else ""
    return (
        Change(
            kind=kind,
            id=id,
            happened=Happened.MERGED if into else happened,
            at=moment(str(meta.get("timestamp"))),
            into=Ref(kind, into) if into else None,
            account=_id(meta.get("company_id")) or None,
        ),
    )


def _is_ours(authorization: str, secret: str) -> bool:
    scheme, _, credentials = authorization.partition(" ")
    expected = base64.b64encode(f"{USER}:{secret}".encode())
    given = credentials.strip().encode("utf-8", "replace")
    return hmac.compare_digest(given, expected) and scheme.lower() == "basic"


def _id(value: Any) -> str:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def kept(webhooks: Iterable[Row], address: str) -> dict[str, Row]:
    """By entity, the living subscriptions to `address` that tell everything about it."""
    return {
        hook.value("event_object"): hook
        for hook in webhooks
        if hook.value("subscription_url") == address
        and hook.value("event_action") == "*"
        and hook.value("version").startswith("2")
        and is_active(hook)
    }


def is_active(hook: Row) -> bool:
    """Three days without an answer of ours, and Pipedrive takes it away."""
    return hook.flag("is_active") and not hook.value("remove_time")


def knows(hook: Row, secret: str) -> bool:
    """Whether it would send this secret. A password that is not shown is believed."""
    shown = hook.value("http_auth_password")
    return hook.value("http_auth_user") == USER and (shown == secret or not shown.strip("*•"))


def subscription(hook: Row, entity: str) -> Subscription:
    """Without an end."""
    return Subscription(id=hook.id, kinds=(ENTITIES[entity],), extra={"entity": entity})


def read_deletions(page: Rows, kind: Kind) -> list[Change]:
    """Those of `/recents` that are gone (recorded: vcr-recents-all). Its ids stand beside the record, which may be null.

    `merge_what_id` is documented as "the person with what the main person was merged": on a record that is gone we
    take it for the one that stayed.
    """
    changes = []
    for entry in page.results:
        record = entry.raw.get("data")
        row = Row(record) if isinstance(record, dict) else None
        if row is not None and not row.is_gone and not row.flag("deleted"):
            continue
        into = _id(row.raw.get("merge_what_id")) if row is not None else ""
        at = moment(row.value("delete_time") or row.value("update_time")) if row is not None else None
        changes.append(
            Change(
                kind=kind,
                id=entry.id,
                happened=Happened.MERGED if into else Happened.DELETED,
                at=at,
                into=Ref(kind, into) if into else None,
            )
        )
    return changes

"""What CRMs tell us by themselves: whose it is, whether it is theirs, and which records it hints at.

Nothing of a notice is believed but that some records may have changed: they are read again (`changes.py`). So a forged
one does nothing, an old one or a repeated one costs a read, and their order does not matter.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from prometheus_client import Counter

from connectors.crm.catalog import Provider
from connectors.crm.changes import Change, Forged, Notice
from connectors.crm.records import Ref
from gateway.connections.providers import Providers, Registered
from gateway.db.base import TenantId
from gateway.db.engine import Database
from gateway.directory import feeds
from gateway.directory.feeds import Whose
from gateway.tenants.keys import Keyring

NOTICES = Counter("gateway_crm_notices", "Change notifications of CRMs.", ["provider", "outcome"])
HINTS = Counter("gateway_crm_hints", "Records that CRMs told us to read again.", ["provider"])


@dataclass(frozen=True)
class Known:
    """Who a notice at this address is from, should it be proven.

    feed     the one connection it is about, and the account it must be of; None: of one app for all its accounts.
    secrets  what may prove it.
    """

    provider: Provider
    feed: Whose | None
    account: str | None
    secrets: tuple[str, ...] = field(repr=False)


class Notices:
    """Takes notices for every tenant. One per process."""

    def __init__(self, db: Database, keyring: Keyring, providers: Providers) -> None:
        self._db = db
        self._keyring = keyring
        self._providers = providers

    async def find(self, slug: str, key: str) -> Known | None:
        """Whose address `/crm/{slug}/{key}` is; None: nobody's."""
        registered = self._providers.get(slug)
        read_changes = registered.provider.read_changes if registered is not None else None
        if registered is None or read_changes is None:
            return None
        if registered.manifest.notices == "app":
            right = registered.ready and hmac.compare_digest(
                key.encode(errors="surrogatepass"), app_key(registered).encode()
            )
            return Known(registered.provider, None, None, _secrets_of(registered)) if right else None
        async with self._db.reading() as session:
            found = await feeds.by_key(session, digest_of(key))
        if found is None:
            return None
        feed, connection, account = found
        if connection.provider != slug or feed.secret is None:
            return None
        tenant_id = TenantId(feed.tenant_id)
        keys = await self._keyring.of(tenant_id)
        secret = keys.open(feed.secret, "change_feeds", "secret", connection.id).decode()
        return Known(registered.provider, (tenant_id, connection.id), account, (secret,))

    async def take(self, known: Known, notice: Notice, *, now: datetime) -> int:
        """Check a notice, and commit what it hints at; how many records are to be read again. Raises `Forged`: nothing
        was stored."""
        slug = known.provider.manifest.slug
        try:
            changes = proven(known, notice, now)
        except Forged:
            NOTICES.labels(slug, "forged").inc()
            raise
        async with self._db.transaction() as session:  # sees every tenant: one notice may be about several
            if known.feed is not None:
                hinted: Mapping[Whose, set[Ref]] = {known.feed: refs_of(changes, account=known.account)}
            else:
                accounts = {change.account for change in changes if change.account is not None}
                whose = await feeds.of_accounts(session, slug, accounts)
                hinted = {(tenant, id): refs_of(changes, account=account) for account, tenant, id in whose}
            taken = await feeds.note(session, hinted, now=now, by_crm=True)
        count = sum(taken.values())
        NOTICES.labels(slug, "taken" if count else "nothing of ours").inc()
        HINTS.labels(slug).inc(count)
        return count


def proven(known: Known, notice: Notice, now: datetime) -> Sequence[Change]:
    """What the notice tells, with any secret that holds. Raises `Forged`. Pure."""
    assert known.provider.read_changes is not None
    for secret in known.secrets:
        try:
            return known.provider.read_changes(notice, secret, now)
        except Forged:
            continue
    raise Forged("no secret of ours is in it")


def refs_of(changes: Iterable[Change], *, account: str | None) -> set[Ref]:
    """The records to be read again: those named, and those that others have become. Pure.

    account  whose they must be; a notice that names none is about the connection it was sent for.
    """
    mine = [one for one in changes if account is None or one.account in (None, account)]
    heirs = (one.into for one in mine if one.into is not None)
    return {Ref(one.kind, one.id) for one in mine}.union(heirs)


def app_key(registered: Registered) -> str:
    """The key in the one address of an app at a vendor: the same on every machine, for as long as the app has its id.

    It needs no hiding, since what comes there is signed; it keeps what is not meant for us from being looked at.
    """
    return hashlib.sha256(
        f"gateway notices:{registered.manifest.slug}:{registered.app.client_id}".encode()
    ).hexdigest()[:32]


def app_address(public_url: str, registered: Registered) -> str:
    """Where the operator tells such an app to send to."""
    return address(public_url, registered.manifest.slug, app_key(registered))


def address(public_url: str, slug: str, key: str) -> str:
    return f"{public_url}/crm/{slug}/{key}"


def digest_of(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()


def _secrets_of(registered: Registered) -> tuple[str, ...]:
    texts = (registered.app.client_secret, *registered.app.client_secrets.values())
    return tuple(dict.fromkeys(text for secret in texts if (text := secret.get_secret_value())))

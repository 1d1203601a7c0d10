"""What went wrong at somebody else's API, said as what to do next.

```text
ConnectorError
├─ Unavailable        nothing was written, or we only asked; try again
├─ RateLimited        try again after `retry_after`; not counted as an attempt
├─ OutcomeUnknown     a write went out, no readable answer came; look for its key before resending
├─ ReconnectNeeded    the grant is gone; hold the connection until the tenant signs in
├─ Rejected           `field` and `reason`; never accepted as it is; a person must decide
├─ Unsupported        this CRM has no such thing; the mapping must change
└─ UnexpectedReply    a read answered in no documented shape; ours to fix
```

Texts are shown to tenants and written to logs: they never carry a token, a number, a name or a vendor's raw body.
"""

from __future__ import annotations

from datetime import timedelta


class ConnectorError(Exception):
    """Base of the family. `status` is the HTTP status that came, if one did."""

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class Unavailable(ConnectorError):
    """Nothing was written, or we only asked. Try again later; `retry_after` is the vendor's own wish, if it said one."""

    def __init__(self, reason: str, *, status: int | None = None, retry_after: timedelta | None = None) -> None:
        super().__init__(reason, status=status)
        self.retry_after = retry_after


class RateLimited(ConnectorError):
    """Refused before it was looked at, for rate reasons. Try again after `retry_after`; it is no attempt.

    policy  what ran out, in the vendor's word ("TEN_SECONDLY_ROLLING", "search", "DAILY"), for the throttle; or None.
    """

    def __init__(
        self, reason: str, *, retry_after: timedelta, policy: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(reason, status=status)
        self.retry_after = retry_after
        self.policy = policy


class OutcomeUnknown(ConnectorError):
    """A write went out and no readable answer came. Look for its key before anything is sent again.

    settle  how long "not found" must not be believed, counted from the send (the manifest's value for this kind).
    """

    def __init__(self, reason: str, *, settle: timedelta, status: int | None = None) -> None:
        super().__init__(reason, status=status)
        self.settle = settle


class ReconnectNeeded(ConnectorError):
    """The grant is gone (revoked, app uninstalled, account closed). Hold the connection until the tenant signs in."""


class Rejected(ConnectorError):
    """The CRM will never accept this as it is.

    field   the CRM's own field name the complaint is about, when it said so.
    gone    the record we wanted to change does not exist any more (deleted or merged away).
    scopes  OAuth scopes the grant lacks, when that is why; the grant itself is still good.
    """

    def __init__(
        self,
        reason: str,
        *,
        field: str | None = None,
        gone: bool = False,
        scopes: tuple[str, ...] = (),
        status: int | None = None,
    ) -> None:
        super().__init__(reason, status=status)
        self.field = field
        self.gone = gone
        self.scopes = scopes


class Unsupported(ConnectorError):
    """This CRM has no such thing. The mapping or the rule must change."""


class UnexpectedReply(ConnectorError):
    """A read answered in no documented shape. Ours to fix; counted, so that it ends."""

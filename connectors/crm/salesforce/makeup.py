"""What one Salesforce org is made of, asked for and remembered for a while: fields, users, stages, words, campaigns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from time import monotonic
from typing import TypeVar

from connectors.crm.port import Sender
from connectors.crm.records import Field, Kind, Owner, Pipeline, Stage
from connectors.crm.salesforce import wire, wire_account
from connectors.crm.salesforce import wire_soql as soql
from connectors.crm.salesforce.wire_errors import Denied, classified
from connectors.crm.salesforce.wire_writes import Place
from connectors.errors import Rejected, Unsupported
from connectors.request import Request

T = TypeVar("T")
_FRESH = timedelta(minutes=10)
_MOST_PAGES = 50  # of two thousand users
UNSEEN = frozenset({"INVALID_FIELD", "INVALID_TYPE"})
"""The codes of a read that names something this user may not see."""


class Makeup:
    """Part of `client.Salesforce`; the promises stand in the port."""

    def __init__(self, http: Sender) -> None:
        self._http = http
        self._described: dict[str, tuple[float, wire_account.Described]] = {}
        self._pipelines: dict[Kind, tuple[float, list[Pipeline]]] = {}
        self._words: tuple[float, wire_account.Words] | None = None
        self._campaigns: dict[str, tuple[float, str]] = {}

    # ── fields ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def described(self, of: str, *, anew: bool = False) -> wire_account.Described:
        """Some hundreds of kilobytes in a large org, hence remembered. Never asked for while a caller waits, unless a
        search was refused over a field."""
        known = self._described.get(of)
        if known and not anew and _is_fresh(known[0]):
            return known[1]
        described = wire.read(await self._http.send(wire.describe(of)), wire_account.Described)
        self.remember(of, described)
        return described

    def remember(self, of: str, described: wire_account.Described) -> None:
        self._described[of] = (monotonic(), described)

    def readable(self, of: str, wanted: Sequence[str]) -> list[str]:
        """Of `wanted`, what the connected user may see, as far as that is known; everything as long as it is not."""
        known = self._described.get(of)
        if known is None:
            return list(wanted)
        names = {field.name.lower() for field in known[1].fields}
        return [field for field in wanted if self._is_readable(names, field)]

    def _is_readable(self, names: set[str], field: str) -> bool:
        """A parent's field takes the reference to it, and sight of the parent."""
        parent, _, inner = field.rpartition(".")
        if not parent:
            return field.lower() in names
        described = self._described.get(parent)
        hidden = described is not None and described[1].field(inner) is None
        return f"{parent}Id".lower() in names and not hidden

    def can_see(self, of: str) -> bool:
        known = self._described.get(of)
        return known is None or bool(known[1].fields)

    async def learn(self, types: Sequence[str]) -> None:
        """See what the user may see of these objects; of one that is refused, nothing."""
        for of in dict.fromkeys((*types, *(("Account",) if "Contact" in types else ()))):
            try:
                await self.described(of, anew=True)
            except Rejected:
                self.remember(of, wire_account.Described(name=of))

    async def seen(self, types: Sequence[str], ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` answers. Refused because it names what this user may not see, it is asked again without that."""
        try:
            return await ask()
        except Denied as refused:
            if refused.code not in UNSEEN:
                raise
        await self.learn(types)
        return await ask()

    async def fields(self, kind: Kind) -> list[Field]:
        return wire_account.read_fields(await self.described(wire.TYPES[kind], anew=True))

    async def types(self, of: str, names: Sequence[str]) -> Mapping[str, str]:
        """Types of the object's fields; asked again before one of `names` is called unknown."""
        known = (await self.described(of)).types()
        if any(name not in known for name in names):
            known = (await self.described(of, anew=True)).types()
        return known

    # ── users ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def owners(self) -> list[Owner]:
        listed: list[Owner] = []
        request: Request | None = wire.query(wire_account.users())
        for _ in range(_MOST_PAGES):
            if request is None:
                break
            page = wire.read(await self._http.send(request), wire.Rows)
            listed += [wire_account.read_owner(row) for row in page.records]
            request = wire.query_more(page.next_records_url) if page.next_records_url else None
        return sorted(listed, key=lambda owner: (owner.name.casefold(), owner.id))

    async def owner_by_email(self, email: str) -> Owner | None:
        found = wire.read(await self._http.send(wire.query(wire_account.user_by_email(email))), wire.Rows).records
        return wire_account.read_owner(found[0]) if found else None

    # ── stages ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def remembered_pipelines(self, kind: Kind) -> Sequence[Pipeline]:
        """Without asking."""
        known = self._pipelines.get(kind)
        return known[1] if known else ()

    async def pipelines(self, kind: Kind) -> list[Pipeline]:
        match kind:
            case Kind.DEAL:
                found = await self._deal_pipelines()
            case Kind.TICKET:
                rows = wire.read(await self._http.send(wire.query(wire_account.CASE_STATUSES)), wire.Rows).records
                found = [Pipeline(id="", label="Case", stages=wire_account.read_stages(rows))]
            case _:
                raise Unsupported(f"Salesforce has no stages for the kind {kind.value}")
        self._pipelines[kind] = (monotonic(), found)
        return found

    async def _deal_pipelines(self) -> list[Pipeline]:
        """Stages and record types in one request; then, in orgs that have record types, one more for each."""
        asked = wire.composite(
            [wire.asking("stages", wire_account.STAGES), wire.asking("types", wire_account.RECORD_TYPES)]
        )
        told = wire.read_composite(await self._http.send(asked), ("stages", "types"))
        return await self._with_types(rows_of(told["stages"]), rows_of(told["types"]), anew=True)

    async def _with_types(
        self, stages: Sequence[wire.Row], record_types: Sequence[wire.Row], *, anew: bool = False
    ) -> list[Pipeline]:
        """Of the org's record types those the connected user may use, the user's default first."""
        if record_types:
            record_types = (await self.described("Opportunity", anew=anew)).usable(record_types)
        types = [(row, await self._stages_of(row)) for row in record_types]
        return wire_account.pipelines_of(wire_account.read_stages(stages), types)

    async def _stages_of(self, record_type: wire.Row) -> list[str] | None:
        """None where the user interface's API is not to be had: then all of them."""
        asked = wire_account.stages_of_record_type(wire.value(record_type, "Id"))
        try:
            choices = wire.read(await self._http.send(asked), wire_account.Choices)
        except Rejected:
            return None
        return [choice.value for choice in choices.values]

    async def place(self, kind: Kind, pipeline: str, stage: str) -> Place:
        """Ids for what the tenant named; asked again before a name is called unknown, since names change."""
        if kind not in (Kind.DEAL, Kind.TICKET):
            raise Unsupported(f"a {kind.value} has no stages in Salesforce")
        known = self._pipelines.get(kind)
        remembered = known is not None and _is_fresh(known[0])
        if not remembered:
            await self._customs()
        place = placed(self.remembered_pipelines(kind), pipeline, stage)
        if place is None and remembered:
            place = placed(await self.pipelines(kind), pipeline, stage)
        if place is None:
            field = "StageName" if kind is Kind.DEAL else "Status"
            raise Rejected("this Salesforce org has no such stage, or the record type does not have it", field=field)
        return place

    # ── words and campaigns ─────────────────────────────────────────────────────────────────────────────────────────

    def remembered_words(self) -> wire_account.Words:
        """Without asking; a new org's as long as nothing is known."""
        return self._words[1] if self._words else wire_account.Words()

    async def words(self) -> wire_account.Words:
        if self._words is None or not _is_fresh(self._words[0]):
            await self._customs()
        return self.remembered_words()

    async def _customs(self) -> None:
        """What a call's writes need to be put into words, all of it in one request: a call is followed by a task and a deal."""
        asked = {
            "status": wire_account.CLOSED_TASK,
            "priority": wire_account.TASK_PRIORITIES,
            "stages": wire_account.STAGES,
            "types": wire_account.RECORD_TYPES,
            "cases": wire_account.CASE_STATUSES,
        }
        parts = [wire.asking(name, text) for name, text in asked.items()]
        told = wire.read_composite(await self._http.send(wire.composite(parts)), list(asked))
        now = monotonic()
        self._words = (now, wire_account.read_words(rows_of(told["status"]), rows_of(told["priority"])))
        deals = await self._with_types(rows_of(told["stages"]), rows_of(told["types"]))
        cases = [Pipeline(id="", label="Case", stages=wire_account.read_stages(rows_of(told["cases"])))]
        self._pipelines |= {Kind.DEAL: (now, deals), Kind.TICKET: (now, cases)}

    async def campaign(self, named: str) -> str:
        """The id of a campaign, by id or by name. Two of one name are a person's to tell apart."""
        if soql.is_id(named) and named.startswith("701"):
            return named
        known = self._campaigns.get(named)
        if known and _is_fresh(known[0]):
            return known[1]
        rows = wire.read(await self._http.send(wire.query(wire_account.campaign(named))), wire.Rows).records
        if len(rows) != 1:
            reason = "there are several campaigns" if rows else "there is no campaign"
            raise Rejected(f"{reason} of this name in Salesforce", field="CampaignId")
        self._campaigns[named] = (monotonic(), wire.value(rows[0], "Id"))
        return self._campaigns[named][1]

    async def opt_out_fields(self, of: str) -> list[str]:
        """What says no on this object, as far as the connected user may write it."""
        described = await self.described(of)
        wanted = [described.field(name) for name in ("HasOptedOutOfEmail", "DoNotCall")]
        return [field.name for field in wanted if field is not None and field.updateable]


def _is_fresh(at: float) -> bool:
    return monotonic() - at < _FRESH.total_seconds()


def rows_of(answered: wire.Answered) -> list[dict[str, object]]:
    """A query's rows inside a composite answer. Raises what the query was refused with; none if it may not be seen."""
    if answered.good:
        return wire.read(answered.reply(), wire.Rows).records
    error = classified(answered.http_status_code, answered.body, writes=False)
    if isinstance(error, Denied) and error.code in UNSEEN:
        return []
    raise error


def placed(pipelines: Sequence[Pipeline], pipeline: str, stage: str) -> Place | None:
    """By id, else by label, case aside. Nothing named: the first pipeline that has the stage, and its first open one."""
    chosen = [one for one in pipelines if _is(one, pipeline)] if pipeline else pipelines
    for one in chosen:
        for candidate in one.stages:
            if _is(candidate, stage) if stage else not candidate.closed:
                return Place(one.id, candidate.id)
    return None


def _is(thing: Pipeline | Stage, named: str) -> bool:
    return named == thing.id or named.casefold() == thing.label.casefold()

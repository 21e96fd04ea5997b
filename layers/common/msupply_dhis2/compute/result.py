"""What an invocation of compute came to, as fields and as sentences."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field

from msupply_dhis2.compute.event import ComputeEvent, MonthStep
from msupply_dhis2.compute.plan import Mapped
from msupply_dhis2.compute.sharding import Shard
from msupply_dhis2.compute.values import MOST_ROWS_NAMED, Tally
from msupply_dhis2.domain.mapped import MappedNames
from msupply_dhis2.mapping import Rows
from msupply_dhis2.settings import Settings
from msupply_dhis2.state.run import groups_skipped
from msupply_dhis2.text import count, listed

ONE_IN = 10
"""Where more than one in so many groups of an invocation is left out for rows that cannot be read, its run is incomplete."""


class Status(StrEnum):
    """How an invocation of compute ended."""

    SENT = "sent"
    PLANNED = "planned"
    DRY_RUN = "dry run"
    EXPORTED = "exported"
    OFF = "off"
    NOTHING_TO_DO = "nothing to do"
    DATABASE_REACHED = "database reached"
    STOPPED = "stopped"
    FAILED = "failed"


_SAID = {
    Status.OFF: "Use DHIS2 is off in the settings: nothing was computed or sent. To send, write use_dhis2: true there "
    "(make settings); a dry run computes without it, and a manual event with while_off: true sends by hand.",
    Status.STOPPED: "The run was stopped: nothing more of it is computed. To send the rest, invoke compute with the run's "
    "event again.",
    Status.NOTHING_TO_DO: "mSupply's database lacks what all metrics of this run need. The log names it.",
}
"""What is said where nothing was computed, if nothing else is."""


class ComputeResult(BaseModel):
    """What compute returns to whoever invoked it, and logs.

    ``values`` were computed, of ``stores``, ``customers`` and ``items`` with at least one, and ``batches`` put on the queue
    (in a dry run: would have been). ``already_stored`` of the values DHIS2 has; ``vanished`` it has and they are computed no
    longer, of which ``deletions`` are to be deleted. Where rows of mSupply's database cannot be read for too many groups,
    the run is ``incomplete``. ``to_follow`` is work for other invocations, once the batches of this one are on the queue.
    Of an export ``file`` is the one that this invocation wrote, and ``files`` are those of all, also of those that follow.
    """

    model_config = ConfigDict(frozen=True)

    status: Status
    message: str
    run_id: str | None = None
    as_of: datetime | None = None
    time_zone: str | None = None
    started_by: str | None = None
    shards: int = 0
    shard: str | None = None
    month: str | None = None
    periods: tuple[str, ...] = ()
    stores: int = 0
    customers: int = 0
    items: int = 0
    values: int = 0
    batches: int = 0
    already_stored: int = 0
    vanished: int = 0
    deletions: int = 0
    unreadable_groups: int = 0
    unreadable_rows: tuple[str, ...] = Field(default=(), exclude=True)
    incomplete: bool = False
    skipped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    file: str | None = None
    files: tuple[str, ...] = ()
    see_the_log: str | None = None
    mapped: MappedNames | None = None
    to_follow: tuple[Shard, ...] = Field(default=(), exclude=True)

    def ended(self, status: Status, message: str | None = None, **facts: object) -> Self:
        """Return it with how it ended, and with more facts."""
        said = _SAID[status] if message is None else message
        return self.model_copy(update={"status": status, "message": said, **facts})


def of(shard: Shard) -> ComputeResult:
    """Return a result that tells only what it is about."""
    zone = shard.step.as_of.tzinfo
    return ComputeResult(
        status=Status.SENT,
        message="",
        run_id=shard.run_id,
        as_of=shard.step.as_of,
        time_zone=zone.key if isinstance(zone, ZoneInfo) else None,
        started_by=shard.event.started_by,
        shard=None if shard.is_whole_run else f"{shard.number} of {shard.of}",
        month=shard.step.month,
    )


def about_mapped(
    about: ComputeResult, mapped: Mapped, settings: Settings, shard: Shard, left_out: Iterator[str]
) -> ComputeResult:
    """Tell of a run about stores, items and settings, of a shard what is mapped no longer."""
    if shard.org_units is None:
        warnings = (*mapped.warnings(settings), *left_out)
        return about.model_copy(update={"skipped": mapped.skipped, "warnings": warnings})
    gone = [code for code in shard.org_units if code not in mapped.codes]
    told = f"No longer mapped in mSupply, and not sent: org units {listed(gone)}."
    return about.model_copy(update={"warnings": (told,)}) if gone else about


def computed(about: ComputeResult, shard: Shard, steps: Sequence[MonthStep], tally: Tally) -> ComputeResult:
    """Return what steps of a shard came to, all together; other invocations do the rest."""
    incomplete = ONE_IN * tally.unreadable_groups > tally.groups
    rest = shard.after(len(steps))
    sent = Status.DRY_RUN if shard.event.dry_run else Status.SENT
    result = about.ended(
        sent if shard.event.export is None else Status.EXPORTED,
        "",
        month=steps[0].month if len(steps) == 1 else None,
        periods=tuple(sorted(tally.periods)),
        stores=len(tally.stores),
        customers=len(tally.customers),
        items=len(tally.items),
        values=tally.values,
        batches=tally.batches,
        already_stored=tally.already_stored,
        vanished=tally.vanished,
        deletions=tally.deletions,
        unreadable_groups=tally.unreadable_groups,
        unreadable_rows=tuple(tally.unreadable_rows),
        incomplete=incomplete,
        skipped=(*about.skipped, *tally.collided, *tally.unreadable_rows),
        warnings=(*about.warnings, *_about_unreadable(tally, incomplete=incomplete), *tally.notes),
        to_follow=() if rest is None else (rest,),
    )
    return result.ended(result.status, _summary(result, steps, rest))


def _about_unreadable(tally: Tally, *, incomplete: bool) -> Iterator[str]:
    """Yield what rows that cannot be read cost, and what to do."""
    if not tally.unreadable_groups:
        return
    rows = len(tally.unreadable_rows)
    named = f"the first {rows:,} of these rows" if rows == MOST_ROWS_NAMED else "these rows"
    too_many = f" That is more than one in {ONE_IN}, so the run ends incomplete." if incomplete else ""
    yield (
        f"{groups_skipped(tally.unreadable_groups)}.{too_many} What DHIS2 has of them stays. What is skipped names {named}: "
        "ask whoever looks after mSupply to correct them, and invoke compute again."
    )


def _summary(result: ComputeResult, steps: Sequence[MonthStep], rest: Shard | None) -> str:
    places = [count(result.stores, "store")] if result.stores or not result.customers else []
    places += [count(result.customers, "customer")] if result.customers else []
    counts = f"{count(result.values, 'value')} of {', '.join(places)} and {count(result.items, 'item')}"
    if result.status is not Status.EXPORTED:
        counts += f" in {count(result.batches, 'batch', 'batches')}"
    if any(step.month for step in steps):
        counts = f"{named(steps)}: {counts}"
    if result.status is Status.SENT:
        said = f"{counts}, on the way to DHIS2." if result.batches else f"{counts}: nothing to send to DHIS2."
    else:
        kind = "Export" if result.status is Status.EXPORTED else "Dry run"
        said = f"{kind}: {counts}. Nothing was sent."
    if result.status is Status.SENT and result.already_stored:
        unchanged = count(result.already_stored, "value is", "values are")
        said += f" {unchanged} not sent, because DHIS2 has the same already."
    if result.status is Status.SENT and result.deletions:
        said += f" {count(result.deletions, 'value')} to be deleted in DHIS2."
    if result.unreadable_groups:
        said += f" {groups_skipped(result.unreadable_groups)}."
    if rest is not None:
        said += f" Other invocations follow for: {named(rest.steps)}."
    return said


def named(steps: Sequence[MonthStep]) -> str:
    """Name steps: ``the run's own, 2025-01, 2025-02``."""
    return ", ".join(step.month or "the run's own" for step in steps)


def planned(about: ComputeResult, shards: Sequence[Shard]) -> ComputeResult:
    """Return into which shards a run was divided."""
    lines = [shard.ledger_lines for shard in shards]
    org_units = sum(len(shard.org_units or ()) for shard in shards)
    steps = shards[0].steps
    message = (
        f"Planned {count(len(shards), 'shard')} of {min(lines):,} to {max(lines):,} ledger lines each, for "
        f"{count(org_units, 'org unit')} with {count(sum(lines), 'ledger line')}: each is computed by an invocation of its own."
    )
    if len(steps) > 1:
        message += f" Each does {count(len(steps), 'step')}, one after the other: {named(steps)}."
    return about.ended(Status.PLANNED, message, shards=len(shards), to_follow=tuple(shards))


def nothing_to_do(about: ComputeResult, event: ComputeEvent, asked: Rows) -> ComputeResult:
    """Return that no row of the settings has anything to compute, of those that the event asks for, or that there are none."""
    limits = f" with the interval '{event.interval}'" if event.interval else ""
    if event.metrics:
        limits += f" for {', '.join(metric.label for metric in event.metrics)}"
    no_row = (
        f"No active row of 'Data elements to push'{limits}: nothing to compute. "
        "To send it, tick Active and choose the interval in the settings."
    )
    return about.ended(Status.NOTHING_TO_DO, " ".join(without_months(asked, ())) or no_row)


def without_months(asked: Rows, rows: Rows) -> Iterator[str]:
    """Yield which rows a range of months leaves out."""
    if left_out := [row.metric.label for row, basis in asked if (row, basis) not in rows]:
        yield (
            f"Not sent for months that are over, because of their basis 'current day': {', '.join(left_out)}. To "
            'send them too, with the values of each month\'s end, add "basis": "previous_month" to the event.'
        )

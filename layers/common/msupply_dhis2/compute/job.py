"""Compute: from mSupply's database to batches of data values on the queue.

The job, in the order in which it happens: which rows of the settings are asked for → which steps there are (the
run's own values, earlier months) → which org units and items are mapped → into how many shards they are divided →
what time means for a step → each group's history → its metrics → data values → batches.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from msupply_dhis2.compute.backfill import MonthStep, month_steps_of_range, restated_month_steps, rows_of_past
from msupply_dhis2.compute.event import ComputeEvent, rows_asked_for, run_id
from msupply_dhis2.compute.mapped import mapped_names
from msupply_dhis2.compute.plan import RunPlan, make_run_plan, read_mapped
from msupply_dhis2.compute.publish import ClaimValues, OrgUnitValues, Publisher, publish
from msupply_dhis2.compute.sharding import Shard, divide, lines_of
from msupply_dhis2.compute.values import MOST_ROWS_NAMED, Plan, Tally, make_plan, values_of_org_units
from msupply_dhis2.domain.batch import Age, Batch
from msupply_dhis2.domain.mapped import MappedNames
from msupply_dhis2.metrics import Metric, StockWarning
from msupply_dhis2.periods import Basis, Calendar, Interval
from msupply_dhis2.settings import DataElementRow, Settings
from msupply_dhis2.source import Scope, Source, Verification
from msupply_dhis2.state.delta.filter import DeltaFilter, DeltaOptions, RunScope
from msupply_dhis2.text import count

ONE_IN = 10
"""Where more than one in so many groups of an invocation is left out for rows that cannot be read, its run is incomplete."""

type OpenDatabase = Callable[[], AbstractContextManager[Source]]
type Compare = Callable[[RunScope, DeltaOptions], DeltaFilter | None]
"""Gives what tells a run which of its values DHIS2 has acknowledged; ``None``: all are to be sent."""
type Track = Callable[[Iterable[OrgUnitValues], int], Iterable[OrgUnitValues]]


class Status(StrEnum):
    """How an invocation of compute ended."""

    SENT = "sent"
    PLANNED = "planned"
    DRY_RUN = "dry run"
    OFF = "off"
    NOTHING_TO_DO = "nothing to do"
    DATABASE_REACHED = "database reached"
    FAILED = "failed"


class ComputeResult(BaseModel):
    """What compute returns to whoever invoked it, and logs.

    ``periods`` are those in DHIS2 that the values are about. ``values`` were computed, ``batches`` put on the queue (in a dry run: would have been); ``stores``
    and ``items`` those with at least one value. ``left_out`` holds sentences; ``mapped`` answers the connection
    test's question about the database. ``unreadable_groups`` were left out, because rows of mSupply's database cannot be
    read (``unreadable_rows``, which ``left_out`` holds too); where they are too many, the run is ``incomplete``. ``unchanged`` of the values were not sent, because DHIS2 has them; ``vanished``
    are acknowledged by DHIS2 and computed no longer, of which ``deletions`` are to be deleted. ``shards`` says into how
    many a run was divided. ``to_follow`` is work for other invocations, which may begin once the batches of this one
    are on the queue.
    """

    model_config = ConfigDict(frozen=True)

    status: Status
    message: str
    run_id: str | None = None
    as_of: datetime | None = None
    started_by: str | None = None
    shards: int = 0
    shard: str | None = None
    month: str | None = None
    periods: tuple[str, ...] = ()
    stores: int = 0
    items: int = 0
    values: int = 0
    batches: int = 0
    unchanged: int = 0
    vanished: int = 0
    deletions: int = 0
    unreadable_groups: int = 0
    unreadable_rows: tuple[str, ...] = Field(default=(), exclude=True)
    incomplete: bool = False
    left_out: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    see_the_log: str | None = None
    mapped: MappedNames | None = None
    to_follow: tuple[Shard, ...] = Field(default=(), exclude=True)


@dataclass(frozen=True, slots=True)
class Division:
    """How a run may be divided among several invocations.

    Attributes
    ----------
    lines
        About so many lines of mSupply are worked by one; 1 at least.
    planned_by
        The request id of the invocation that plans.
    """

    lines: int
    planned_by: str


def month_steps_of_run(
    event: ComputeEvent,
    rows: Sequence[tuple[DataElementRow, Basis]],
    *,
    settings: Settings,
    as_of: datetime,
    calendar: Calendar,
) -> tuple[MonthStep, ...]:
    """Return the steps of a run, in the order in which they are done; there is at least one.

    A monthly run does its own first, so that a fault in an earlier month does not keep it from being sent.

    Raises
    ------
    EventError
        The event asks for a month that is not over.
    """
    if event.months is not None:
        return month_steps_of_range(event.months, as_of, calendar, settings.period)
    own = MonthStep(as_of=as_of)
    if event.interval is not Interval.MONTHLY or not rows_of_past(rows):
        return (own,)
    return (own, *restated_month_steps(settings.restate_months, as_of, calendar, settings.period))


def compute(  # noqa: PLR0913 - here the job meets all that surrounds it
    event: ComputeEvent,
    *,
    settings: Settings,
    as_of: datetime,
    calendar: Calendar,
    open_database: OpenDatabase,
    send: Callable[[Batch], None],
    track: Track = lambda org_units, _: org_units,
    division: Division | None = None,
    compare: Compare | None = None,
    claim: ClaimValues | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> ComputeResult:
    """Do what an event asks for.

    Parameters
    ----------
    as_of
        The instant of the run, aware: ``events.instant_of_run``.
    open_database
        Opens one consistent, read-only snapshot of mSupply's database.
    send
        Takes each batch as soon as it is made.
    track
        Wraps the stream of org units of each step, with their number, to show progress.
    division
        Where it is given, this invocation does no more than the first step, and that only where the org units are
        one shard; all else is in the result's ``to_follow``. Where not, it does everything.
    compare
        Where it may be that only what changed is sent.
    claim
        Is given values before they are sent, so that nothing older replaces them in DHIS2.
    clock
        Tells when the database is read.

    Raises
    ------
    SettingsError, EventError, SourceError
        Nothing that a user can be told about leaves as anything else.
    """
    name = run_id(event, as_of)
    about = ComputeResult(
        status=Status.SENT, message="", run_id=name, as_of=as_of, started_by=event.started_by
    )
    if not settings.use_dhis2 and not event.dry_run:
        return _off(about)
    settings.require_complete()
    asked = rows_asked_for(event, settings)
    rows = rows_of_past(asked) if event.months else asked
    if not rows:
        return _nothing_to_do(about, event, asked)
    steps = month_steps_of_run(event, rows, settings=settings, as_of=as_of, calendar=calendar)

    with open_database() as source:
        read_at = clock()
        run_plan = make_run_plan(event, rows, settings=settings, source=source)
        about = about.model_copy(
            update={
                "left_out": run_plan.left_out,
                "warnings": (*run_plan.warnings, *_rows_without_months(asked, rows)),
            }
        )
        if not (rows := run_plan.computable(rows)):
            return _nothing_to_compute(about)
        rest: Shard | None = None
        if division is not None:
            shards = _shards(event, run_plan.scope, steps, division, run_id=name, source=source)
            if len(shards) > 1:
                return _planned(about, shards, steps)
            rest, steps = shards[0].rest, steps[:1]
        work = _Work(event, name, rows, settings, calendar, read_at, send, track, compare, claim)
        done = [work.do(step, run_plan, source) for step in steps]
    result = _all_of(about, event, done)
    if rest is None:
        return result
    return result.model_copy(update={"to_follow": (rest,), "message": f"{result.message} {_follows(rest)}"})


def compute_shard(  # noqa: PLR0913 - as compute
    shard: Shard,
    *,
    settings: Settings,
    calendar: Calendar,
    open_database: OpenDatabase,
    send: Callable[[Batch], None],
    compare: Compare | None = None,
    claim: ClaimValues | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> ComputeResult:
    """Do the next step of a shard; with the parameters of ``compute``.

    What is left out, and what there is to note about stores, items and settings, has been told by the invocation that
    planned. Org units that are mapped no longer are told here.

    Raises
    ------
    SettingsError, SourceError
        As ``compute`` does.
    """
    event, step = shard.event, shard.step
    about = ComputeResult(
        status=Status.SENT,
        message="",
        run_id=shard.run_id,
        as_of=step.as_of,
        started_by=event.started_by,
        shard=f"{shard.number} of {shard.of}",
        month=step.month,
    )
    if not settings.use_dhis2 and not event.dry_run:
        return _off(about)
    settings.require_complete()
    asked = rows_asked_for(event, settings)
    rows = rows_of_past(asked) if step.month else asked
    if not rows:
        # The settings were changed since.
        return _nothing_to_do(about, event, asked)
    with open_database() as source:
        read_at = clock()
        run_plan = make_run_plan(event, rows, settings=settings, source=source, only=shard.org_units)
        if not (rows := run_plan.computable(rows)):
            return _nothing_to_compute(about)
        mapped = {org_unit.code for org_unit in run_plan.scope.org_units}
        gone = [code for code in shard.org_units if code not in mapped]
        work = _Work(
            event,
            shard.run_id,
            rows,
            settings,
            calendar,
            read_at,
            send,
            track=lambda org_units, _: org_units,
            compare=compare,
            claim=claim,
            # What is mapped no longer is in no shard: one of them looks after it.
            minds_unmapped=shard.number == 1,
        )
        done = work.do(step, run_plan, source)
    if gone:
        about = about.model_copy(
            update={"warnings": (f"No longer mapped in mSupply, and not sent: org units {', '.join(gone)}.",)}
        )
    result = _all_of(about, event, [done])
    if shard.rest is None:
        return result
    return result.model_copy(
        update={"to_follow": (shard.rest,), "message": f"{result.message} {_follows(shard.rest)}"}
    )


@dataclass(frozen=True, slots=True)
class _Done:
    """What a step came to."""

    step: MonthStep
    periods: frozenset[str]
    tally: Tally
    outgoing: Publisher
    data_warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Work:
    """What the steps of a run have in common."""

    event: ComputeEvent
    run_id: str
    rows: tuple[tuple[DataElementRow, Basis], ...]
    settings: Settings
    calendar: Calendar
    read_at: datetime
    send: Callable[[Batch], None]
    track: Track
    compare: Compare | None
    claim: ClaimValues | None
    minds_unmapped: bool = True

    def do(self, step: MonthStep, run_plan: RunPlan, source: Source) -> _Done:
        """Put the values of a step on the queue."""
        rows = rows_of_past(self.rows) if step.month else self.rows
        tally = Tally()
        plan = make_plan(run_plan, rows, settings=self.settings, as_of=step.as_of, calendar=self.calendar)
        org_units = self.track(values_of_org_units(source, plan, tally), len(plan.scope.org_units))
        outgoing = publish(
            org_units,
            run_id=self.run_id,
            as_of=step.as_of,
            settings=self.settings,
            metrics=len(rows),
            send=None if self.event.dry_run else self.send,
            age=Age(self.read_at, {row.metric: plan.windows[basis].snapshot for row, basis in rows}),
            claim=self.claim,
            changes=None
            if self.compare is None
            else self.compare(self._coverage(rows, plan, run_plan), self._wish),
        )
        periods = frozenset(plan.windows[basis].period for _, basis in rows)
        return _Done(step, periods, tally, outgoing, source.warnings())

    @property
    def _wish(self) -> DeltaOptions:
        return DeltaOptions(full=self.event.full, confirm_deletions=self.event.confirm_deletions)

    def _coverage(
        self, rows: Sequence[tuple[DataElementRow, Basis]], plan: Plan, run_plan: RunPlan
    ) -> RunScope:
        periods: defaultdict[Metric, set[str]] = defaultdict(set)
        for row, basis in rows:
            periods[row.metric].add(plan.windows[basis].period)
        is_limited = self.event.stores is not None or not self.minds_unmapped
        return RunScope(
            periods={metric: frozenset(labels) for metric, labels in periods.items()},
            org_units=frozenset(org_unit.code for org_unit in run_plan.scope.org_units),
            mapped=None if is_limited else run_plan.mapped,
            all_items=self.event.items is None,
        )


def _all_of(about: ComputeResult, event: ComputeEvent, done: Sequence[_Done]) -> ComputeResult:
    """Return what the steps came to, all together."""
    stores = set[str]().union(*(each.tally.stores for each in done))
    items = set[str]().union(*(each.tally.items for each in done))
    values = sum(each.tally.values for each in done)
    batches = sum(each.outgoing.batches for each in done)
    unreadable_groups = sum(each.tally.unreadable_groups for each in done)
    incomplete = ONE_IN * unreadable_groups > sum(each.tally.groups for each in done)
    # The same rows in each step.
    unreadable_rows = dict.fromkeys(row for each in done for row in each.tally.unreadable_rows)
    conflicts, data_warnings = list[str](), list[str]()
    for each in done:
        # Two months may be odd in different ways.
        prefix = f"{each.step.month}: " if len(done) > 1 and each.step.month else ""
        conflicts += (
            f"{prefix}{conflict.sentence(number)}" for conflict, number in each.tally.conflicts.items()
        )
        data_warnings += (
            f"{prefix}{sentence}"
            for sentence in (*each.data_warnings, *_sentences(each.tally.warnings), *each.outgoing.sentences)
        )
    return about.model_copy(
        update={
            "status": Status.DRY_RUN if event.dry_run else Status.SENT,
            "message": _summary(event, stores=len(stores), items=len(items), values=values, done=done),
            "month": done[0].step.month if len(done) == 1 else None,
            "periods": tuple(sorted(frozenset().union(*(each.periods for each in done)))),
            "stores": len(stores),
            "items": len(items),
            "values": values,
            "batches": batches,
            "unchanged": sum(each.outgoing.unchanged for each in done),
            "vanished": sum(each.outgoing.vanished for each in done),
            "deletions": sum(each.outgoing.deletions for each in done),
            "unreadable_groups": unreadable_groups,
            "unreadable_rows": tuple(unreadable_rows),
            "incomplete": incomplete,
            "left_out": (*about.left_out, *conflicts, *unreadable_rows),
            "warnings": (
                *about.warnings,
                *_about_unreadable(unreadable_groups, len(unreadable_rows), incomplete=incomplete),
                *data_warnings,
            ),
        }
    )


def _about_unreadable(groups: int, rows: int, *, incomplete: bool) -> Iterator[str]:
    """Yield what rows that cannot be read cost, and what to do."""
    if not groups:
        return
    named = f"the first {rows:,} of these rows" if rows == MOST_ROWS_NAMED else "these rows"
    too_many = "That is more than one in {ONE_IN}, so the run ends incomplete. " if incomplete else ""
    yield (
        f"{_unreadable(groups)} {too_many}What DHIS2 has of them stays. What is left out names {named}: ask whoever looks "
        "after mSupply to correct them, and invoke compute again."
    )


def _unreadable(groups: int) -> str:
    return (
        f"{count(groups, 'group')} (all values of an item in an org unit) {'is' if groups == 1 else 'are'} left out, "
        "because rows of mSupply's database cannot be read."
    )


def _shards(
    event: ComputeEvent,
    scope: Scope,
    steps: tuple[MonthStep, ...],
    division: Division,
    *,
    run_id: str,
    source: Source,
) -> tuple[Shard, ...]:
    """Divide the org units of a run, of which there is at least one."""
    lines = source.lines([store for org_unit in scope.org_units for store in org_unit.stores])
    divided = divide(scope.org_units, lines, division.lines)
    return tuple(
        Shard(
            version=1,
            run_id=run_id,
            planned_by=division.planned_by,
            event=event,
            number=number,
            of=len(divided),
            lines=lines_of(org_units, lines),
            org_units=tuple(org_unit.code for org_unit in org_units),
            steps=steps,
        )
        for number, org_units in enumerate(divided, start=1)
    )


def _planned(about: ComputeResult, shards: tuple[Shard, ...], steps: Sequence[MonthStep]) -> ComputeResult:
    lines = [shard.lines for shard in shards]
    org_units = sum(len(shard.org_units) for shard in shards)
    message = (
        f"Planned {count(len(shards), 'shard')} of {min(lines):,} to {max(lines):,} lines each, for "
        f"{count(org_units, 'org unit')} with {count(sum(lines), 'line')}: each is computed by an invocation of its own."
    )
    if len(steps) > 1:
        message += f" Each does {count(len(steps), 'step')}, one after the other: {_named(steps)}."
    return about.model_copy(
        update={"status": Status.PLANNED, "message": message, "shards": len(shards), "to_follow": shards}
    )


def _follows(rest: Shard) -> str:
    return f"To follow, by way of the queue: {_named(rest.steps)}."


def _named(steps: Sequence[MonthStep]) -> str:
    return ", ".join(step.month or "the run's own" for step in steps)


def _off(about: ComputeResult) -> ComputeResult:
    return about.model_copy(
        update={
            "status": Status.OFF,
            "message": "Use DHIS2 is off in the settings: nothing was computed or sent. To send, write use_dhis2: true there "
            "(make settings); a dry run computes without it.",
        }
    )


def _nothing_to_do(
    about: ComputeResult, event: ComputeEvent, asked: Sequence[tuple[DataElementRow, Basis]]
) -> ComputeResult:
    return about.model_copy(
        update={
            "status": Status.NOTHING_TO_DO,
            "message": " ".join(_rows_without_months(asked, ())) if asked else _why_no_row(event),
        }
    )


def _nothing_to_compute(about: ComputeResult) -> ComputeResult:
    return about.model_copy(
        update={
            "status": Status.NOTHING_TO_DO,
            "message": "mSupply's database lacks what all the metrics of this run take; the log names what it is.",
        }
    )


def _why_no_row(event: ComputeEvent) -> str:
    limits = []
    if event.interval:
        limits.append(f"with the interval '{event.interval.value}'")
    if event.metrics:
        limits.append(f"for {', '.join(metric.label for metric in event.metrics)}")
    return (
        f"No active row of 'Data elements to push' {' '.join(limits)}: nothing to compute. "
        "To send it, tick Active and choose the interval in the settings."
    )


def _rows_without_months(
    asked: Sequence[tuple[DataElementRow, Basis]], rows: Sequence[tuple[DataElementRow, Basis]]
) -> Iterator[str]:
    """Yield which rows a range of months leaves out."""
    if left_out := [row.metric.label for row, basis in asked if (row, basis) not in rows]:
        yield (
            f"Not sent for months that are over, because of their basis 'current day': {', '.join(left_out)}. To "
            'send them too, with the values of each month\'s end, add "basis": "previous_month" to the event.'
        )


def _summary(event: ComputeEvent, *, stores: int, items: int, values: int, done: Sequence[_Done]) -> str:
    batches = sum(each.outgoing.batches for each in done)
    unchanged = sum(each.outgoing.unchanged for each in done)
    deletions = sum(each.outgoing.deletions for each in done)
    counts = (
        f"{count(values, 'value')} of {count(stores, 'store')} and "
        f"{count(items, 'item')} in {count(batches, 'batch', 'batches')}"
    )
    if any(each.step.month for each in done):
        counts = f"{_named([each.step for each in done])}: {counts}"
    unreadable = sum(each.tally.unreadable_groups for each in done)
    left_out = f" {_unreadable(unreadable)}" if unreadable else ""
    if event.dry_run:
        return f"Dry run: {counts}. Nothing was sent.{left_out}"
    sentence = f"{counts}, on the way to DHIS2." if batches else f"{counts}: nothing to send to DHIS2."
    if unchanged:
        sentence += f" Of the values {unchanged:,} are not sent: DHIS2 has them as they are."
    if deletions:
        sentence += f" {count(deletions, 'value')} to be deleted there."
    return f"{sentence}{left_out}"


def _sentences(warnings: Counter[StockWarning]) -> Iterator[str]:
    for warning, number in sorted(warnings.items()):
        yield f"{warning.meaning}: {number:,}."


def check_database(
    open_database: OpenDatabase, settings: Settings | None, verification: Verification
) -> ComputeResult:
    """Open mSupply's database and see which stores and items are mapped; the connection test asks for it.

    Parameters
    ----------
    settings
        ``None`` where they cannot be read: then only that the database answers is seen.
    verification
        How its server is verified, which is told too.

    Raises
    ------
    SourceError
        As ``compute`` would.
    """
    with open_database() as source:
        if settings is None or not settings.item_fields:
            return ComputeResult(
                status=Status.DATABASE_REACHED,
                message=f"mSupply's database answers. {verification}{' ' if verification else ''}Which stores and items are mapped will be seen when "
                "the settings are complete.",
            )
        mapped = read_mapped(source, settings, settings.active_rows)
    stores = sum(len(org_unit.stores) for org_unit in mapped.org_units)
    items = sum(len(group.items) for group in mapped.item_groups)
    return ComputeResult(
        status=Status.DATABASE_REACHED,
        message=f"mSupply's database answers; mapped there: {count(stores, 'store')} and {count(items, 'item')}."
        f" {verification}".rstrip(),
        stores=stores,
        items=items,
        mapped=mapped_names(mapped.org_units, mapped.item_groups, mapped.left_out, settings),
    )

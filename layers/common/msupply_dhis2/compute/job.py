"""Compute: from mSupply's database to batches of data values on the queue.

The job, in the order in which it happens: which rows of the settings are asked for → which steps there are (the run's
own values, earlier months) → which org units and items are mapped → into how many shards the run is divided → for each
step what time means → each group's history → its metrics → data values → batches. A run that is not divided is a run of
one shard.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime

from msupply_dhis2.compute import result
from msupply_dhis2.compute.backfill import MonthStep, month_steps_before, month_steps_of_range, rows_of_past
from msupply_dhis2.compute.event import rows_asked_for
from msupply_dhis2.compute.plan import RunPlan, make_run_plan
from msupply_dhis2.compute.publish import ClaimValues, OrgUnitValues, Publisher
from msupply_dhis2.compute.result import ComputeResult, Rows, Status, StepResult
from msupply_dhis2.compute.sharding import Shard, divide
from msupply_dhis2.compute.values import Tally, values_of_org_units
from msupply_dhis2.domain.batch import Age, Batch
from msupply_dhis2.mapping import Mapper
from msupply_dhis2.periods import Calendar, Interval
from msupply_dhis2.settings import Settings
from msupply_dhis2.source import Source
from msupply_dhis2.state.delta.filter import DeltaFilter, RunScope
from msupply_dhis2.text import listed

type OpenDatabase = Callable[[], AbstractContextManager[Source]]
"""Opens one consistent, read-only snapshot of mSupply's database."""

type Compare = Callable[[RunScope], DeltaFilter | None]
"""Returns what knows which values of a run DHIS2 has; ``None``: all are to be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeJob:
    """The job, and what surrounds it.

    ``send`` takes each batch as soon as it is made; not in a dry run or an export. ``watch`` is shown the values of each
    org unit, and of how many org units. About ``lines_per_invocation`` ledger lines are worked by one invocation, and no
    more than one step: all else is in the result's ``to_follow``; ``None``: everything is done here.
    """

    settings: Settings
    calendar: Calendar
    open_database: OpenDatabase
    send: Callable[[Batch], None] | None = None
    lines_per_invocation: int | None = None
    compare: Compare | None = None
    claim: ClaimValues | None = None
    watch: Callable[[OrgUnitValues, int], None] | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def run(self, shard: Shard) -> ComputeResult:
        """Compute a whole run, or a shard of one.

        Raises
        ------
        SettingsError, EventError, SourceError
            Nothing that a user can be told about leaves as anything else.
        """
        event, about = shard.event, result.of(shard)
        if event.sends and not self.settings.use_dhis2:
            return result.off(about)
        self.settings.require_complete()
        asked = rows_asked_for(event, self.settings)
        rows = rows_of_past(asked) if event.months or shard.step.month else asked
        if not rows:
            # Of a shard: the settings were changed since.
            return result.no_row(about, event, asked)
        if shard.is_whole_run:
            shard = shard.model_copy(update={"steps": self._steps(shard, rows)})
        with self.open_database() as source:
            read_at = self.clock()
            plan = make_run_plan(event, rows, settings=self.settings, source=source, only=shard.org_units)
            about = about.ended(Status.SENT, "", **_told(plan, shard, asked, rows))
            rows = tuple((row, basis) for row, basis in rows if row.metric not in plan.missing_metrics)
            if not rows:
                return about.ended(
                    Status.NOTHING_TO_DO,
                    "mSupply's database lacks what all metrics of this run need. The log names it.",
                )
            if shard.is_whole_run and self.lines_per_invocation is not None:
                # At least one org unit, so at least one shard.
                org_units = plan.scope.org_units
                lines = source.lines([store for org_unit in org_units for store in org_unit.stores])
                shard, *others = shard.divided(divide(org_units, lines, self.lines_per_invocation), lines)
                if others:
                    return result.planned(about, [shard, *others])
            steps, rest = shard.steps, None
            if self.lines_per_invocation is not None:
                steps, rest = shard.steps[:1], shard.rest
            done = [self._compute_step(step, shard, plan, rows, source, read_at) for step in steps]
        return result.computed(about, event, done, rest)

    def _steps(self, shard: Shard, rows: Rows) -> tuple[MonthStep, ...]:
        """Return the steps of a run in their order, at least one.

        A monthly run does its own first, so that a fault in an earlier month does not keep it from being sent.
        """
        event, as_of, period = shard.event, shard.step.as_of, self.settings.period
        if event.months is not None:
            return month_steps_of_range(event.months, as_of, self.calendar, period)
        if event.interval is not Interval.MONTHLY or not rows_of_past(rows):
            return shard.steps
        restated = month_steps_before(self.settings.restate_months, as_of, self.calendar, period)
        return (shard.step, *restated)

    def _compute_step(
        self, step: MonthStep, shard: Shard, plan: RunPlan, rows: Rows, source: Source, read_at: datetime
    ) -> StepResult:
        """Put the values of a step on the queue."""
        event = shard.event
        rows = rows_of_past(rows) if step.month else rows
        mapper = Mapper.at(step.as_of, self.calendar, self.settings, rows)
        publisher = Publisher(
            run_id=shard.run_id,
            as_of=step.as_of,
            settings=self.settings,
            metrics=len(rows),
            send=self.send if event.sends else None,
            age=Age(read_at, {row.metric: mapper.windows[basis].snapshot for row, basis in rows}),
            delta=self.compare and self.compare(_scope_of(plan, mapper, shard)),
            claim=self.claim,
        )
        tally = Tally()
        for values in values_of_org_units(source, plan, mapper, tally):
            if self.watch is not None:
                self.watch(values, len(plan.scope.org_units))
            publisher.add(values)
        publisher.flush()
        return StepResult(step, mapper.periods, tally, publisher, source.warnings())


def _told(plan: RunPlan, shard: Shard, asked: Rows, rows: Rows) -> dict[str, tuple[str, ...]]:
    """Return what is to be told: of a run about stores, items and settings, of a shard what is mapped no longer."""
    if shard.org_units is None:
        warnings = (*plan.warnings, *result.without_months(asked, rows))
        return {"skipped": plan.skipped, "warnings": warnings}
    gone = [code for code in shard.org_units if code not in plan.mapped]
    if not gone:
        return {}
    return {"warnings": (f"No longer mapped in mSupply, and not sent: org units {listed(gone)}.",)}


def _scope_of(plan: RunPlan, mapper: Mapper, shard: Shard) -> RunScope:
    periods = [(row.metric, mapper.windows[basis].period) for row, basis in mapper.rows]
    # What is mapped no longer is in no shard: the first of them looks after it.
    is_limited = shard.event.stores is not None or shard.number > 1
    return RunScope(
        periods={
            metric: frozenset(period for other, period in periods if other is metric) for metric, _ in periods
        },
        org_units=frozenset(org_unit.code for org_unit in plan.scope.org_units),
        mapped=None if is_limited else plan.mapped,
        all_items=shard.event.items is None,
        full=shard.event.full,
        confirm_deletions=shard.event.confirm_deletions,
    )

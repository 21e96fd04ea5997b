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
from functools import partial

from msupply_dhis2.compute import result
from msupply_dhis2.compute.event import (
    MonthStep,
    month_steps_before,
    month_steps_of_range,
    rows_asked_for,
    rows_of_past,
)
from msupply_dhis2.compute.plan import RunPlan, make_run_plan, read_mapped
from msupply_dhis2.compute.result import ComputeResult, Status
from msupply_dhis2.compute.sharding import Shard, divide
from msupply_dhis2.compute.values import (
    OrgUnitValues,
    Publisher,
    Tally,
    groups_of,
    values_of_org_units,
)
from msupply_dhis2.domain.batch import Age, Batch
from msupply_dhis2.mapping import Mapper, Rows
from msupply_dhis2.periods import Calendar, Interval
from msupply_dhis2.settings import Settings
from msupply_dhis2.source.base import Source
from msupply_dhis2.source.customers import customers_of
from msupply_dhis2.state.delta.filter import DeltaFilter, RunScope
from msupply_dhis2.state.ordering.claims import OrderingTable, revisions_of

type OpenDatabase = Callable[[], AbstractContextManager[Source]]
"""Opens one consistent, read-only snapshot of mSupply's database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeJob:
    """The job, and what surrounds it.

    ``send`` takes each batch as soon as it is made; not in a dry run or an export. ``watch`` is shown the values of each
    org unit, and of how many org units. About ``lines_per_invocation`` ledger lines are worked by one invocation, and no
    more than one step: all else is in the result's ``to_follow``; ``None``: everything is done here. ``compare`` returns what
    knows which values of a run DHIS2 has; ``None``: all are to be sent.
    """

    settings: Settings
    calendar: Calendar
    open_database: OpenDatabase
    send: Callable[[Batch], None] | None = None
    lines_per_invocation: int | None = None
    compare: Callable[[RunScope], DeltaFilter | None] | None = None
    ordering: OrderingTable | None = None
    watch: Callable[[OrgUnitValues, int], None] | None = None

    def run(self, shard: Shard) -> ComputeResult:
        """Compute a whole run, or a shard of one; what a user can be told about leaves as an error of theirs only."""
        event, about = shard.event, result.of(shard)
        if event.is_off(self.settings):
            return about.ended(Status.OFF)
        self.settings.require_complete()
        asked = rows_asked_for(event, self.settings)
        rows = rows_of_past(asked) if event.months or shard.step.month else asked
        if not rows:
            # Of a shard: the settings were changed since.
            return result.nothing_to_do(about, event, asked)
        if shard.is_whole_run:
            shard = shard.model_copy(update={"steps": self._steps(shard, rows)})
        with self.open_database() as source:
            read_at = datetime.now(UTC)
            mapped = read_mapped(source, self.settings, [row for row, _ in rows])
            plan = make_run_plan(event, self.settings, mapped, shard.org_units)
            left_out = result.without_months(asked, rows)
            about = result.about_mapped(about, mapped, self.settings, shard, left_out)
            rows = [each for each in rows if each[0].metric not in mapped.catalogue.missing_metrics]
            if not rows:
                return about.ended(Status.NOTHING_TO_DO)
            shard, *others = self._divided(shard, plan, rows, source)
            if others:
                return result.planned(about, [shard, *others])
            steps = shard.steps if self.lines_per_invocation is None else shard.steps[:1]
            tally = Tally()
            for step in steps:
                its_rows = rows_of_past(rows) if step.month else rows
                mapper = Mapper.at(step.as_of, self.calendar, self.settings, its_rows)
                publisher = self._publisher(step, shard, plan, mapper, read_at)
                for values in values_of_org_units(groups_of(source, plan, mapper), plan, mapper, tally):
                    if self.watch is not None:
                        self.watch(values, len(plan.org_units))
                    publisher.add(values)
                publisher.flush()
                prefix = f"{step.month}: " if len(steps) > 1 and step.month else ""
                tally.end_step(publisher, source.warnings(), prefix)
        return result.computed(about, shard, steps, tally)

    def _divided(self, shard: Shard, plan: RunPlan, rows: Rows, source: Source) -> list[Shard]:
        """Return the shards of a run, at least one, because it has at least one org unit; a shard stays as it is."""
        if self.lines_per_invocation is None or not shard.is_whole_run:
            return [shard]
        lines = source.lines(plan.scope.stores)
        if customers := plan.customers.stores:
            windows = Mapper.at(shard.step.as_of, self.calendar, self.settings, rows).windows
            lines = {**lines, **customers_of(source).lines(customers, windows)}
        return shard.divided(divide(plan.org_units, lines, self.lines_per_invocation), lines)

    def _steps(self, shard: Shard, rows: Rows) -> tuple[MonthStep, ...]:
        """Return the steps of a run in their order, at least one.

        A monthly run does its own first, so that a fault in an earlier month does not keep it from being sent.
        """
        event, as_of, period = shard.event, shard.step.as_of, self.settings.period
        if event.months is not None:
            return month_steps_of_range(event.months, as_of, self.calendar, period)
        if event.interval is not Interval.MONTHLY or not rows_of_past(rows):
            return shard.steps
        return (*shard.steps, *month_steps_before(self.settings.restate_months, as_of, self.calendar, period))

    def _publisher(
        self, step: MonthStep, shard: Shard, plan: RunPlan, mapper: Mapper, read_at: datetime
    ) -> Publisher:
        """Return what puts the values of a step on the queue."""
        event, claim = shard.event, None
        age = Age(read_at, {row.metric: mapper.windows[basis].snapshot for row, basis in mapper.rows})
        if self.ordering is not None and event.sends:
            claim = partial(
                self.ordering.claim,
                revisions=revisions_of(age.snapshots, read_at),
                data_element_scheme=self.settings.data_element_id_scheme,
                run_id=shard.run_id,
            )
        return Publisher(
            run_id=shard.run_id,
            as_of=step.as_of,
            settings=self.settings,
            metrics=len(mapper.rows),
            send=self.send if event.sends else None,
            age=age,
            delta=self.compare and self.compare(_scope_of(plan, mapper, shard)),
            claim=claim,
            while_off=event.while_off,
        )


def _scope_of(plan: RunPlan, mapper: Mapper, shard: Shard) -> RunScope:
    event = shard.event
    periods = {(row.metric, mapper.windows[basis].period) for row, basis in mapper.rows}
    # What is mapped no longer is in no shard: the first of them looks after it.
    is_limited = event.stores is not None or shard.number > 1
    return RunScope(
        periods={metric: frozenset(each for its, each in periods if its is metric) for metric, _ in periods},
        org_units=frozenset(org_unit.code for org_unit in plan.org_units),
        mapped=None if is_limited else plan.mapped.codes,
        all_items=event.items is None,
        full=event.full,
        confirm_deletions=event.confirm_deletions,
    )

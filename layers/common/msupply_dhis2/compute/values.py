"""The data values of a step of a run, org unit by org unit."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby

from msupply_dhis2.compute.plan import RunPlan
from msupply_dhis2.compute.publish import OrgUnitValues
from msupply_dhis2.domain.data_value import DataValue, Identifier
from msupply_dhis2.domain.stock import GroupHistory, ItemGroup
from msupply_dhis2.mapping import Claimant, Collision, Mapper, without_collisions
from msupply_dhis2.metrics import GroupValues, Metric, Rules, StockWarning, calculate, floor
from msupply_dhis2.periods import Basis, Calendar, Window, window
from msupply_dhis2.settings import DataElementRow, Settings
from msupply_dhis2.source import Scope, Source

MOST_ROWS_NAMED = 10_000
"""How many rows that cannot be read a step names: a table that is damaged as a whole must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a step of a run will compute."""

    scope: Scope
    windows: dict[Basis, Window]
    metrics: dict[Basis, frozenset[Metric]]
    rules: Rules
    mapper: Mapper
    collisions: Mapping[Identifier, tuple[Claimant, ...]]
    floor: datetime

    @property
    def first_snapshot(self) -> datetime:
        """The earliest instant that stock lines are looked at."""
        return min(window_of_basis.snapshot for window_of_basis in self.windows.values())


@dataclass(slots=True)
class Tally:
    """What a run meets on its way.

    Attributes
    ----------
    stores, items
        Those with at least one value, by id.
    groups, unreadable_groups
        How many pairs of an org unit and an item reference there were, and how many of them were left out, because a
        row that counts for them cannot be read.
    unreadable_rows
        Sentences about these rows, the first ``MOST_ROWS_NAMED``.
    """

    stores: set[str] = field(default_factory=set)
    items: set[str] = field(default_factory=set)
    values: int = 0
    warnings: Counter[StockWarning] = field(default_factory=Counter)
    conflicts: Counter[Collision] = field(default_factory=Counter)
    groups: int = 0
    unreadable_groups: int = 0
    unreadable_rows: list[str] = field(default_factory=list)


def make_plan(
    run_plan: RunPlan,
    rows: Sequence[tuple[DataElementRow, Basis]],
    *,
    settings: Settings,
    as_of: datetime,
    calendar: Calendar,
) -> Plan:
    """Work out what time means for a step, and what will be computed for it."""
    windows = {
        basis: window(basis, as_of, calendar, settings.period)
        for basis in dict.fromkeys(basis for _, basis in rows)
    }
    stores = [store for org_unit in run_plan.scope.org_units for store in org_unit.stores]
    return Plan(
        scope=run_plan.scope,
        windows=windows,
        metrics={
            basis: frozenset(row.metric for row, basis_of_row in rows if basis_of_row is basis)
            for basis in windows
        },
        rules=run_plan.rules,
        mapper=Mapper(settings, tuple(rows), windows),
        collisions=run_plan.collisions,
        floor=floor(windows.values(), stores, run_plan.rules),
    )


def values_of_org_units(source: Source, plan: Plan, tally: Tally) -> Iterator[OrgUnitValues]:
    """Stream the data values, one org unit after the other, and count what is met on the way."""
    histories = source.histories(plan.scope, plan.floor)
    first_snapshot = plan.first_snapshot
    for org_unit, groups in groupby(histories, key=lambda history: history.org_unit):
        computed: list[DataValue] = []
        about: list[tuple[set[str], set[str], list[DataValue]]] = []
        present: list[ItemGroup] = []
        unreadable: set[Identifier] = set()
        for history in groups:
            tally.groups += 1
            present.append(history.item_group)
            if history.unreadable and (rows := _rows_that_count(history, first_snapshot)):
                tally.unreadable_groups += 1
                tally.unreadable_rows += rows[: MOST_ROWS_NAMED - len(tally.unreadable_rows)]
                unreadable |= plan.mapper.identifiers(history.item_group)
                continue
            values = list(_values_of_group(history, plan, tally))
            computed.extend(values)
            about.append(
                (
                    {pair.store.id for pair in history.pairs},
                    {pair.item.id for pair in history.pairs},
                    values,
                )
            )
        kept, conflicts = without_collisions(computed, present, plan.collisions)
        refused = {conflict.identifier for conflict in conflicts}
        for stores, items, values in about:
            if any(value.identifier not in refused for value in values):
                tally.stores |= stores
                tally.items |= items
        tally.values += len(kept)
        tally.conflicts.update(conflicts)
        yield OrgUnitValues(org_unit, kept, frozenset(refused | unreadable))


def _rows_that_count(history: GroupHistory, snapshot: datetime) -> list[str]:
    """Name the unreadable rows of a group, but for those that count for earlier stock only."""
    return [str(row) for row in history.unreadable if row.until is None or row.until >= snapshot]


def _values_of_group(history: GroupHistory, plan: Plan, tally: Tally) -> Iterator[DataValue]:
    values: dict[Basis, GroupValues] = {}
    for basis, window_of_basis in plan.windows.items():
        values[basis] = calculate(history, window_of_basis, plan.rules, plan.metrics[basis])
        tally.warnings.update(values[basis].warnings)
    return plan.mapper.data_values(history, values)

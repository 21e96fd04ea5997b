"""The data values of a step of a run, org unit by org unit."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby

from msupply_dhis2.mapping import Claim, Conflict, DataValue, Identifier, Mapper, without_conflicts
from msupply_dhis2.metrics import GroupValues, Metric, Rules, StockWarning, calculate, floor
from msupply_dhis2.outgoing import OrgUnitValues
from msupply_dhis2.periods import Basis, Calendar, Window, window
from msupply_dhis2.settings import DataElementRow, Settings
from msupply_dhis2.source import Scope, Source
from msupply_dhis2.stock import GroupHistory, ItemGroup
from msupply_dhis2.survey import Survey


@dataclass(frozen=True, slots=True)
class Plan:
    """What a step of a run will compute."""

    scope: Scope
    windows: dict[Basis, Window]
    metrics: dict[Basis, frozenset[Metric]]
    rules: Rules
    mapper: Mapper
    contested: Mapping[Identifier, tuple[Claim, ...]]
    floor: datetime


@dataclass(slots=True)
class Tally:
    """What a run meets on its way."""

    stores: set[str] = field(default_factory=set)
    items: set[str] = field(default_factory=set)
    values: int = 0
    warnings: Counter[StockWarning] = field(default_factory=Counter)
    conflicts: Counter[Conflict] = field(default_factory=Counter)


def make_plan(
    survey: Survey,
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
    stores = [store for org_unit in survey.scope.org_units for store in org_unit.stores]
    return Plan(
        scope=survey.scope,
        windows=windows,
        metrics={
            basis: frozenset(row.metric for row, basis_of_row in rows if basis_of_row is basis)
            for basis in windows
        },
        rules=survey.rules,
        mapper=Mapper(settings, tuple(rows), windows),
        contested=survey.contested,
        floor=floor(windows.values(), stores, survey.rules),
    )


def values_of_org_units(source: Source, plan: Plan, tally: Tally) -> Iterator[OrgUnitValues]:
    """Stream the data values, one org unit after the other, and count what is met on the way."""
    histories = source.histories(plan.scope, plan.floor)
    for org_unit, groups in groupby(histories, key=lambda history: history.org_unit):
        computed: list[DataValue] = []
        about: list[tuple[set[str], set[str], list[DataValue]]] = []
        present: list[ItemGroup] = []
        for history in groups:
            values = list(_values_of_group(history, plan, tally))
            computed.extend(values)
            present.append(history.item_group)
            about.append(
                (
                    {pair.store.id for pair in history.pairs},
                    {pair.item.id for pair in history.pairs},
                    values,
                )
            )
        kept, conflicts = without_conflicts(computed, present, plan.contested)
        refused = {conflict.identifier for conflict in conflicts}
        for stores, items, values in about:
            if any(value.identifier not in refused for value in values):
                tally.stores |= stores
                tally.items |= items
        tally.values += len(kept)
        tally.conflicts.update(conflicts)
        yield OrgUnitValues(org_unit, kept, frozenset(refused))


def _values_of_group(history: GroupHistory, plan: Plan, tally: Tally) -> Iterator[DataValue]:
    values: dict[Basis, GroupValues] = {}
    for basis, window_of_basis in plan.windows.items():
        values[basis] = calculate(history, window_of_basis, plan.rules, plan.metrics[basis])
        tally.warnings.update(values[basis].warnings)
    return plan.mapper.data_values(history, values)

"""The data values of a step of a run, org unit by org unit."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING

from msupply_dhis2.compute.plan import RunPlan
from msupply_dhis2.compute.publish import OrgUnitValues
from msupply_dhis2.domain.stock import GroupHistory, ItemGroup
from msupply_dhis2.mapping import Collision, Mapper, without_collisions
from msupply_dhis2.metrics import StockWarning, calculate
from msupply_dhis2.source import Source

if TYPE_CHECKING:
    from msupply_dhis2.domain.data_value import DataValue, Identifier

MOST_ROWS_NAMED = 10_000
"""How many rows that cannot be read a step names: a table that is damaged as a whole must not fill the memory."""


@dataclass(slots=True)
class Tally:
    """What a step meets on its way.

    ``stores`` and ``items`` are the ids of those with at least one value. ``groups`` are pairs of an org unit and an item
    reference, of which some were skipped, because a row that counts for them cannot be read; ``unreadable_rows`` has a
    sentence about each of these rows, as far as there are no more than ``MOST_ROWS_NAMED``.
    """

    stores: set[str] = field(default_factory=set)
    items: set[str] = field(default_factory=set)
    values: int = 0
    warnings: Counter[StockWarning] = field(default_factory=Counter)
    collisions: Counter[Collision] = field(default_factory=Counter)
    groups: int = 0
    unreadable_groups: int = 0
    unreadable_rows: list[str] = field(default_factory=list)


def values_of_org_units(
    source: Source, plan: RunPlan, mapper: Mapper, tally: Tally
) -> Iterator[OrgUnitValues]:
    """Stream the data values, one org unit after the other, and count what is met on the way."""
    windows = mapper.windows
    histories = source.histories(plan.scope, plan.floor(windows.values()))
    first_snapshot = min(window.snapshot for window in windows.values())
    metrics = {
        basis: frozenset(row.metric for row, basis_of_row in mapper.rows if basis_of_row is basis)
        for basis in windows
    }
    for org_unit, groups in groupby(histories, key=lambda history: history.org_unit):
        # Of a group no more is kept than this: its history would fill the memory.
        computed: list[tuple[set[str], set[str], list[DataValue]]] = []
        present: list[ItemGroup] = []
        unreadable: set[Identifier] = set()
        for history in groups:
            tally.groups += 1
            present.append(history.item_group)
            if history.unreadable and (rows := _rows_that_count(history, first_snapshot)):
                tally.unreadable_groups += 1
                tally.unreadable_rows += rows[: MOST_ROWS_NAMED - len(tally.unreadable_rows)]
                unreadable |= mapper.identifiers(history.item_group)
                continue
            values = {
                basis: calculate(history, window, plan.rules, metrics[basis])
                for basis, window in windows.items()
            }
            for of_basis in values.values():
                tally.warnings.update(of_basis.warnings)
            stores = {pair.store.id for pair in history.pairs}
            items = {pair.item.id for pair in history.pairs}
            computed.append((stores, items, list(mapper.data_values(history, values))))
        every = [value for _, _, of_group in computed for value in of_group]
        kept, collisions = without_collisions(every, present, plan.collisions)
        refused = {collision.identifier for collision in collisions}
        for stores, items, of_group in computed:
            if any(value.identifier not in refused for value in of_group):
                tally.stores |= stores
                tally.items |= items
        tally.values += len(kept)
        tally.collisions.update(collisions)
        yield OrgUnitValues(org_unit, kept, frozenset(refused | unreadable))


def _rows_that_count(history: GroupHistory, snapshot: datetime) -> list[str]:
    """Name the unreadable rows of a group, but for those that count for earlier stock only."""
    return [str(row) for row in history.unreadable if row.until is None or row.until >= snapshot]

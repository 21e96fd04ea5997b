"""List what is mapped in mSupply's database, for the connection test."""

import json
from collections.abc import Iterable, Sequence

from msupply_dhis2.domain.mapped import MappedItem, MappedNames, MappedStore
from msupply_dhis2.domain.stock import ItemGroup, OrgUnit
from msupply_dhis2.mapping import identifier_of
from msupply_dhis2.settings import Settings

BYTES_OF_A_LIST = 2_500_000
"""Bytes of JSON that the list of stores, or of items, may have: 10,000 stores with long names have 2 MB."""

SENTENCES = 500
"""How many of the stores and items that are left out are named."""


def mapped_names(
    org_units: Iterable[OrgUnit],
    item_groups: Iterable[ItemGroup],
    left_out: Sequence[str],
    settings: Settings,
) -> MappedNames:
    """Return the stores of these org units and the items of these groups, as long as the lists fit."""
    stores = [
        MappedStore(store.name, store.code, org_unit.code)
        for org_unit in org_units
        for store in org_unit.stores
    ]
    items = [
        MappedItem(item.name, item.code, data_elements)
        for group in item_groups
        for data_elements in [_data_elements_of(group, settings)]
        for item in group.items
    ]
    listed_stores, listed_items = _count_listed(stores), _count_listed(items)
    return MappedNames(
        stores=tuple(stores[:listed_stores]),
        items=tuple(items[:listed_items]),
        more_stores=len(stores) - listed_stores,
        more_items=len(items) - listed_items,
        left_out=tuple(left_out[:SENTENCES]),
        more_left_out=max(0, len(left_out) - SENTENCES),
    )


def _data_elements_of(group: ItemGroup, settings: Settings) -> tuple[str | None, ...]:
    """Return the data element of an item group for each active row, ``None`` where it has none."""
    identifiers = (identifier_of(settings, row, group) for row in settings.active_rows)
    return tuple(identifier and identifier[0] for identifier in identifiers)


def _count_listed(entries: Sequence[MappedStore] | Sequence[MappedItem]) -> int:
    """Count how many of the entries fit into a list, each character taken for as long as JSON may write it."""
    size = 0
    for number, entry in enumerate(entries):
        size += len(json.dumps(entry)) + 1
        if size > BYTES_OF_A_LIST:
            return number
    return len(entries)

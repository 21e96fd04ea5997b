"""What mSupply's database tells the connection test: which stores and items are mapped to what of DHIS2.

Compute alone reaches the database, and Lambda carries at most 6 MB from one function to the other. So the lists
are bare tuples, and each of them ends before it gets too large.
"""

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict

from msupply_dhis2.domain.stock import ItemGroup, OrgUnit
from msupply_dhis2.mapping import identifier_of
from msupply_dhis2.settings import Settings

BYTES_OF_A_LIST = 2_500_000
"""Bytes of JSON that the list of stores, or of items, may have: 10,000 stores with long names have 2 MB."""

SENTENCES = 500
"""How many of the stores and items that are left out are named."""


class MappedStore(NamedTuple):
    """A store that is sent, and the identifier of its org unit in the org unit scheme."""

    name: str
    code: str
    org_unit: str


class MappedItem(NamedTuple):
    """An item that is sent.

    ``data_elements`` are the identifiers of its data elements in the data element ID scheme, prefix included: one
    for each active row of the settings, in their order; ``None`` where the item has none for the row.
    """

    name: str
    code: str
    data_elements: tuple[str | None, ...]


class MappedNames(BaseModel):
    """The stores and items that are mapped.

    Attributes
    ----------
    more_stores, more_items
        How many there are beyond those that are listed.
    left_out
        Sentences: stores and items that are mapped, but cannot be sent.
    more_left_out
        How many such sentences there are beyond those.
    """

    model_config = ConfigDict(frozen=True)

    stores: tuple[MappedStore, ...] = ()
    items: tuple[MappedItem, ...] = ()
    more_stores: int = 0
    more_items: int = 0
    left_out: tuple[str, ...] = ()
    more_left_out: int = 0

    @classmethod
    def of(
        cls,
        org_units: Iterable[OrgUnit],
        item_groups: Iterable[ItemGroup],
        left_out: Sequence[str],
        settings: Settings,
    ) -> Self:
        """List the stores of these org units and the items of these groups, as long as the lists fit."""
        stores = [
            MappedStore(store.name, store.code, org_unit.code)
            for org_unit in org_units
            for store in org_unit.stores
        ]
        items = [
            MappedItem(item.name, item.code, data_elements)
            for group in item_groups
            for data_elements in [data_elements_of(group, settings)]
            for item in group.items
        ]
        fitting_stores, fitting_items = _fitting(stores), _fitting(items)
        return cls(
            stores=tuple(stores[:fitting_stores]),
            items=tuple(items[:fitting_items]),
            more_stores=len(stores) - fitting_stores,
            more_items=len(items) - fitting_items,
            left_out=tuple(left_out[:SENTENCES]),
            more_left_out=max(0, len(left_out) - SENTENCES),
        )


class DatabaseAnswer(BaseModel):
    """What is known of mSupply's database: a sentence, and what is mapped, where the settings tell how."""

    model_config = ConfigDict(frozen=True)

    message: str
    mapped: MappedNames | None = None


def data_elements_of(group: ItemGroup, settings: Settings) -> tuple[str | None, ...]:
    """Return the data element of an item group for each active row, ``None`` where it has none."""
    identifiers = (identifier_of(settings, row, group) for row in settings.active_rows)
    return tuple(identifier and identifier[0] for identifier in identifiers)


def _fitting(entries: Sequence[MappedStore] | Sequence[MappedItem]) -> int:
    """Count how many of the entries fit into a list, each character taken for as long as JSON may write it."""
    size = 0
    for number, entry in enumerate(entries):
        size += len(json.dumps(entry)) + 1
        if size > BYTES_OF_A_LIST:
            return number
    return len(entries)

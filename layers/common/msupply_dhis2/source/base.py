"""What reading mSupply is asked for and returns: which stores and items are sent, and what to read of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import ConsumptionPreferences, Item, ItemGroup, OrgUnit, Store


class Kind(StrEnum):
    """What is left out."""

    STORE = "store"
    ITEM = "item"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A store or item that is mapped to DHIS2 in mSupply and yet not sent, and why."""

    kind: Kind
    code: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The stores and items of mSupply that are sent.

    Attributes
    ----------
    stores
        Those that are not disabled and have a value in the store field, by code; never empty.
    items
        Those of type stock that are active, included and have a value in at least one of the item fields,
        by code; never empty.
    items_without_reference
        How many active, included stock items have a value in none of the item fields.
    items_not_included
        How many items have a value in an item field, but not the tick of the include field.
    left_out
        Stores and items that are mapped, but disabled, inactive or not stock.
    warnings
        Whole sentences about what could not be read and what was taken instead.
    missing_metrics
        The metrics that the database lacks what they take; a sentence says so.
    """

    stores: tuple[Store, ...]
    items: tuple[Item, ...]
    items_without_reference: int
    items_not_included: int
    preferences: ConsumptionPreferences
    left_out: tuple[LeftOut, ...]
    warnings: tuple[str, ...]
    missing_metrics: frozenset[Metric] = frozenset()


@dataclass(frozen=True, slots=True)
class Scope:
    """What to read: every org unit with every item group, in this order. No store or item is in it twice."""

    org_units: tuple[OrgUnit, ...]
    item_groups: tuple[ItemGroup, ...]

    def by_store_code[T](self, by_id: Mapping[str, T]) -> dict[str, T]:
        """Return what is known of stores by their ids by their codes, in the order of the scope."""
        stores = (store for org_unit in self.org_units for store in org_unit.stores)
        return {store.code: by_id[store.id] for store in stores if store.id in by_id}

"""What a source of mSupply data gives: which stores and items are sent, and their histories."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import ConsumptionPreferences, GroupHistory, Item, ItemGroup, OrgUnit, Store


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


class Source(Protocol):
    """One consistent, read-only state of an mSupply database."""

    def catalogue(
        self, *, store_field: str, item_fields: Sequence[str], include_field: str | None
    ) -> Catalogue:
        """Read which stores and items are sent.

        Parameters
        ----------
        store_field
            The custom field of stores that holds the org unit.
        item_fields
            ``universal_code``, user fields (``user_field_1``) or keys of the items' custom data.
        include_field
            The user field or key of the custom data that is ticked on the items to send; ``None``: all are.

        Raises
        ------
        SourceError
            No store or no item is mapped, or the database cannot be read, or what it holds cannot be right.
        """
        ...

    def lines(self, stores: Sequence[Store]) -> Mapping[str, int]:
        """Count how many lines each store has, by its id: lines of invoices and stock lines, whatever their item.

        About as many: it says how long a store takes, so that work can be divided evenly.

        Raises
        ------
        SourceError
            The database cannot be read.
        """
        ...

    def histories(self, scope: Scope, floor: datetime) -> Iterator[GroupHistory]:
        """Stream the groups that have any pair, by org unit, then item group, in the order of the scope.

        No more than one group is held in memory, beside the rows that the database sends at a time.

        Parameters
        ----------
        floor
            Movements before this instant (naive UTC) are not read one by one: only their sum is.

        Raises
        ------
        SourceError
            The database holds what cannot be read, or the connection was lost.
        """
        ...

    def warnings(self) -> tuple[str, ...]:
        """Return sentences about what was odd in the histories; complete once they are exhausted."""
        ...

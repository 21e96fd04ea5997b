"""What every kind of mSupply database is asked for and returns: which stores and items are sent, and their stock."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, NamedTuple

import sqlalchemy as sa

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import (
    ConsumptionPreferences,
    GroupHistory,
    Item,
    Kind,
    NamedMovement,
    OrgUnit,
    Skipped,
    Store,
)
from msupply_dhis2.periods import Calendar
from msupply_dhis2.settings.credentials import DatabaseAddress
from msupply_dhis2.source.merge import HistoryReader
from msupply_dhis2.source.queries import Scope, StockQueries
from msupply_dhis2.source.selection import ItemSelection, StoreSelection
from msupply_dhis2.source.sql import Columns


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The stores and items of mSupply that are sent, each by code and never empty."""

    stores: tuple[Store, ...]
    items: tuple[Item, ...]
    items_not_included: int
    """How many have a value in an item field, but not the tick of the include field."""
    preferences: ConsumptionPreferences
    skipped: tuple[Skipped, ...]
    """Stores and items that are mapped, but disabled, inactive or not stock."""
    not_meant: tuple[Skipped, ...]
    """All others that are not sent: without a value in the field, or without the tick. That is no fault."""
    warnings: tuple[str, ...]
    """What could not be read and what was taken instead."""
    ticks: Mapping[str, int]
    """Without an include field: how many of the items that are sent are ticked in which field."""
    hints: Mapping[Kind, str]
    """A sentence about a field that looks like the one that nobody has filled in."""
    missing_metrics: frozenset[Metric] = frozenset()
    """Those for which the database lacks something; a warning says so."""

    def blank(self, kind: Kind) -> tuple[Skipped, ...]:
        """Return the active stores without a value in the store field, or the items without any in the item fields."""
        return tuple(each for each in self.not_meant if each.kind is kind and each.is_blank)


class Notes(NamedTuple):
    """What a database says besides its stores and items."""

    warnings: Sequence[str]
    preferences: ConsumptionPreferences = ConsumptionPreferences()
    missing_metrics: frozenset[Metric] = frozenset()


@dataclass(repr=False, eq=False)
class Source(ABC):
    """One consistent, read-only state of an mSupply database: a transaction that nothing else may use.

    What is raised while it is open leaves ``open_source`` as a ``SourceError`` where the database lacks what is needed,
    holds what cannot be read, or the connection was lost. ``calendar`` is that of the configured time zone; ``began`` is
    when the transaction began (naive UTC): what is dated later has moved the stock lines already.
    """

    broken_place: ClassVar[str]
    """The columns in which items keep JSON that may be broken."""

    connection: sa.Connection
    address: DatabaseAddress
    columns: Columns
    calendar: Calendar
    began: datetime
    _reader: HistoryReader | None = field(default=None, init=False)

    @abstractmethod
    def __post_init__(self) -> None:
        """Make sure that the database has what is needed."""

    @abstractmethod
    def notes(self, items: ItemSelection) -> Notes:
        """Check that what is read of stores and items is right, and return what there is to say besides."""

    @abstractmethod
    def read_stores(self, stores: StoreSelection) -> None:
        """Have the selection choose from all stores."""

    @abstractmethod
    def read_items(self, items: ItemSelection) -> None:
        """Have the selection choose from all items."""

    @abstractmethod
    def queries(self, scope: Scope, floor: datetime) -> StockQueries:
        """Return what asks for the stock of stores and items."""

    def catalogue(
        self, *, store_field: str, item_fields: Sequence[str], include_field: str | None
    ) -> Catalogue:
        """Read which stores and items are sent; ``SourceError`` also where no store or no item is mapped.

        The store field is the custom field of stores that holds the org unit. Fields of items are ``universal_code``, user
        fields (``user_field_1``) or keys of their custom data; without an include field all items are sent.
        """
        stores = StoreSelection(store_field)
        items = ItemSelection(item_fields, include_field, self.broken_place)
        notes = self.notes(items)
        self.read_stores(stores)
        self.read_items(items)
        stores.check()
        items.check()
        return Catalogue(
            stores=stores.by_code,
            items=items.by_code,
            items_not_included=items.not_included,
            preferences=notes.preferences,
            skipped=(*stores.skipped, *items.skipped),
            not_meant=(*stores.not_meant, *items.not_meant),
            ticks=items.ticks,
            hints={Kind.STORE: stores.hint(stores.store_field), Kind.ITEM: items.hint(*items.fields)},
            warnings=(*stores.warnings(), *items.warnings(), *notes.warnings),
            missing_metrics=notes.missing_metrics,
        )

    def lines(self, stores: Sequence[Store]) -> Mapping[str, int]:
        """Count how many lines each store has, by its id: lines of invoices and stock lines, whatever their item.

        About as many: it says how long a store takes, so that work can be divided evenly.
        """
        lines = dict.fromkeys((each.id for each in stores), 0)
        scope = Scope((OrgUnit("", tuple(stores)),), ())
        for query in self.queries(scope, self.began).line_counts():
            for store_id, number in self.connection.execute(query):
                lines[store_id] += number
        return lines

    def batches(self, scope: Scope) -> Mapping[str, str]:
        """Return the batch numbers of the stock lines that have one, by the ids of the lines."""
        return dict(map(tuple, self.connection.execute(self.queries(scope, self.began).batches())))

    def histories(
        self, scope: Scope, floor: datetime, named: list[NamedMovement] | None = None
    ) -> Iterator[GroupHistory]:
        """Stream the groups that have any pair, by org unit, then item group, in the order of the scope.

        No more than one group is in memory, beside the rows that the database sends at a time. Movements before the floor
        (naive UTC) are not read one by one: only their sum is. ``named`` takes each movement with its names, where they are
        wanted.
        """
        self._reader = HistoryReader(self.connection, self.queries(scope, floor), floor, named)
        return self._reader.read()

    def warnings(self) -> tuple[str, ...]:
        """Return sentences about what was odd in the histories; complete once they are exhausted."""
        return () if self._reader is None else tuple(self._reader.data_warnings.warnings())

"""What every kind of mSupply database is asked for and returns: which stores and items are sent, and their stock."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import (
    ConsumptionPreferences,
    GroupHistory,
    Item,
    Kind,
    NamedMovement,
    Skipped,
    Store,
)
from msupply_dhis2.periods import Calendar
from msupply_dhis2.settings.credentials import DatabaseAddress
from msupply_dhis2.source.connection import Columns
from msupply_dhis2.source.merge import DataWarnings, HistoryReader, Numbers, Scope
from msupply_dhis2.source.queries import StockQueries


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The stores and items of mSupply that are sent, each by code and never empty.

    Attributes
    ----------
    items_not_included
        How many items have a value in an item field, but not the tick of the include field.
    skipped
        Stores and items that are mapped, but disabled, inactive or not stock.
    not_meant
        All others that are not sent: without a value in the field, or without the tick. That is no fault.
    warnings
        Sentences about what could not be read and what was taken instead.
    ticks
        Without an include field: how many of the items that are sent are ticked in which field.
    hints
        A sentence about a field that looks like the one that nobody has filled in.
    missing_metrics
        Those for which the database lacks something; a sentence says so.
    """

    stores: tuple[Store, ...]
    items: tuple[Item, ...]
    items_not_included: int
    preferences: ConsumptionPreferences
    skipped: tuple[Skipped, ...]
    not_meant: tuple[Skipped, ...]
    warnings: tuple[str, ...]
    ticks: Mapping[str, int]
    hints: Mapping[Kind, str]
    missing_metrics: frozenset[Metric] = frozenset()

    def blank(self, kind: Kind) -> tuple[Skipped, ...]:
        """Return the active stores without a value in the store field, or the items without any in the item fields."""
        return tuple(each for each in self.not_meant if each.kind is kind and each.is_blank)


@dataclass(repr=False, eq=False)
class Source(ABC):
    """One consistent, read-only state of an mSupply database.

    What is raised while it is open leaves ``open_source`` as a ``SourceError`` where the database lacks what is needed,
    holds what cannot be read, or the connection was lost.

    Attributes
    ----------
    connection
        One read-only transaction; nothing else may use it.
    calendar
        That of the configured time zone.
    began
        When the transaction began (naive UTC): what is dated later has moved the stock lines already.
    """

    connection: sa.Connection
    address: DatabaseAddress
    columns: Columns
    calendar: Calendar
    began: datetime
    data_warnings: DataWarnings = field(default_factory=DataWarnings, init=False)

    @abstractmethod
    def __post_init__(self) -> None:
        """Make sure that the database has what is needed."""

    @abstractmethod
    def catalogue(
        self, *, store_field: str, item_fields: Sequence[str], include_field: str | None
    ) -> Catalogue:
        """Read which stores and items are sent; ``SourceError`` also where no store or no item is mapped.

        The store field is the custom field of stores that holds the org unit. Fields of items are ``universal_code``, user
        fields (``user_field_1``) or keys of their custom data; without an include field all items are sent.
        """

    @abstractmethod
    def queries(self, stores: Mapping[str, int], items: Mapping[str, int], floor: datetime) -> StockQueries:
        """Return what asks for the stock of stores and items, both numbered by their ids."""

    @abstractmethod
    def read_instant(self, value: Any) -> datetime:  # noqa: ANN401 - as the database has it
        """Return an instant of the database in naive UTC."""

    def lines(self, stores: Sequence[Store]) -> Mapping[str, int]:
        """Count how many lines each store has, by its id: lines of invoices and stock lines, whatever their item.

        About as many: it says how long a store takes, so that work can be divided evenly.
        """
        lines = dict.fromkeys((each.id for each in stores), 0)
        numbers = {store_id: index for index, store_id in enumerate(lines)}
        for query in self.queries(numbers, {}, self.began).line_counts():
            for store_id, number in self.connection.execute(query):
                lines[store_id] += number
        return lines

    def batches(self, scope: Scope) -> Mapping[str, str]:
        """Return the batch numbers of the stock lines that have one, by the ids of the lines."""
        numbers = Numbers(scope)
        query = self.queries(numbers.stores, numbers.items, self.began).batches()
        return {stock_line_id: batch for stock_line_id, batch in self.connection.execute(query)}  # noqa: C416 - of rows

    def histories(
        self, scope: Scope, floor: datetime, named: list[NamedMovement] | None = None
    ) -> Iterator[GroupHistory]:
        """Stream the groups that have any pair, by org unit, then item group, in the order of the scope.

        No more than one group is in memory, beside the rows that the database sends at a time. Movements before the floor
        (naive UTC) are not read one by one: only their sum is. ``named`` takes each movement with its names, where they are
        wanted.
        """
        self.data_warnings = DataWarnings()
        numbers = Numbers(scope)
        return HistoryReader(
            self.connection,
            self.queries(numbers.stores, numbers.items, floor),
            numbers,
            floor,
            lru_cache(maxsize=4_096)(self.read_instant),
            self.data_warnings,
            named,
        ).read()

    def warnings(self) -> tuple[str, ...]:
        """Return sentences about what was odd in the histories; complete once they are exhausted."""
        return tuple(self.data_warnings.warnings())

"""What every kind of mSupply database is asked for and returns: which stores and items are sent, and their stock."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from heapq import heappush, heappushpop

import sqlalchemy as sa

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import (
    ConsumptionPreferences,
    GroupHistory,
    Item,
    ItemGroup,
    OrgUnit,
    PairHistory,
    StockLine,
    Store,
    described,
)
from msupply_dhis2.metrics.quantity import format_value
from msupply_dhis2.periods import Calendar
from msupply_dhis2.settings.credentials import DatabaseAddress
from msupply_dhis2.source.connection import Columns, faults_as_sentences
from msupply_dhis2.source.sql import Query, numbered
from msupply_dhis2.text import MOST_NAMED, listed


class Kind(StrEnum):
    """What is left out."""

    STORE = "store"
    ITEM = "item"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A store or item of mSupply that is not sent, and why; ``is_blank``: only for want of a value in the field."""

    kind: Kind
    code: str
    name: str
    reason: str
    is_blank: bool = False

    @property
    def named(self) -> str:
        """Name it so that it can be found in mSupply: ``Kamo (KAMO)``."""
        return f"{self.name} ({self.code})"


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


@dataclass(frozen=True, slots=True)
class Scope:
    """What to read: every org unit with every item group, in this order. No store or item is in it twice."""

    org_units: tuple[OrgUnit, ...]
    item_groups: tuple[ItemGroup, ...]


@dataclass(slots=True)
class DataWarnings:
    """What was odd in the histories, counted."""

    stock_lines_without_pack_size: int = 0
    of_these_with_packs: int = 0
    movements_without_pack_size: int = 0
    moved_without_instant: Sequence[str] = ()
    dated_later: Sequence[str] = ()
    receipts_without_date: Mapping[str, int] = field(default_factory=dict)
    """By the code of the store."""
    negative_stock_lines: int = 0
    some_negative_stock_lines: list[str] = field(default_factory=list)
    ledgers: int = 0
    ledgers_off: int = 0
    worst_ledgers: list[tuple[int, int, int, str]] = field(default_factory=list)

    def note_negative(self, pair: PairHistory, line: StockLine) -> None:
        """Count a stock line below 0, and name it unless many are named already."""
        self.negative_stock_lines += 1
        if len(self.some_negative_stock_lines) < MOST_NAMED:
            units = format_value(line.units, round_off=False)
            named = f"{described(pair.store, pair.item)}, stock line {line.id}: {units} units"
            self.some_negative_stock_lines.append(named)

    def note_ledger(self, pair: PairHistory, moved: int) -> None:
        """Count a pair and whether its stock lines are what all its movements add up to (``moved``); keep the worst."""
        self.ledgers += 1
        difference = -moved
        for line in pair.stock_lines:
            difference += line[1]
        if not difference:
            return
        self.ledgers_off += 1
        # Of two that are as bad the earlier one stays.
        entry = (abs(difference), -self.ledgers, difference, described(pair.store, pair.item))
        add = heappush if len(self.worst_ledgers) < MOST_NAMED else heappushpop
        add(self.worst_ledgers, entry)

    def warnings(self) -> Iterator[str]:
        """Yield a sentence for each kind that there is."""
        if self.stock_lines_without_pack_size:
            with_packs = self.of_these_with_packs
            packs = f"{with_packs:,} of them hold packs" if with_packs else "all are empty"
            yield (
                f"Stock lines without a pack size, which count as 0 units: {self.stock_lines_without_pack_size:,} ({packs})."
            )
        if self.movements_without_pack_size:
            yield (
                "Lines of invoices without a pack size, which count as movements of 0 units: "
                f"{self.movements_without_pack_size:,}."
            )
        if self.negative_stock_lines:
            some = listed(self.some_negative_stock_lines, MOST_NAMED, of=self.negative_stock_lines, by="; ")
            yield (
                "Stock lines below 0, which the metrics add up as they are and mSupply's own stock on hand leaves out: "
                f"{self.negative_stock_lines:,}, namely {some}."
            )
        if self.ledgers_off:
            worst = [
                f"{named}: {'+' if difference > 0 else ''}{format_value(difference, round_off=False)} units"
                for _, _, difference, named in sorted(self.worst_ledgers, reverse=True)
            ]
            yield (
                "Items in a store whose stock lines are not what all their movements add up to: "
                f"{self.ledgers_off:,} of {self.ledgers:,}. Nothing is corrected: the stock lines count. The largest "
                f"differences (+ means more stock than moved in): {'; '.join(worst)}."
            )
        if count := len(self.moved_without_instant):
            yield (
                "Invoices whose status says that their stock has moved, but that lack the instant at which it did "
                f"(mSupply's own ledger leaves them out, and so do the metrics): {count:,}, namely "
                f"{listed(self.moved_without_instant)}."
            )
        if self.receipts_without_date:
            stores = [f"{code} {number:,}" for code, number in self.receipts_without_date.items()]
            yield (
                "Receipts (inbound shipments) that came over as new and without a date, with their stock in the store "
                f"already: {sum(self.receipts_without_date.values()):,}, by store {listed(stores)}. Stock is right. In "
                "which month they were received is not known, so received leaves them out."
            )
        if count := len(self.dated_later):
            yield (
                "Invoices dated later than the moment at which the database was read. Their stock has moved already: they "
                "count at the time at which they were created, or at the start of today where that time is missing or "
                f"later too: {count:,}, namely {listed(self.dated_later)}. Check the date of each, and the clock of the "
                "computer or tablet that made it."
            )


@dataclass(repr=False, eq=False)
class Source(ABC):
    """One consistent, read-only state of an mSupply database.

    Beginning and all reading raise ``SourceError`` where the database lacks what is needed, holds what cannot be read, or
    the connection was lost.

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

    def catalogue(
        self, *, store_field: str, item_fields: Sequence[str], include_field: str | None
    ) -> Catalogue:
        """Read which stores and items are sent; ``SourceError`` also where no store or no item is mapped.

        The store field is the custom field of stores that holds the org unit. Fields of items are ``universal_code``, user
        fields (``user_field_1``) or keys of their custom data; without an include field all items are sent.
        """
        with faults_as_sentences(self.address):
            return self._read_catalogue(store_field, tuple(item_fields), include_field)

    def lines(self, stores: Sequence[Store]) -> Mapping[str, int]:
        """Count how many lines each store has, by its id: lines of invoices and stock lines, whatever their item.

        About as many: it says how long a store takes, so that work can be divided evenly.
        """
        wanted = numbered("counted_store", {each.id: index for index, each in enumerate(stores)})
        lines = dict.fromkeys((each.id for each in stores), 0)
        with faults_as_sentences(self.address):
            for query in self._line_counts(wanted):
                for store_id, number in self.connection.execute(query):
                    lines[store_id] += number
        return lines

    def histories(self, scope: Scope, floor: datetime) -> Iterator[GroupHistory]:
        """Stream the groups that have any pair, by org unit, then item group, in the order of the scope.

        No more than one group is in memory, beside the rows that the database sends at a time. Movements before the floor
        (naive UTC) are not read one by one: only their sum is.
        """
        self.data_warnings = DataWarnings()
        with faults_as_sentences(self.address):
            yield from self._histories(scope, floor)

    def warnings(self) -> tuple[str, ...]:
        """Return sentences about what was odd in the histories; complete once they are exhausted."""
        return tuple(self.data_warnings.warnings())

    @abstractmethod
    def _read_catalogue(
        self, store_field: str, item_fields: tuple[str, ...], include_field: str | None
    ) -> Catalogue:
        pass

    @abstractmethod
    def _line_counts(self, stores: sa.CTE) -> Iterable[Query]:
        """Return what counts lines: rows of ``(store_id, number)``."""

    @abstractmethod
    def _histories(self, scope: Scope, floor: datetime) -> Iterator[GroupHistory]:
        pass

"""Streaming the stock histories of an mSupply database, whichever kind it is.

The scope goes to the database as numbers: every store and every item has one, and their sum says the pair's
index in the order of the scope. So one number a row is enough to tell rows apart, to order them and to merge
the four streams, and nothing that is not mapped leaves the database.
"""

import gc
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from heapq import heappush, heappushpop
from itertools import chain, groupby
from math import inf
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from msupply_dhis2.domain.stock import (
    MICRO,
    GroupHistory,
    ItemGroup,
    Movement,
    NamedMovement,
    OrgUnit,
    PairHistory,
    StockLine,
    Store,
    UnreadableRow,
    described,
)
from msupply_dhis2.metrics.quantity import MOST_UNITS, format_value, to_units
from msupply_dhis2.source.queries import ID_SEPARATOR, Quantities, StockQueries
from msupply_dhis2.source.sql import Query
from msupply_dhis2.text import MOST_NAMED, listed

ROWS_AT_A_TIME = 5_000
"""How many rows of each stream are in memory."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What to read: every org unit with every item group, in this order. No store or item is in it twice."""

    org_units: tuple[OrgUnit, ...]
    item_groups: tuple[ItemGroup, ...]

    @property
    def stores(self) -> list[Store]:
        """The stores, or customers, of all org units."""
        return [store for org_unit in self.org_units for store in org_unit.stores]


@dataclass(slots=True)
class DataWarnings:
    """What was odd in the histories, counted."""

    stock_lines_without_pack_size: int = 0
    of_these_with_packs: int = 0
    movements_without_pack_size: int = 0
    moved_without_instant: list[str] = field(default_factory=list)
    dated_later: list[str] = field(default_factory=list)
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
        difference = sum([line[1] for line in pair.stock_lines]) - moved
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
            packs = f"with packs: {with_packs:,}" if with_packs else "without packs"
            yield (
                f"Stock lines without a pack size count as 0 units: {self.stock_lines_without_pack_size:,} ({packs})."
            )
        if self.movements_without_pack_size:
            yield (
                "Lines of invoices without a pack size count as movements of 0 units: "
                f"{self.movements_without_pack_size:,}."
            )
        if self.negative_stock_lines:
            some = listed(self.some_negative_stock_lines, MOST_NAMED, of=self.negative_stock_lines, by="; ")
            yield (
                f"Stock lines below 0: {self.negative_stock_lines:,}, namely {some}. The metrics count them; mSupply's "
                "own stock on hand does not."
            )
        if self.ledgers_off:
            worst = [
                f"{named}: {'+' if difference > 0 else ''}{format_value(difference, round_off=False)} units"
                for _, _, difference, named in sorted(self.worst_ledgers, reverse=True)
            ]
            yield (
                "Items in a store whose stock lines differ from the sum of their movements: "
                f"{self.ledgers_off:,} of {self.ledgers:,}. Nothing is corrected: the stock lines count. The largest "
                f"differences (+ is more stock than movements): {'; '.join(worst)}."
            )
        if count := len(self.moved_without_instant):
            yield (
                "Invoices whose status says that their stock has moved, but that have no date for it (mSupply's ledger "
                f"and the metrics do not count them): {count:,}, namely "
                f"{listed(self.moved_without_instant)}."
            )
        if self.receipts_without_date:
            stores = [f"{code} {number:,}" for code, number in self.receipts_without_date.items()]
            yield (
                "Receipts (inbound shipments) that are new and have no date, although their stock is in the store: "
                f"{sum(self.receipts_without_date.values()):,}, by store {listed(stores)}. Stock is right. The month of "
                "the receipt is not known, so the metric received does not count them."
            )
        if count := len(self.dated_later):
            yield (
                "Invoices with a date in the future. Their stock has moved already, so they count at the time when "
                f"they were created, or at the start of today if that time is missing or in the future too: {count:,}, "
                f"namely {listed(self.dated_later)}. Check the date of each, and the clock of the "
                "computer or tablet that made it."
            )


class Numbers:
    """The numbers of the scope's stores and items.

    The pair of a store and an item has the sum of both: ``((org unit * item groups + item group) * most
    stores of an org unit + store) * most items of a group + item``.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._most_stores = max((len(org_unit.stores) for org_unit in scope.org_units), default=1)
        self._most_items = max((len(group.items) for group in scope.item_groups), default=1)
        self.pairs_of_a_group = self._most_stores * self._most_items
        """The pair's number by it is the index of its group in the scope."""
        self.codes = {each.id: each.code for org_unit in scope.org_units for each in org_unit.stores}
        of_org_unit = len(scope.item_groups) * self.pairs_of_a_group
        self.stores = {
            each.id: org_unit_index * of_org_unit + index * self._most_items
            for org_unit_index, org_unit in enumerate(scope.org_units)
            for index, each in enumerate(org_unit.stores)
        }
        self.items = {
            each.id: group_index * self.pairs_of_a_group + index
            for group_index, group in enumerate(scope.item_groups)
            for index, each in enumerate(group.items)
        }

    def history(self, group: int) -> GroupHistory:
        """Begin the history of a group, without pairs."""
        org_unit, item_group = divmod(group, len(self._scope.item_groups))
        return GroupHistory(self._scope.org_units[org_unit], self._scope.item_groups[item_group], [])

    def pair_history(self, pair: int, group: GroupHistory) -> PairHistory:
        """Begin the history of a pair in its group."""
        index, item_index = divmod(pair, self._most_items)
        store = group.org_unit.stores[index % self._most_stores]
        return PairHistory(store, group.item_group.items[item_index], [], [], None, 0)


class Stream:
    """Rows that begin with a pair's number, in the order of these numbers, taken pair by pair.

    ``pair`` is the number of the pair that comes next, infinite at the end.
    """

    def __init__(self, connection: sa.Connection, query: Query) -> None:
        self._result = connection.execute(
            query, execution_options={"stream_results": True, "yield_per": ROWS_AT_A_TIME}
        )
        # Taken from the driver many at a time and told apart without a step of our own for each row.
        rows = chain.from_iterable(_rows_of_driver(connection, self._result))
        self._pairs: Iterator[tuple[float, Iterator[Any]]] = groupby(rows, key=itemgetter(0))
        self.pair, self._rows = next(self._pairs, _THE_END)

    def take(self, pair: int) -> Sequence[Any]:
        """Return the rows of a pair, if any are next."""
        if self.pair != pair:
            return ()
        rows = list(self._rows)
        self.pair, self._rows = next(self._pairs, _THE_END)
        return rows

    def close(self) -> None:
        """Let go of the database's cursor."""
        self._result.close()


_THE_END: tuple[float, Iterator[Any]] = (inf, iter(()))


def _rows_of_driver(connection: sa.Connection, result: sa.CursorResult[Any]) -> Iterator[Sequence[Any]]:
    """Yield the rows many at a time, as the plain tuples that the driver makes.

    SQLAlchemy would make another object of each, and has nothing to convert: all columns are asked for in types that
    leave as they come. Only the first lot comes from SQLAlchemy, which has fetched some of it already: one row on
    PostgreSQL, and never more than it is told to hold, which is a lot. The driver's errors are raised as SQLAlchemy would.
    """
    cursor, driver = result.cursor, connection.dialect.loaded_dbapi
    rows: Sequence[Any] = result.fetchmany(ROWS_AT_A_TIME)
    while rows:
        yield rows
        if len(rows) < ROWS_AT_A_TIME:
            # These were the last, and SQLAlchemy has closed the cursor where it saw that.
            return
        try:
            rows = cursor.fetchmany(ROWS_AT_A_TIME)
        except driver.Error as error:
            # It may be lost, and nothing more is read from it: to end its transaction could only raise anew.
            connection.invalidate(error)
            raise DBAPIError.instance(
                None, None, error, driver.Error, connection_invalidated=True, dialect=connection.dialect
            ) from error


@dataclass(frozen=True, slots=True)
class HistoryReader:
    """Reads the histories of a scope, and notes what is odd on the way.

    ``read_instant`` returns an instant of the database in naive UTC. ``named`` takes each movement with its names, where
    they are wanted.
    """

    connection: sa.Connection
    queries: StockQueries
    numbers: Numbers
    floor: datetime
    read_instant: Callable[[Any], datetime]
    data_warnings: DataWarnings
    named: list[NamedMovement] | None = None

    def read(self) -> Iterator[GroupHistory]:
        """Stream the groups (see ``Source.histories``)."""
        self._note_instants()
        of_instants = unreadable_instants(self.connection, self.queries)
        queries, numbers, pairs_of_a_group = self.queries, self.numbers, self.numbers.pairs_of_a_group
        with ExitStack() as stack:
            visible, stock_lines, movements, totals = [
                stack.enter_context(closing(Stream(self.connection, query)))
                for query in (
                    queries.visible_pairs(),
                    queries.stock_lines(),
                    queries.movements(named=self.named is not None),
                    queries.totals(),
                )
            ]
            stack.enter_context(_cycles_sought_rarely())
            pairs = iter(lambda: min(visible.pair, stock_lines.pair, movements.pair, totals.pair), inf)
            for group, pairs_of_group in groupby(pairs, key=lambda pair: int(pair) // pairs_of_a_group):
                history = numbers.history(group)
                for pair in map(int, pairs_of_group):
                    pair_history = numbers.pair_history(pair, history)
                    unreadable = [
                        UnreadableRow(pair_history.store, pair_history.item, *row)
                        for row in of_instants.get(pair, ())
                    ]
                    visible.take(pair)
                    undated = self._read_stock_lines(pair_history, stock_lines.take(pair), unreadable)
                    self._read_movements(pair_history, movements.take(pair))
                    moved = self._read_totals(pair_history, totals.take(pair), unreadable)
                    if not unreadable:
                        self.data_warnings.note_ledger(pair_history, moved)
                    history.unreadable += unreadable
                    if undated:
                        history.unreadable += self._without_expiry_date(pair_history, undated)
                    history.pairs.append(pair_history)
                yield history

    def _note_instants(self) -> None:
        """Note what has moved without an instant, or later than now, and find out whether all instants can be read."""
        codes = self.numbers.codes
        for row in self.connection.execute(self.queries.doubtful()):
            if row.unreadable:
                self.queries.all_readable = False
            else:
                named = f"{codes[row.store_id]} {self.queries.names[row.type]} {row.number}"
                warnings = self.data_warnings
                (warnings.dated_later if row.dated_later else warnings.moved_without_instant).append(named)
        if (receipts := self.queries.receipts_without_date()) is not None:
            rows = {store_id: number for store_id, number in self.connection.execute(receipts)}  # noqa: C416 - of rows
            self.data_warnings.receipts_without_date = {
                code: rows[store_id] for store_id, code in codes.items() if store_id in rows
            }

    def _read_stock_lines(
        self, pair: PairHistory, rows: Sequence[Any], unreadable: list[UnreadableRow]
    ) -> dict[str, str]:
        """Read the stock lines of a pair; return the expiry dates that cannot be read, by the ids of their lines."""
        undated = {}
        for _, stock_line_id, packs, pack_size, expiry in rows:
            if not pack_size:
                self.data_warnings.stock_lines_without_pack_size += 1
                self.data_warnings.of_these_with_packs += bool(packs)
            try:
                units = to_units(packs or 0.0, pack_size)
            except (TypeError, ValueError):
                # In SQLite a column of numbers may hold text.
                unreadable.append(_without_quantity(pair, self.queries.stock_line, stock_line_id))
                continue
            try:
                expiry_date = _expiry_date(expiry)
            except ValueError:
                undated[stock_line_id] = expiry
                expiry_date = None
            line = StockLine(stock_line_id, units, expiry_date)
            if units < 0:
                self.data_warnings.note_negative(pair, line)
            pair.stock_lines.append(line)
        return undated

    def _read_movements(self, pair: PairHistory, rows: Sequence[Any]) -> None:
        if self.named is None:
            self._add_movements(pair, rows)
        else:
            for *row, number, own in rows:
                before = len(pair.movements)
                self._add_movements(pair, [row])
                own_instant = None if own is None else self.read_instant(own)
                self.named.extend(
                    NamedMovement(pair.store, pair.item, movement, number, own_instant)
                    for movement in pair.movements[before:]
                )
        pair.movements.sort(key=itemgetter(0), reverse=True)

    def _add_movements(self, pair: PairHistory, rows: Sequence[Any]) -> None:
        read_instant, kinds = self.read_instant, self.queries.kinds
        for _, instant_as_stored, kind, packs, pack_size, stock_line_id in rows:
            instant = read_instant(instant_as_stored)
            if instant < self.floor:
                continue
            if not pack_size:
                self.data_warnings.movements_without_pack_size += 1
            try:
                units = to_units(packs, pack_size)
            except (TypeError, ValueError):
                # Its id comes with the totals.
                continue
            pair.units_before_floor -= units
            pair.movements.append(Movement(instant, kinds[kind], units, stock_line_id))

    def _read_totals(self, pair: PairHistory, rows: Sequence[Any], unreadable: list[UnreadableRow]) -> int:
        """Read what all movements of a pair come to, and return it in millionths."""
        moved = 0
        for _, whole, units, parts, first_in, unreadable_ids in rows:
            moved = (int(whole or 0) + int(units or 0)) * MICRO + int(parts or 0)
            # What lies before the floor is what is left of all there ever was, so that no instant on the
            # edge is counted twice or lost however it is written.
            pair.units_before_floor += moved
            pair.first_in = None if first_in is None else self.read_instant(first_in)
            if unreadable_ids:
                ids = sorted(unreadable_ids.split(ID_SEPARATOR))
                unreadable += [_without_quantity(pair, self.queries.line, row_id) for row_id in ids]
        return moved

    def _without_expiry_date(self, pair: PairHistory, undated: Mapping[str, str]) -> Iterator[UnreadableRow]:
        """Name the stock lines whose expiry date cannot be read, if they hold anything or did since the floor."""
        for line in pair.stock_lines:
            if line.id not in undated:
                continue
            last_moved = next(
                (each.instant for each in pair.movements if each.stock_line_id == line.id), None
            )
            if line.units or last_moved is not None:
                fault = f"expiry_date is not a date ({undated[line.id]!r})"
                until = None if line.units else last_moved
                table = self.queries.stock_line.table.name
                yield UnreadableRow(pair.store, pair.item, table, line.id, fault, until)


def unreadable_instants(
    connection: sa.Connection, queries: StockQueries
) -> Mapping[int, Sequence[tuple[str, str, str]]]:
    """Return the rows that moved stock at an instant that cannot be read: table, id and fault, by pair."""
    rows = defaultdict[int, list[tuple[str, str, str]]](list)
    if queries.all_readable:
        return rows
    query, table = queries.unreadable_instants(), queries.invoice.table
    for pair, invoice_id, kind, number, column, instant in connection.execute(query):
        fault = f"{column} is not a {queries.instant_is} ({instant!r}; {queries.names[kind]} {number})"
        rows[pair].append((table.description, invoice_id, fault))
    return rows


def without_quantity(of: Quantities) -> str:
    """Return what is wrong with a row whose quantity cannot be read."""
    return f"{of.quantity} is not a finite number, or together they make more than {MOST_UNITS:,} units"


def _without_quantity(pair: PairHistory, of: Quantities, row_id: str) -> UnreadableRow:
    return UnreadableRow(pair.store, pair.item, of.table.name, row_id, without_quantity(of))


@contextmanager
def _cycles_sought_rarely() -> Iterator[None]:
    """Spare the rows that are in memory, tens of thousands in no cycle, from being searched again and again."""
    thresholds = gc.get_threshold()
    gc.set_threshold(10 * ROWS_AT_A_TIME, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


@lru_cache(maxsize=4_096)
def _expiry_date(text: str | None) -> date | None:
    """Read an expiry date; blank is none. Some rows hold a time of day behind it."""
    return date.fromisoformat(text.strip()[:10]) if text and text.strip() else None

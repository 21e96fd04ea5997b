"""Streaming the stock histories of an mSupply database, whichever kind it is.

The scope goes to the database as numbers: every store and every item has one, and their sum says the pair's
index in the order of the scope. So one number a row is enough to tell rows apart, to order them and to merge
the four streams, and nothing that is not mapped leaves the database.
"""

import gc
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import date, datetime
from functools import lru_cache
from itertools import chain, groupby
from math import inf
from operator import itemgetter
from typing import Any, ClassVar, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from msupply_dhis2.domain.stock import (
    MICRO,
    GroupHistory,
    Movement,
    MovementKind,
    PairHistory,
    StockLine,
    UnreadableRow,
)
from msupply_dhis2.metrics.quantity import MOST_UNITS, to_units
from msupply_dhis2.source.base import Scope, Source
from msupply_dhis2.source.sql import Expression, Query, is_unreadable_instant, numbered, one_separator

ROWS_AT_A_TIME = 5_000
"""How many rows of each stream are in memory."""

ID_SEPARATOR = "\n"
"""Stands between the ids of rows that the database hands over together."""


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


class Table(NamedTuple):
    """A table with packs and pack sizes, and the columns that they are in, for messages."""

    name: str
    quantity: str

    def without_quantity(self, row: str) -> "RowFault":
        """Return what is wrong with a row whose quantity cannot be read."""
        fault = f"{self.quantity} is no finite number, or together they make more than {MOST_UNITS:,} units"
        return RowFault(self.name, row, fault)


class RowFault(NamedTuple):
    """What is wrong with a row of a table."""

    table: str
    id: str
    fault: str


class Histories(ABC):
    """What is asked of a database for the histories of a scope.

    Four streams have rows that begin with a pair's number, in the order of these. Where not ``all_readable``, an instant
    that cannot be read comes as NULL, and is none at or after a floor.

    Attributes
    ----------
    items
        The ids by which rows of the database mean the items, with the items' numbers.
    next_instant, midnight
        The first instant after the start of the reading, and that which begins its day; in the database's own kind of
        instants: those of UTC, or what the clock of the configured time zone shows.
    """

    stock_table: ClassVar[Table]
    movement_table: ClassVar[Table]
    kinds: ClassVar[Mapping[str, MovementKind]]
    """What the movements' types mean."""

    def __init__(
        self, source: Source, scope: Scope, floor: datetime, next_instant: Expression, midnight: Expression
    ) -> None:
        self.connection = source.connection
        self.data_warnings = source.data_warnings
        self.scope = scope
        self.floor = floor
        self.numbers = Numbers(scope)
        self.stores = numbered("scope_store", self.numbers.stores)
        self.items = numbered("scope_item", self.numbers.items)
        self.next_instant = next_instant
        self.midnight = midnight
        self.all_readable = True

    @abstractmethod
    def _read_instant(self, value: Any) -> datetime:  # noqa: ANN401 - as the database has it
        """Return an instant of the database in naive UTC."""

    @abstractmethod
    def _doubtful(self) -> Query:
        """Select what has moved without an instant, at an unreadable one, or later than now.

        ``(store_id, type, number, unreadable, dated_later)``.
        """

    @abstractmethod
    def _called(self, kind: str) -> str:
        """Return what a type of invoices is called in messages."""

    @abstractmethod
    def _receipts_without_date(self) -> Query | None:
        """Count, by the id of the store, the receipts that came over as new and whose stock is on stock lines."""

    @abstractmethod
    def _unreadable_instants(self) -> Iterator[tuple[int, RowFault]]:
        """Yield the rows that moved stock at an instant that cannot be read, by the pairs that they would have moved.

        Each of these pairs has a total; neither the movements nor the instant of the first hold such an instant.
        """

    @abstractmethod
    def _visible_pairs(self) -> Query:
        """Select the pairs that are visible in the store: ``(pair)``."""

    @abstractmethod
    def _stock_lines(self) -> Query:
        """Select the stock lines as they are now: ``(pair, id, packs, pack_size, expiry date as text)``."""

    @abstractmethod
    def _movements(self) -> Query:
        """Select the movements at or after the floor, or a little earlier.

        ``(pair, instant, type, packs, pack_size, stock_line_id)``; packs are signed, + in.
        """

    @abstractmethod
    def _totals(self) -> Query:
        """Sum all that ever moved: ``(pair, whole, units, parts, first_in, unreadable)``.

        In whole units, in more of these and in millionths besides; then the instant of the first movement in of more than
        0 units, and the ids of the lines whose quantity cannot be read, joined.
        """

    def pair(self, stores: sa.CTE) -> sa.ColumnElement[int]:
        """Return the number of a pair, by rows that have the number of the store."""
        return (stores.c.number + self.items.c.number).label("pair")

    def readable(self, own: Expression) -> Expression:
        """Return an instant, and NULL for one that cannot be read."""
        return own if self.all_readable else sa.case((is_unreadable_instant(own), None), else_=own)

    def placed(self, own: Expression, created: Expression) -> Expression:
        """Return the instant at which a movement counts: NULL where its own is.

        What is dated later than the reading has moved the stock lines already.
        """
        own, created = one_separator(own), one_separator(created)
        is_known = sa.and_(created < self.next_instant, ~is_unreadable_instant(created))
        return sa.case(
            (own >= self.next_instant, sa.case((is_known, created), else_=self.midnight)), else_=own
        )

    def read(self) -> Iterator[GroupHistory]:
        """Stream the groups (see ``Source.histories``), noting what is odd on the way."""
        self._note_instants()
        unreadable_instants = defaultdict[int, list[RowFault]](list)
        if not self.all_readable:
            for pair, fault in self._unreadable_instants():
                unreadable_instants[pair].append(fault)
        numbers, pairs_of_a_group = self.numbers, self.numbers.pairs_of_a_group
        read_instant = lru_cache(maxsize=65_536)(self._read_instant)
        with ExitStack() as stack:
            visible, stock_lines, movements, totals = [
                stack.enter_context(closing(Stream(self.connection, query)))
                for query in (self._visible_pairs(), self._stock_lines(), self._movements(), self._totals())
            ]
            stack.enter_context(_cycles_sought_rarely())
            group, history = -1, None
            while (next_pair := min(visible.pair, stock_lines.pair, movements.pair, totals.pair)) != inf:
                pair = int(next_pair)
                if pair // pairs_of_a_group != group:
                    if history is not None:
                        yield history
                    group = pair // pairs_of_a_group
                    history = numbers.history(group)
                assert history is not None  # noqa: S101 - tells mypy: set with the first group
                pair_history = numbers.pair_history(pair, history)
                unreadable = [*unreadable_instants.get(pair, ())]
                visible.take(pair)
                undated = self._read_stock_lines(pair_history, stock_lines.take(pair), unreadable)
                self._read_movements(pair_history, movements.take(pair), read_instant)
                moved = self._read_totals(pair_history, totals.take(pair), read_instant, unreadable)
                store, item = pair_history.store, pair_history.item
                history.unreadable += [UnreadableRow(store, item, *each) for each in unreadable]
                if undated:
                    history.unreadable += _without_expiry_date(pair_history, undated, self.stock_table)
                if not unreadable:
                    self.data_warnings.note_ledger(pair_history, moved)
                history.pairs.append(pair_history)
            if history is not None:
                yield history

    def _note_instants(self) -> None:
        """Note what has moved without an instant, or later than now, and find out whether all instants can be read."""
        codes = {each.id: each.code for org_unit in self.scope.org_units for each in org_unit.stores}
        lacking: list[str] = []
        later: list[str] = []
        for row in self.connection.execute(self._doubtful()):
            if row.unreadable:
                self.all_readable = False
            else:
                named = f"{codes[row.store_id]} {self._called(row.type)} {row.number}"
                (later if row.dated_later else lacking).append(named)
        self.data_warnings.moved_without_instant = lacking
        self.data_warnings.dated_later = later
        if (receipts := self._receipts_without_date()) is not None:
            rows = {store_id: number for store_id, number in self.connection.execute(receipts)}  # noqa: C416 - of rows
            self.data_warnings.receipts_without_date = {
                code: rows[store_id] for store_id, code in codes.items() if store_id in rows
            }

    def _read_stock_lines(
        self, pair: PairHistory, rows: Sequence[Any], unreadable: list[RowFault]
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
                unreadable.append(self.stock_table.without_quantity(stock_line_id))
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

    def _read_movements(
        self, pair: PairHistory, rows: Sequence[Any], read_instant: Callable[[Any], datetime]
    ) -> None:
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
            pair.movements.append(Movement(instant, self.kinds[kind], units, stock_line_id))
        pair.movements.sort(key=itemgetter(0), reverse=True)

    def _read_totals(
        self,
        pair: PairHistory,
        rows: Sequence[Any],
        read_instant: Callable[[Any], datetime],
        unreadable: list[RowFault],
    ) -> int:
        """Read what all movements of a pair come to, and return it in millionths."""
        moved = 0
        for _, whole, units, parts, first_in, unreadable_ids in rows:
            moved = (int(whole or 0) + int(units or 0)) * MICRO + int(parts or 0)
            # What lies before the floor is what is left of all there ever was, so that no instant on the
            # edge is counted twice or lost however it is written.
            pair.units_before_floor += moved
            pair.first_in = None if first_in is None else read_instant(first_in)
            if unreadable_ids:
                unreadable += map(
                    self.movement_table.without_quantity, sorted(unreadable_ids.split(ID_SEPARATOR))
                )
        return moved


@contextmanager
def _cycles_sought_rarely() -> Iterator[None]:
    """Spare the rows that are in memory, tens of thousands in no cycle, from being searched again and again."""
    thresholds = gc.get_threshold()
    gc.set_threshold(10 * ROWS_AT_A_TIME, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


def _without_expiry_date(
    pair: PairHistory, undated: Mapping[str, str], table: Table
) -> Iterator[UnreadableRow]:
    """Name the stock lines whose expiry date cannot be read, if they hold anything or did since the floor."""
    for line in pair.stock_lines:
        if line.id not in undated:
            continue
        last_moved = next((each.instant for each in pair.movements if each.stock_line_id == line.id), None)
        if line.units or last_moved is not None:
            fault = f"expiry_date is no date ({undated[line.id]!r})"
            until = None if line.units else last_moved
            yield UnreadableRow(pair.store, pair.item, table.name, line.id, fault, until)


@lru_cache(maxsize=65_536)
def _expiry_date(text: str | None) -> date | None:
    """Read an expiry date; blank is none. Some rows hold a time of day behind it."""
    return date.fromisoformat(text.strip()[:10]) if text and text.strip() else None

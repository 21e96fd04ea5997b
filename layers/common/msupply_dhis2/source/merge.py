"""Streaming the stock histories of an mSupply database, whichever kind it is.

The scope goes to the database as numbers: every store and every item has one, and their sum says the pair's
place in the order of the scope. So one number a row is enough to tell rows apart, to order them and to merge
the four streams, and nothing that is not mapped leaves the database.
"""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from heapq import heappush, heappushpop
from itertools import chain, groupby
from math import inf
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, CursorResult, Select
from sqlalchemy.exc import DBAPIError

from msupply_dhis2.domain.stock import (
    MICRO,
    GroupHistory,
    Movement,
    MovementKind,
    PairHistory,
    StockLine,
    UnreadableRow,
    described,
)
from msupply_dhis2.metrics.quantity import MOST_UNITS, format_value, to_units
from msupply_dhis2.source.base import Scope
from msupply_dhis2.source.sentences import MOST_NAMED, some_of

ROWS_AT_A_TIME = 5_000
"""How many rows of each stream are in memory."""

ID_SEPARATOR = "\n"
"""Stands between the ids of rows that the database hands over together."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of the scope's stores and items.

    The pair of a store and an item has the sum of both: ``((org unit * item groups + item group) * most
    stores of an org unit + store) * most items of a group + item``.
    """

    scope: Scope
    stores: dict[str, int]
    items: dict[str, int]
    most_stores: int
    most_items: int

    @classmethod
    def of(cls, scope: Scope) -> "Numbers":
        """Return every store and item of a scope its number."""
        most_stores = max((len(org_unit.stores) for org_unit in scope.org_units), default=1)
        most_items = max((len(group.items) for group in scope.item_groups), default=1)
        of_group = most_stores * most_items
        return cls(
            scope=scope,
            stores={
                each.id: org_unit_place * len(scope.item_groups) * of_group + place * most_items
                for org_unit_place, org_unit in enumerate(scope.org_units)
                for place, each in enumerate(org_unit.stores)
            },
            items={
                each.id: group_place * of_group + place
                for group_place, group in enumerate(scope.item_groups)
                for place, each in enumerate(group.items)
            },
            most_stores=most_stores,
            most_items=most_items,
        )

    @property
    def pairs_of_a_group(self) -> int:
        """How many numbers each group has; the pair's number by it is the place of its group in the scope."""
        return self.most_stores * self.most_items

    def history(self, group: int) -> GroupHistory:
        """Begin the history of a group, without pairs."""
        org_unit, item_group = divmod(group, len(self.scope.item_groups))
        return GroupHistory(self.scope.org_units[org_unit], self.scope.item_groups[item_group], [])

    def pair_history(self, pair: int, group: GroupHistory) -> PairHistory:
        """Begin the history of a pair in its group."""
        place, item_place = divmod(pair, self.most_items)
        store = group.org_unit.stores[place % self.most_stores]
        return PairHistory(store, group.item_group.items[item_place], [], [], None, 0)


class Stream:
    """Rows that begin with a pair's number, in the order of these numbers, taken pair by pair.

    ``pair`` is the number of the pair that comes next, infinite at the end.
    """

    def __init__(self, connection: Connection, query: Select[Any]) -> None:
        self._result = connection.execute(
            query, execution_options={"stream_results": True, "yield_per": ROWS_AT_A_TIME}
        )
        # Taken from the driver many at a time and told apart without a step of our own for each row.
        rows = chain.from_iterable(_rows_of_driver(connection, self._result))
        self._pairs: Iterator[tuple[float, Iterator[Any]]] = groupby(rows, key=itemgetter(0))
        self.pair: float
        self._rows: Iterator[Any]
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


def _rows_of_driver(connection: Connection, result: CursorResult[Any]) -> Iterator[Sequence[Any]]:
    """Yield the rows many at a time, as the plain tuples that the driver makes.

    SQLAlchemy would make another object of each, and has nothing to convert: all columns are asked for in types that
    leave as they come. Only the first lot comes from SQLAlchemy, which has fetched some of it already: one row on
    PostgreSQL, and never more than it is told to hold, which is a lot.

    Raises
    ------
    DBAPIError
        As SQLAlchemy raises it where it meets the driver's error itself.
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


@dataclass(slots=True)
class Oddities:
    """What was odd in the histories, counted."""

    stock_lines_without_pack_size: int = 0
    of_these_with_packs: int = 0
    movements_without_pack_size: int = 0
    moved_without_instant: tuple[str, ...] = ()
    dated_later: tuple[str, ...] = ()
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
            self.some_negative_stock_lines.append(
                f"{described(pair.store, pair.item)}, stock line {line.id}: {units} units"
            )

    def note_ledger(self, pair: PairHistory, moved: int) -> None:
        """Count a pair and whether its stock lines are what all its movements add up to; keep the worst.

        Parameters
        ----------
        moved
            The sum of all movements there ever were, in millionths.
        """
        self.ledgers += 1
        difference = -moved
        for line in pair.stock_lines:
            difference += line[1]
        if not difference:
            return
        self.ledgers_off += 1
        # Of two that are as bad the earlier one stays.
        entry = (abs(difference), -self.ledgers, difference, described(pair.store, pair.item))
        if len(self.worst_ledgers) < MOST_NAMED:
            heappush(self.worst_ledgers, entry)
        else:
            heappushpop(self.worst_ledgers, entry)

    def sentences(self) -> Iterator[str]:
        """Say them."""
        if self.stock_lines_without_pack_size:
            packs = (
                f"{self.of_these_with_packs:,} of them hold packs"
                if self.of_these_with_packs
                else "all are empty"
            )
            yield (
                f"Stock lines without a pack size, which count as 0 units: {self.stock_lines_without_pack_size:,} ({packs})."
            )
        if self.movements_without_pack_size:
            yield (
                "Lines of invoices without a pack size, which count as movements of 0 units: "
                f"{self.movements_without_pack_size:,}."
            )
        if self.negative_stock_lines:
            more = self.negative_stock_lines - len(self.some_negative_stock_lines)
            yield (
                "Stock lines below 0, which the metrics add up as they are and mSupply's own stock on hand leaves out: "
                f"{self.negative_stock_lines:,}, namely {'; '.join(self.some_negative_stock_lines)}"
                f"{f'; and {more:,} more' if more else ''}."
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
                f"{some_of(self.moved_without_instant)}."
            )
        if self.receipts_without_date:
            stores = [f"{code} {number:,}" for code, number in self.receipts_without_date.items()]
            yield (
                "Receipts (inbound shipments) that came over as new and without a date, with their stock in the store "
                f"already: {sum(self.receipts_without_date.values()):,}, by store {some_of(stores)}. Stock is right. In "
                "which month they were received is not known, so received leaves them out."
            )
        if count := len(self.dated_later):
            yield (
                "Invoices dated later than the moment at which the database was read. Their stock has moved already: they "
                "count at the time at which they were created, or at the start of today where that time is missing or "
                f"later too: {count:,}, namely {some_of(self.dated_later)}. Check the date of each, and the clock of the "
                "computer or tablet that made it."
            )


@dataclass(frozen=True, slots=True)
class Statements:
    """What is asked of a database: four streams of rows that begin with a pair's number, in the order of these.

    Attributes
    ----------
    visible_pairs
        ``(pair)``: the pairs that are visible in the store.
    stock_lines
        ``(pair, id, packs, pack_size, expiry date as text)``, as they are now.
    movements
        ``(pair, instant, type, packs, pack_size, stock_line_id)``: those at or after the floor, or a little
        earlier; packs are signed, + in.
    totals
        ``(pair, whole, units, parts, first_in, unreadable)``: all that ever moved, in whole units, in more of these
        and in millionths besides, the instant of the first movement in of more than 0 units, and the ids of the lines
        whose quantity cannot be read, joined.
    stock_table, movement_table
        Where the packs and pack sizes stand, for messages.
    unreadable_instants
        The rows of each pair that moved stock at an instant that cannot be read. Each of these pairs has a total; neither
        the movements nor the instant of the first hold such an instant.
    read_instant
        Turns an instant of the database into naive UTC.
    kinds
        What the movements' types mean.
    """

    visible_pairs: Select[Any]
    stock_lines: Select[Any]
    movements: Select[Any]
    totals: Select[Any]
    stock_table: "Table"
    movement_table: "Table"
    unreadable_instants: Mapping[int, Sequence["RowFault"]]
    read_instant: Callable[[Any], datetime]
    kinds: Mapping[str, MovementKind]


class Table(NamedTuple):
    """A table with packs and pack sizes, and the columns that they are in."""

    name: str
    quantity: str


class RowFault(NamedTuple):
    """What is wrong with a row of a table."""

    table: str
    id: str
    fault: str


def read_histories(
    connection: Connection, numbers: Numbers, floor: datetime, statements: Statements, data_warnings: Oddities
) -> Iterator[GroupHistory]:
    """Stream the groups of a scope (see ``Source.histories``), noting what is odd on the way."""
    streams: list[Stream] = []
    try:
        for query in (
            statements.visible_pairs,
            statements.stock_lines,
            statements.movements,
            statements.totals,
        ):
            streams.append(Stream(connection, query))  # noqa: PERF401 - those that are open must be closed
        with _cycles_sought_rarely():
            yield from _merged(numbers, streams, floor, statements, data_warnings)
    finally:
        for stream in streams:
            stream.close()


@contextmanager
def _cycles_sought_rarely() -> Iterator[None]:
    """Spare the rows that are in memory, tens of thousands in no cycle, from being searched again and again."""
    thresholds = gc.get_threshold()
    gc.set_threshold(10 * ROWS_AT_A_TIME, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


def _merged(
    numbers: Numbers, streams: list[Stream], floor: datetime, statements: Statements, data_warnings: Oddities
) -> Iterator[GroupHistory]:
    visible, stock_lines, movements, totals = streams
    pairs_of_a_group = numbers.pairs_of_a_group
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
        unreadable: list[RowFault] = [*statements.unreadable_instants.get(pair, ())]
        undated: dict[str, str] = {}
        visible.take(pair)
        if stock_lines.pair == pair:
            rows = stock_lines.take(pair)
            undated = _read_stock_lines(pair_history, rows, statements.stock_table, data_warnings, unreadable)
        if movements.pair == pair:
            _read_movements(pair_history, movements.take(pair), floor, statements, data_warnings)
        moved = _read_totals(pair_history, totals.take(pair), statements, unreadable)
        history.unreadable += [
            UnreadableRow(pair_history.store, pair_history.item, *each) for each in unreadable
        ]
        if undated:
            history.unreadable += _without_expiry_date(pair_history, undated, statements.stock_table)
        if not unreadable:
            data_warnings.note_ledger(pair_history, moved)
        history.pairs.append(pair_history)
    if history is not None:
        yield history


def _no_quantity(table: Table, row: str) -> RowFault:
    return RowFault(
        table.name,
        row,
        f"{table.quantity} is no finite number, or together they make more than {MOST_UNITS:,} units",
    )


def _read_stock_lines(
    pair: PairHistory,
    rows: Sequence[Any],
    table: Table,
    data_warnings: Oddities,
    unreadable: list[RowFault],
) -> dict[str, str]:
    """Read the stock lines of a pair; give what those have for an expiry date whose date cannot be read, by their ids."""
    lines = pair.stock_lines
    undated = {}
    for _, stock_line_id, packs, pack_size, expiry in rows:
        if not pack_size:
            data_warnings.stock_lines_without_pack_size += 1
            data_warnings.of_these_with_packs += bool(packs)
        try:
            units = to_units(packs or 0.0, pack_size)
        except (TypeError, ValueError):
            # In SQLite a column of numbers may hold text.
            unreadable.append(_no_quantity(table, stock_line_id))
            continue
        try:
            expiry_date = _expiry_date(expiry)
        except ValueError:
            undated[stock_line_id] = expiry
            expiry_date = None
        line = StockLine(stock_line_id, units, expiry_date)
        if units < 0:
            data_warnings.note_negative(pair, line)
        lines.append(line)
    return undated


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


def _read_movements(
    pair: PairHistory, rows: Sequence[Any], floor: datetime, statements: Statements, data_warnings: Oddities
) -> None:
    movements, read_instant, kinds = pair.movements, statements.read_instant, statements.kinds
    for _, instant_as_stored, kind, packs, pack_size, stock_line_id in rows:
        instant = read_instant(instant_as_stored)
        if instant < floor:
            continue
        if not pack_size:
            data_warnings.movements_without_pack_size += 1
        try:
            units = to_units(packs, pack_size)
        except (TypeError, ValueError):
            # Its id comes with the totals.
            continue
        pair.units_before_floor -= units
        movements.append(Movement(instant, kinds[kind], units, stock_line_id))
    if len(movements) > 1:
        movements.sort(key=itemgetter(0), reverse=True)


def _read_totals(
    pair: PairHistory, rows: Sequence[Any], statements: Statements, unreadable: list[RowFault]
) -> int:
    """Read what all movements of a pair come to, and give it in millionths."""
    moved = 0
    for _, whole, units, parts, first_in, unreadable_ids in rows:
        moved = (int(whole or 0) + int(units or 0)) * MICRO + int(parts or 0)
        # What lies before the floor is what is left of all there ever was, so that no instant on the
        # edge is counted twice or lost however it is written.
        pair.units_before_floor += moved
        pair.first_in = None if first_in is None else statements.read_instant(first_in)
        if unreadable_ids:
            table = statements.movement_table
            unreadable += (_no_quantity(table, each) for each in sorted(unreadable_ids.split(ID_SEPARATOR)))
    return moved


@lru_cache(maxsize=65_536)
def _expiry_date(text: str | None) -> date | None:
    """Read an expiry date; blank is none. Some rows hold a time of day behind it."""
    return date.fromisoformat(text.strip()[:10]) if text and text.strip() else None

"""Streaming the stock histories of an mSupply database, whichever kind it is: four streams, merged pair by pair."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
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
    Movement,
    NamedMovement,
    PairHistory,
    StockLine,
    UnreadableRow,
    described,
)
from msupply_dhis2.metrics.quantity import MOST_UNITS, format_value, to_units
from msupply_dhis2.source.queries import ID_SEPARATOR, Quantities, StockQueries
from msupply_dhis2.source.sql import Query, streamed
from msupply_dhis2.text import MOST_NAMED, listed

ROWS_AT_A_TIME = 5_000
"""How many rows of each stream are in memory."""

type Fault = tuple[str, str, str]
"""A table, the id of a row, and what is wrong with it."""


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
            named = f"{described(pair.store, pair.item)}, stock line {line.id}: {_units(line.units)}"
            self.some_negative_stock_lines.append(named)

    def note_ledger(self, pair: PairHistory, moved: int) -> None:
        """Count a pair and whether its stock lines are what all its movements add up to (``moved``); keep the worst."""
        self.ledgers += 1
        difference = sum([line[1] for line in pair.stock_lines]) - moved
        if difference:
            self.ledgers_off += 1
            # Of two that are as bad the earlier one stays.
            entry = (abs(difference), -self.ledgers, difference, described(pair.store, pair.item))
            add = heappush if len(self.worst_ledgers) < MOST_NAMED else heappushpop
            add(self.worst_ledgers, entry)

    def warnings(self) -> Iterator[str]:
        """Yield a sentence for each kind that there is."""
        if number := self.stock_lines_without_pack_size:
            with_packs = self.of_these_with_packs
            yield f"Stock lines without a pack size count as 0 units: {number:,} (with packs: {with_packs:,})."
        if number := self.movements_without_pack_size:
            yield f"Lines of invoices without a pack size count as movements of 0 units: {number:,}."
        if number := self.negative_stock_lines:
            some = listed(self.some_negative_stock_lines, MOST_NAMED, of=number, by="; ")
            yield (
                f"Stock lines below 0: {number:,}, namely {some}. The metrics count them; mSupply's own stock on hand does not."
            )
        if self.ledgers_off:
            worst = [
                f"{pair}: {'+' if difference > 0 else ''}{_units(difference)}"
                for _, _, difference, pair in sorted(self.worst_ledgers, reverse=True)
            ]
            yield (
                f"Items in a store whose stock lines differ from the sum of their movements: {self.ledgers_off:,} of "
                f"{self.ledgers:,}. Nothing is corrected: the stock lines count. The largest differences (+ is more stock than "
                f"movements): {'; '.join(worst)}."
            )
        if named := self.moved_without_instant:
            yield (
                "Invoices whose status says that their stock has moved, but that have no date for it (mSupply's ledger and the "
                f"metrics do not count them): {len(named):,}, namely {listed(named)}."
            )
        if receipts := self.receipts_without_date:
            stores = listed([f"{code} {number:,}" for code, number in receipts.items()])
            yield (
                "Receipts (inbound shipments) that are new and have no date, although their stock is in the store: "
                f"{sum(receipts.values()):,}, by store {stores}. Stock is right. The month of the receipt is not known, so the "
                "metric received does not count them."
            )
        if named := self.dated_later:
            yield (
                "Invoices with a date in the future. Their stock has moved already, so they count at the time when they were "
                f"created, or at the start of today if that time is missing or in the future too: {len(named):,}, namely "
                f"{listed(named)}. Check the date of each, and the clock of the computer or tablet that made it."
            )


class Stream:
    """Rows that begin with a pair's number, in the order of these numbers, taken pair by pair.

    ``pair`` is the number of the pair that comes next, infinite at the end. The stack lets go of the database's cursor.
    """

    def __init__(self, stack: ExitStack, connection: sa.Connection, query: Query) -> None:
        result = streamed(connection, query, ROWS_AT_A_TIME)
        stack.callback(result.close)
        # Taken from the driver many at a time and told apart without a step of our own for each row.
        rows = chain.from_iterable(_rows_of_driver(connection, result))
        self._pairs: Iterator[tuple[float, Iterator[Any]]] = groupby(rows, key=itemgetter(0))
        self.pair, self._rows = next(self._pairs, _THE_END)

    def take(self, pair: int) -> Sequence[Any]:
        """Return the rows of a pair, if any are next."""
        if self.pair != pair:
            return ()
        rows = list(self._rows)
        self.pair, self._rows = next(self._pairs, _THE_END)
        return rows


_THE_END: tuple[float, Iterator[Any]] = (inf, iter(()))


def _rows_of_driver(connection: sa.Connection, result: sa.CursorResult[Any]) -> Iterator[Sequence[Any]]:
    """Yield the rows many at a time, as the plain tuples that the driver makes.

    SQLAlchemy would make another object of each, and has nothing to convert. Only the first lot comes from it, because it has
    fetched some already. The driver's errors are raised as it would.
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
class HistoryReader:
    """Reads the histories of a scope from a floor on (naive UTC), and notes what is odd on the way.

    ``named`` takes each movement with its names, where they are wanted.
    """

    connection: sa.Connection
    queries: StockQueries
    floor: datetime
    named: list[NamedMovement] | None
    data_warnings: DataWarnings = field(default_factory=DataWarnings)

    def read(self) -> Iterator[GroupHistory]:
        """Stream the groups (see ``Source.histories``)."""
        queries, numbers = self.queries, self.queries.numbers
        self._note_instants()
        of_instants = unreadable_instants(self.connection, queries)
        asked = (
            queries.visible_pairs(),
            queries.stock_lines(),
            queries.movements(named=self.named is not None),
            queries.totals(),
        )
        with ExitStack() as stack:
            streams = [Stream(stack, self.connection, query) for query in asked]
            visible, stock_lines, movements, totals = streams
            pairs = iter(lambda: min(visible.pair, stock_lines.pair, movements.pair, totals.pair), inf)
            for group, of_group in groupby(pairs, key=lambda pair: int(pair) // numbers.pairs_of_a_group):
                history = GroupHistory(*numbers.group(group), [])
                for pair in map(int, of_group):
                    it = PairHistory(*numbers.pair(pair), [], [], None, 0)
                    faults = [*of_instants.get(pair, ())]
                    visible.take(pair)
                    undated = self._read_stock_lines(it, stock_lines.take(pair), faults)
                    self._read_movements(it, movements.take(pair))
                    moved = self._read_totals(it, totals.take(pair), faults)
                    if not faults:
                        self.data_warnings.note_ledger(it, moved)
                    history.unreadable += [UnreadableRow(it.store, it.item, *fault) for fault in faults]
                    if undated:
                        history.unreadable += self._without_expiry_date(it, undated)
                    history.pairs.append(it)
                yield history

    def _note_instants(self) -> None:
        """Note what has moved without an instant, or later than now, and find out whether all instants can be read."""
        warnings = self.data_warnings
        codes = {store.id: store.code for store in self.queries.numbers.scope.stores}
        doubtful = self.connection.execute(self.queries.doubtful())
        for store_id, kind, number, is_unreadable, is_later in doubtful:
            if is_unreadable:
                self.queries.all_readable = False
            else:
                named = f"{codes[store_id]} {self.queries.names[kind]} {number}"
                (warnings.dated_later if is_later else warnings.moved_without_instant).append(named)
        receipts = dict(map(tuple, self.connection.execute(self.queries.receipts_without_date())))
        warnings.receipts_without_date = {codes[each]: receipts[each] for each in codes if each in receipts}

    def _read_stock_lines(
        self, pair: PairHistory, rows: Sequence[Any], faults: list[Fault]
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
                faults.append(without_quantity(self.queries.stock_line, stock_line_id))
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
        read_instant, kinds = self.queries.clock.read, self.queries.kinds
        for _, instant_as_stored, kind, packs, pack_size, stock_line_id, *names in rows:
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
            movement = Movement(instant, kinds[kind], units, stock_line_id)
            pair.movements.append(movement)
            if self.named is not None:
                number, own = names
                own_instant = None if own is None else read_instant(own)
                self.named.append(NamedMovement(pair.store, pair.item, movement, number, own_instant))
        pair.movements.sort(key=itemgetter(0), reverse=True)

    def _read_totals(self, pair: PairHistory, rows: Sequence[Any], faults: list[Fault]) -> int:
        """Read what all movements of a pair come to, and return it in millionths."""
        moved = 0
        for _, whole, units, parts, first_in, unreadable_ids in rows:
            moved = (int(whole or 0) + int(units or 0)) * MICRO + int(parts or 0)
            # What lies before the floor is what is left of all there ever was, so that no instant on the
            # edge is counted twice or lost however it is written.
            pair.units_before_floor += moved
            pair.first_in = None if first_in is None else self.queries.clock.read(first_in)
            if unreadable_ids:
                ids = sorted(unreadable_ids.split(ID_SEPARATOR))
                faults += [without_quantity(self.queries.line, each) for each in ids]
        return moved

    def _without_expiry_date(self, pair: PairHistory, undated: Mapping[str, str]) -> Iterator[UnreadableRow]:
        """Name the stock lines whose expiry date cannot be read, if they hold anything or did since the floor."""
        last_moved = {each.stock_line_id: each.instant for each in reversed(pair.movements)}
        for line in pair.stock_lines:
            if line.id in undated and (line.units or line.id in last_moved):
                fault = f"expiry_date is not a date ({undated[line.id]!r})"
                until = None if line.units else last_moved[line.id]
                table = self.queries.stock_line.table.name
                yield UnreadableRow(pair.store, pair.item, table, line.id, fault, until)


def unreadable_instants(connection: sa.Connection, queries: StockQueries) -> Mapping[int, Sequence[Fault]]:
    """Return the rows that moved stock at an instant that cannot be read, by pair."""
    rows = defaultdict[int, list[Fault]](list)
    if queries.all_readable:
        return rows
    query, table = queries.unreadable_instants(), queries.invoice.table
    for pair, number, invoice_id, kind, column, instant in connection.execute(query):
        fault = f"{column} is not a {queries.instant_is} ({instant!r}; {queries.names[kind]} {number})"
        rows[pair].append((table.description, invoice_id, fault))
    return rows


def without_quantity(of: Quantities, row_id: str) -> Fault:
    """Return that the quantity of a row cannot be read."""
    fault = f"{of.quantity} is not a finite number, or together they make more than {MOST_UNITS:,} units"
    return of.table.name, row_id, fault


@lru_cache(maxsize=4_096)
def _expiry_date(text: str | None) -> date | None:
    """Read an expiry date; blank is none. Some rows hold a time of day behind it."""
    return date.fromisoformat(text.strip()[:10]) if text and text.strip() else None


def _units(units: int) -> str:
    return f"{format_value(units, round_off=False)} units"

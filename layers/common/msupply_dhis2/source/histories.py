"""Streaming the stock histories of an mSupply database, whichever kind it is.

The scope goes to the database as numbers: every store and every item has one, and their sum says the pair's
place in the order of the scope. So one number a row is enough to tell rows apart, to order them and to merge
the four streams, and nothing that is not mapped leaves the database.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from math import inf
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Result, Select

from msupply_dhis2.metrics.quantity import to_units
from msupply_dhis2.source.catalogue import Scope
from msupply_dhis2.source.sentences import some_of
from msupply_dhis2.stock import MICRO, GroupHistory, Movement, MovementKind, PairHistory, StockLine

ROWS_AT_A_TIME = 5_000
"""How many rows of each stream are in memory."""


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
        """Give every store and item of a scope its number."""
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

    def group_of(self, pair: int) -> int:
        """Give the place of the pair's group in the order of the scope."""
        return pair // (self.most_stores * self.most_items)

    def history(self, group: int) -> GroupHistory:
        """Begin the history of a group, without pairs."""
        org_unit, item_group = divmod(group, len(self.scope.item_groups))
        return GroupHistory(self.scope.org_units[org_unit], self.scope.item_groups[item_group], [])

    def pair_history(self, pair: int, group: GroupHistory) -> PairHistory:
        """Begin the history of a pair in its group."""
        place, item_place = divmod(pair, self.most_items)
        return PairHistory(
            store=group.org_unit.stores[place % self.most_stores],
            item=group.item_group.items[item_place],
            stock_lines=[],
            movements=[],
            first_in=None,
            units_before_floor=0,
        )


class Stream:
    """Rows that begin with a pair's number, in the order of these numbers, taken pair by pair.

    ``pair`` is the number of the row that comes next, infinite at the end.
    """

    def __init__(self, connection: Connection, query: Select[Any]) -> None:
        self._result: Result[Any] = connection.execute(
            query, execution_options={"stream_results": True, "yield_per": ROWS_AT_A_TIME}
        )
        self._rows = iter(self._result)
        self._row = next(self._rows, None)
        self.pair: float = inf if self._row is None else self._row[0]

    def take(self, pair: int) -> Iterator[Any]:
        """Give the rows of a pair, if any are next."""
        while self.pair == pair:
            yield self._row
            self._row = next(self._rows, None)
            self.pair = inf if self._row is None else self._row[0]

    def close(self) -> None:
        """Let go of the database's cursor."""
        self._result.close()


@dataclass(slots=True)
class Oddities:
    """What was odd in the histories, counted."""

    stock_lines_without_pack_size: int = 0
    of_these_with_packs: int = 0
    movements_without_pack_size: int = 0
    unreadable_expiry_dates: int = 0
    moved_without_instant: tuple[str, ...] = ()

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
        if self.unreadable_expiry_dates:
            yield (
                "Stock lines with an expiry date that cannot be read, which count as never expiring: "
                f"{self.unreadable_expiry_dates:,}."
            )
        if count := len(self.moved_without_instant):
            yield (
                "Invoices whose status says that their stock has moved, but that lack the instant at which it did "
                f"(mSupply's own ledger leaves them out, and so do the metrics): {count:,}, namely "
                f"{some_of(self.moved_without_instant)}."
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
        ``(pair, whole, parts, first_in)``: all that ever moved, in whole units and in millionths besides, and the
        instant of the first movement in of more than 0 units.
    read_instant
        Turns an instant of the database into naive UTC.
    kinds
        What the movements' types mean.
    """

    visible_pairs: Select[Any]
    stock_lines: Select[Any]
    movements: Select[Any]
    totals: Select[Any]
    read_instant: Callable[[Any], datetime]
    kinds: Mapping[str, MovementKind]


def read_histories(
    connection: Connection, numbers: Numbers, floor: datetime, statements: Statements, oddities: Oddities
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
        yield from _merged(numbers, streams, floor, statements, oddities)
    finally:
        for stream in streams:
            stream.close()


def _merged(
    numbers: Numbers, streams: list[Stream], floor: datetime, statements: Statements, oddities: Oddities
) -> Iterator[GroupHistory]:
    visible, stock_lines, movements, totals = streams
    group, history = -1, None
    while (next_pair := min(stream.pair for stream in streams)) != inf:
        pair = int(next_pair)
        if numbers.group_of(pair) != group:
            if history is not None:
                yield history
            group = numbers.group_of(pair)
            history = numbers.history(group)
        assert history is not None  # noqa: S101 - tells mypy: set with the first group
        pair_history = numbers.pair_history(pair, history)
        for _ in visible.take(pair):
            pass
        _read_stock_lines(pair_history, stock_lines.take(pair), oddities)
        _read_movements(pair_history, movements.take(pair), floor, statements, oddities)
        for _, whole, parts, first_in in totals.take(pair):
            # What lies before the floor is what is left of all there ever was, so that no instant on the
            # edge is counted twice or lost however it is written.
            pair_history.units_before_floor += int(whole or 0) * MICRO + int(parts or 0)
            pair_history.first_in = None if first_in is None else statements.read_instant(first_in)
        pair_history.units_before_floor -= sum(movement.units for movement in pair_history.movements)
        history.pairs.append(pair_history)
    if history is not None:
        yield history


def _read_stock_lines(pair: PairHistory, rows: Iterator[Any], oddities: Oddities) -> None:
    for _, stock_line_id, packs, pack_size, expiry in rows:
        if not pack_size:
            oddities.stock_lines_without_pack_size += 1
            oddities.of_these_with_packs += bool(packs)
        try:
            expiry_date = _expiry_date(expiry)
        except ValueError:
            oddities.unreadable_expiry_dates += 1
            expiry_date = None
        pair.stock_lines.append(StockLine(stock_line_id, to_units(packs or 0.0, pack_size), expiry_date))


def _read_movements(
    pair: PairHistory, rows: Iterator[Any], floor: datetime, statements: Statements, oddities: Oddities
) -> None:
    for _, instant_as_stored, kind, packs, pack_size, stock_line_id in rows:
        instant = statements.read_instant(instant_as_stored)
        if instant < floor:
            continue
        if not pack_size:
            oddities.movements_without_pack_size += 1
        pair.movements.append(
            Movement(instant, statements.kinds[kind], to_units(packs, pack_size), stock_line_id)
        )
    pair.movements.sort(key=itemgetter(0), reverse=True)


@lru_cache(maxsize=65_536)
def _expiry_date(text: str | None) -> date | None:
    """Read an expiry date; blank is none. Some rows hold a time of day behind it."""
    return date.fromisoformat(text.strip()[:10]) if text and text.strip() else None

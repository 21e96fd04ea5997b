"""Streaming the stock histories of an Open mSupply database.

The scope goes to the database as numbers: every store and every item has one, and their sum says the pair's
place in the order of the scope. So one number a row is enough to tell rows apart, to order them and to merge
the four streams, and nothing that is not mapped leaves the database.

Looked at with EXPLAIN on both databases: ``invoice_line`` is by far the largest table, has no useful index in
SQLite, and is read through once for each of its two streams; the invoices that count are looked up in a hash
(PostgreSQL) or an index made for the query (SQLite). Those at or after the floor are few, and PostgreSQL finds
them by ``invoice``'s indexes on ``picked_datetime``, ``received_datetime`` and ``verified_datetime``; SQLite goes
by ``invoice.store_id``. Stock lines are found by ``stock_line.store_id``.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from math import inf
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    Result,
    Select,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
)

from msupply_dhis2.errors import SourceError
from msupply_dhis2.metrics.quantity import to_units
from msupply_dhis2.source.catalogue import Scope
from msupply_dhis2.source.expressions import (
    Instant,
    JoinInOrder,
    exact_micro_units,
    is_unreadable_instant,
    numbered,
    one_separator,
    read_instant,
    text_of,
)
from msupply_dhis2.source.sentences import some_of
from msupply_dhis2.source.tables import (
    KINDS,
    MOVED_AT,
    MovedAt,
    invoice,
    invoice_line,
    item_link,
    master_list_line,
    master_list_name_join,
    name_link,
    stock_line,
    store,
)
from msupply_dhis2.stock import MICRO, GroupHistory, Movement, PairHistory, StockLine

ROWS_AT_A_TIME = 5_000
"""How many rows of each stream are in memory."""

# Not parameters, which are text and do not compare with the enumerated types of PostgreSQL; and not casts, which
# its planner can say nothing about.
_STOCK_IN: ColumnElement[str] = literal_column("'STOCK_IN'")
_STOCK_OUT: ColumnElement[str] = literal_column("'STOCK_OUT'")

_PLAIN_PACKS = 1e9
_PLAIN_PACK_SIZE = 1e6
"""Whole numbers below these multiply exactly, as integers and as floats, and leave room for the sum."""


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


def read_histories(
    connection: Connection, scope: Scope, floor: datetime, oddities: Oddities
) -> Iterator[GroupHistory]:
    """Stream the groups of a scope (see ``Source.histories``), noting what is odd on the way.

    Raises
    ------
    SourceError
        An invoice's instant cannot be read.
    """
    numbers = Numbers.of(scope)
    stores = numbered("scope_store", numbers.stores)
    links = _links(numbers.items)
    oddities.moved_without_instant = _check_instants(connection, scope, stores)

    streams: list[Stream] = []
    try:
        for query in (
            _visible_pairs(stores, links),
            _stock_lines(stores, links),
            _movements(stores, links, floor),
            _totals(stores, links),
        ):
            streams.append(Stream(connection, query))  # noqa: PERF401 - those that are open must be closed
        yield from _merged(numbers, streams, floor, oddities)
    finally:
        for stream in streams:
            stream.close()


def _merged(
    numbers: Numbers, streams: list[Stream], floor: datetime, oddities: Oddities
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
        _read_movements(pair_history, movements.take(pair), floor, oddities)
        for _, whole, parts, first_in in totals.take(pair):
            # What lies before the floor is what is left of all there ever was, so that no instant on the
            # edge is counted twice or lost however it is written.
            pair_history.units_before_floor += int(whole or 0) * MICRO + int(parts or 0)
            pair_history.first_in = None if first_in is None else _instant(first_in)
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


def _read_movements(pair: PairHistory, rows: Iterator[Any], floor: datetime, oddities: Oddities) -> None:
    for _, instant_as_stored, kind, packs, pack_size, stock_line_id in rows:
        instant = _instant(instant_as_stored)
        if instant < floor:
            continue
        if not pack_size:
            oddities.movements_without_pack_size += 1
        pair.movements.append(Movement(instant, KINDS[kind], to_units(packs, pack_size), stock_line_id))
    pair.movements.sort(key=itemgetter(0), reverse=True)


@lru_cache(maxsize=65_536)
def _instant(value: object) -> datetime:
    return read_instant(value)


@lru_cache(maxsize=65_536)
def _expiry_date(text: str | None) -> date | None:
    """Read an expiry date; blank is none. Some rows hold a time of day behind it."""
    return date.fromisoformat(text.strip()[:10]) if text and text.strip() else None


def _check_instants(connection: Connection, scope: Scope, stores: CTE) -> tuple[str, ...]:
    """Make sure that every instant can be read, and name the invoices that have moved without one."""
    lacks_it = or_(
        *(
            and_(
                text_of(invoice.c.type).in_(moved_at.kinds),
                moved_at.instant.is_(None),
                text_of(invoice.c.status).in_(moved_at.statuses),
            )
            for moved_at in MOVED_AT
        )
    )
    unreadable = or_(
        *(
            and_(
                text_of(invoice.c.type).in_(moved_at.kinds),
                moved_at.instant.is_not(None),
                is_unreadable_instant(moved_at.instant),
            )
            for moved_at in MOVED_AT
        )
    )
    invoices = (
        select(
            invoice.c.store_id,
            invoice.c.invoice_number,
            text_of(invoice.c.type).label("type"),
            case((unreadable, _name_of_instant()), else_=None).label("unreadable"),
        )
        .join(stores, stores.c.id == invoice.c.store_id)
        .where(or_(lacks_it, unreadable))
        .order_by(stores.c.number, invoice.c.invoice_number)
    )
    codes = {each.id: each.code for org_unit in scope.org_units for each in org_unit.stores}
    lacking = []
    for store_id, number, kind, column in connection.execute(invoices):
        named = f"{codes[store_id]} {KINDS[kind].replace('_', ' ')} {number}"
        if column is not None:
            raise SourceError(
                f"mSupply's database: {column} of an invoice cannot be read as a date and time: {named} "
                "(store, type and number of the invoice). Ask whoever looks after mSupply to correct it."
            )
        lacking.append(named)
    return tuple(lacking)


def _by_type(of_moved_at: Callable[[MovedAt], ColumnElement[Any] | str]) -> ColumnElement[Any]:
    return case(
        *((text_of(invoice.c.type).in_(moved_at.kinds), of_moved_at(moved_at)) for moved_at in MOVED_AT)
    )


def _name_of_instant() -> ColumnElement[Any]:
    return _by_type(lambda moved_at: moved_at.instant.name)


def _links(items: Mapping[str, int]) -> CTE:
    """Select the links of the items, each with the number of the item that it points to."""
    scope_item = numbered("scope_item", items)
    return (
        select(item_link.c.id, scope_item.c.number)
        .join(scope_item, scope_item.c.id == item_link.c.item_id)
        .cte("scope_link")
        .prefix_with("MATERIALIZED")
    )


def _pair(stores: CTE, links: CTE) -> ColumnElement[int]:
    return (stores.c.number + links.c.number).label("pair")


def _visible_pairs(stores: CTE, links: CTE) -> Select[Any]:
    """Select what is on a master list of the store's name, whether or not the list is active."""
    own_name, listed_name = name_link.alias("own_name"), name_link.alias("listed_name")
    pair = _pair(stores, links)
    return (
        select(pair)
        .select_from(stores)
        .join(store, store.c.id == stores.c.id)
        .join(own_name, own_name.c.id == store.c.name_link_id)
        .join(listed_name, listed_name.c.name_id == own_name.c.name_id)
        .join(master_list_name_join, master_list_name_join.c.name_link_id == listed_name.c.id)
        .join(master_list_line, master_list_line.c.master_list_id == master_list_name_join.c.master_list_id)
        .join(links, links.c.id == master_list_line.c.item_link_id)
        .distinct()
        .order_by(pair)
    )


def _stock_lines(stores: CTE, links: CTE) -> Select[Any]:
    pair = _pair(stores, links)
    return (
        select(
            pair,
            stock_line.c.id,
            stock_line.c.total_number_of_packs,
            stock_line.c.pack_size,
            # As text: PostgreSQL has dates beyond those of Python, and a slip of the keyboard makes one.
            text_of(stock_line.c.expiry_date).label("expiry_date"),
        )
        .join(stores, stores.c.id == stock_line.c.store_id)
        .join(links, links.c.id == stock_line.c.item_link_id)
        .order_by(pair, stock_line.c.id)
    )


def _moved_invoices(stores: CTE, floor: datetime | None) -> CTE:
    """Select the invoices that have moved stock, or those that have at or after the floor."""
    instant = _by_type(lambda moved_at: moved_at.instant)
    invoices = select(
        invoice.c.id,
        stores.c.number,
        text_of(invoice.c.type).label("type"),
        one_separator(instant).label("instant"),
    ).join(stores, stores.c.id == invoice.c.store_id)
    if floor is None:
        invoices = invoices.where(instant.is_not(None))
    else:
        at_least = bindparam("floor", floor, Instant())
        # Each instant by itself, which has an index, and then the one that counts.
        invoices = invoices.where(
            or_(*(moved_at.instant >= at_least for moved_at in MOVED_AT)), instant >= at_least
        )
    return invoices.cte("moved_invoice").prefix_with("MATERIALIZED")


def _moved_lines(invoices: CTE, links: CTE, *columns: ColumnElement[Any]) -> CTE:
    """Select the lines of invoices that move stock. UNALLOCATED_STOCK and SERVICE lines move none.

    Not to be ordered or grouped in the same breath: with that to do as well, SQLite forgoes its indexes of the
    other two and reads them through for every line.
    """
    return (
        select(*columns)
        .select_from(
            JoinInOrder(
                JoinInOrder(invoice_line, invoices, invoices.c.id == invoice_line.c.invoice_id),
                links,
                links.c.id == invoice_line.c.item_link_id,
            )
        )
        .where(invoice_line.c.type.in_((_STOCK_IN, _STOCK_OUT)), invoice_line.c.number_of_packs > 0)
        .cte("line")
        .prefix_with("MATERIALIZED", dialect="sqlite")
    )


def _movements(stores: CTE, links: CTE, floor: datetime) -> Select[Any]:
    invoices = _moved_invoices(stores, floor)
    packs = invoice_line.c.number_of_packs
    lines = _moved_lines(
        invoices,
        links,
        _pair(invoices, links),
        invoices.c.instant,
        invoices.c.type,
        case((invoice_line.c.type == _STOCK_IN, packs), else_=-packs).label("packs"),
        invoice_line.c.pack_size,
        invoice_line.c.stock_line_id,
    )
    return select(*lines.c).order_by(lines.c.pair)


def _totals(stores: CTE, links: CTE) -> Select[Any]:
    """Sum all that ever moved, exactly, and find the first movement in of more than 0 units.

    Whole packs of whole pack sizes, nearly all that there are, are multiplied as integers; the rest by way of
    their decimals, which costs more.
    """
    invoices = _moved_invoices(stores, None)
    packs, pack_size = invoice_line.c.number_of_packs, func.coalesce(invoice_line.c.pack_size, 0)
    plain = and_(
        packs < _PLAIN_PACKS,
        func.abs(pack_size) < _PLAIN_PACK_SIZE,
        packs == func.round(packs),
        pack_size == func.round(pack_size),
    )
    lines = _moved_lines(
        invoices,
        links,
        _pair(invoices, links),
        invoices.c.instant,
        case((invoice_line.c.type == _STOCK_IN, 1), else_=-1).label("sign"),
        case((plain, cast(packs * pack_size, BigInteger)), else_=None).label("whole"),
        case((plain, None), else_=exact_micro_units(packs, pack_size)).label("parts"),
    )
    is_in = and_(lines.c.sign == 1, or_(lines.c.whole > 0, lines.c.parts > 0))
    return (
        select(
            lines.c.pair,
            func.sum(lines.c.sign * lines.c.whole),
            func.sum(lines.c.sign * lines.c.parts),
            func.min(lines.c.instant).filter(is_in),
        )
        .group_by(lines.c.pair)
        .order_by(lines.c.pair)
    )

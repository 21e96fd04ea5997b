"""What is asked of an Open mSupply database for the histories of its stock.

Looked at with EXPLAIN on both databases: ``invoice_line`` is by far the largest table, has no useful index in
SQLite, and is read through once for each of its two streams (in SQLite once more, for receipts without a date);
the invoices that count are looked up in a hash (PostgreSQL) or an index made for the query (SQLite). Where
those at or after the floor are few, PostgreSQL finds them by ``invoice``'s indexes on ``picked_datetime``,
``received_datetime`` and ``verified_datetime``; where they are not (three months of fourteen, every store
mapped) it reads ``invoice`` through, with several workers. SQLite goes by ``invoice.store_id``. Stock lines are
found by ``stock_line.store_id``, or read through where all stores are mapped. Nothing needs an index: without
one a table is read through, which for ``invoice_line`` happens anyway.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
    union_all,
)

from msupply_dhis2.domain.stock import MICRO, GroupHistory, Store
from msupply_dhis2.periods import Calendar
from msupply_dhis2.source.base import Scope
from msupply_dhis2.source.merge import (
    ID_SEPARATOR,
    Numbers,
    Oddities,
    RowFault,
    Statements,
    Table,
    read_histories,
)
from msupply_dhis2.source.open_msupply.database import Database
from msupply_dhis2.source.open_msupply.tables import (
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
from msupply_dhis2.source.sql import (
    Instant,
    JoinInOrder,
    Reading,
    exact_micro_units,
    is_unreadable_instant,
    numbered,
    one_separator,
    read_instant,
    text_of,
)

# Not parameters, which are text and do not compare with the enumerated types of PostgreSQL; and not casts, which
# its planner can say nothing about.
_STOCK_IN: ColumnElement[str] = literal_column("'STOCK_IN'")
_STOCK_OUT: ColumnElement[str] = literal_column("'STOCK_OUT'")

_PLAIN_PACKS = 1e8
_PLAIN_PACK_SIZE = 1e4
"""Finite numbers up to these never make too many units. Whole ones multiply exactly, as integers and as floats, and leave
room for a sum of nine million of them."""


def histories(
    database: Database,
    scope: Scope,
    floor: datetime,
    reading: Reading,
    data_warnings: Oddities,
) -> Iterator[GroupHistory]:
    """Stream the groups of a scope (see ``Source.histories``), noting what is odd on the way."""
    numbers = Numbers.of(scope)
    stores = numbered("scope_store", numbers.stores)
    links = _links(numbers.items)
    all_readable = _check_instants(database.connection, scope, stores, reading, data_warnings)
    data_warnings.receipts_without_date = _receipts_without_date(database.connection, scope, stores, links)
    invoices = _Invoices(database, stores, reading, all_readable)
    statements = Statements(
        visible_pairs=_visible_pairs(stores, links),
        stock_lines=_stock_lines(stores, links),
        movements=_movements(invoices.moved(floor), links),
        totals=_totals(invoices.moved(None), links),
        stock_table=Table("stock_line", "total_number_of_packs or pack_size"),
        movement_table=Table("invoice_line", "number_of_packs or pack_size"),
        unreadable_instants={} if all_readable else _unreadable_instants(database.connection, stores, links),
        read_instant=lru_cache(maxsize=65_536)(read_instant),
        kinds=KINDS,
    )
    yield from read_histories(database.connection, numbers, floor, statements, data_warnings)


def reading(began: datetime, calendar: Calendar) -> Reading:
    """Return the reading that began at an instant (naive UTC)."""
    return Reading(
        next=bindparam("next_instant", began + timedelta(microseconds=1), Instant()),
        midnight=bindparam("midnight", calendar.start_of_day(calendar.day_of(began)), Instant()),
    )


def count_lines(connection: Connection, stores: Sequence[Store]) -> dict[str, int]:
    """Count the lines of each store, by its id (see ``Source.lines``)."""
    wanted = numbered("counted_store", {each.id: place for place, each in enumerate(stores)})
    lines = dict.fromkeys((each.id for each in stores), 0)
    for query in (
        select(stock_line.c.store_id, func.count().label("lines"))
        .join(wanted, wanted.c.id == stock_line.c.store_id)
        .group_by(stock_line.c.store_id),
        select(invoice.c.store_id, func.count().label("lines"))
        .select_from(
            JoinInOrder(
                JoinInOrder(invoice_line, invoice, invoice.c.id == invoice_line.c.invoice_id),
                wanted,
                wanted.c.id == invoice.c.store_id,
            )
        )
        .group_by(invoice.c.store_id),
    ):
        for store_id, number in connection.execute(query):
            lines[store_id] += number
    return lines


def _check_instants(
    connection: Connection, scope: Scope, stores: CTE, reading: Reading, data_warnings: Oddities
) -> bool:
    """Note the invoices that have moved without an instant, or later than now; tell whether all instants can be read."""
    dated_later = one_separator(_own_instant(invoice)) >= reading.next
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
    unreadable = _is_unreadable()
    invoices = (
        select(
            invoice.c.store_id,
            invoice.c.invoice_number,
            text_of(invoice.c.type).label("type"),
            unreadable.label("unreadable"),
            case((dated_later, 1), else_=0).label("dated_later"),
        )
        .join(stores, stores.c.id == invoice.c.store_id)
        .where(or_(lacks_it, unreadable, dated_later))
        .order_by(stores.c.number, invoice.c.invoice_number)
    )
    codes = {each.id: each.code for org_unit in scope.org_units for each in org_unit.stores}
    lacking: list[str] = []
    later: list[str] = []
    all_readable = True
    for store_id, number, kind, is_unreadable, is_later in connection.execute(invoices):
        if is_unreadable:
            all_readable = False
        else:
            named = f"{codes[store_id]} {KINDS[kind].replace('_', ' ')} {number}"
            (later if is_later else lacking).append(named)
    data_warnings.moved_without_instant, data_warnings.dated_later = tuple(lacking), tuple(later)
    return all_readable


def _is_unreadable() -> ColumnElement[bool]:
    """Whether an invoice has an instant that moves its stock and cannot be read."""
    return or_(
        *(
            and_(
                text_of(invoice.c.type).in_(moved_at.kinds),
                moved_at.instant.is_not(None),
                is_unreadable_instant(moved_at.instant),
            )
            for moved_at in MOVED_AT
        )
    )


def _unreadable_instants(connection: Connection, stores: CTE, links: CTE) -> defaultdict[int, list[RowFault]]:
    """Find the invoices whose instant cannot be read, by the pairs that they would have moved."""
    invoices = (
        select(
            invoice.c.id,
            stores.c.number,
            invoice.c.invoice_number,
            text_of(invoice.c.type).label("type"),
            _by_type(invoice, lambda moved_at: moved_at.instant.name).label("column"),
            text_of(_own_instant(invoice)).label("instant"),
        )
        .join(stores, stores.c.id == invoice.c.store_id)
        .where(_is_unreadable())
        .cte("unreadable_invoice")
        .prefix_with("MATERIALIZED")
    )
    columns = (
        invoices.c.id,
        invoices.c.type,
        invoices.c.invoice_number,
        invoices.c.column,
        invoices.c.instant,
    )
    lines = _moved_lines(invoices, links, _pair(invoices, links), *columns)
    found = defaultdict[int, list[RowFault]](list)
    for pair, invoice_id, kind, number, column, instant in connection.execute(
        select(*lines.c).distinct().order_by(*lines.c)
    ):
        named = f"{KINDS[kind].replace('_', ' ')} {number}"
        fault = f"{column} is no date and time ({instant!r}; {named})"
        found[pair].append(RowFault("invoice", invoice_id, fault))
    return found


def _receipts_without_date(connection: Connection, scope: Scope, stores: CTE, links: CTE) -> dict[str, int]:
    """Count, by the code of the store, the receipts that came over as new and whose stock is on stock lines."""
    lines = JoinInOrder(invoice_line, links, links.c.id == invoice_line.c.item_link_id)
    of_invoices = JoinInOrder(lines, invoice, invoice.c.id == invoice_line.c.invoice_id)
    of_stores = JoinInOrder(of_invoices, stores, stores.c.id == invoice.c.store_id)
    receipts = (
        select(invoice.c.store_id, func.count(invoice.c.id.distinct()).label("receipts"))
        .select_from(JoinInOrder(of_stores, stock_line, stock_line.c.id == invoice_line.c.stock_line_id))
        .where(
            text_of(invoice.c.type) == "INBOUND_SHIPMENT",
            text_of(invoice.c.status) == "NEW",
            invoice.c.received_datetime.is_(None),
            invoice_line.c.type == _STOCK_IN,
            stock_line.c.total_number_of_packs > 0,
        )
        .group_by(invoice.c.store_id)
    )
    return scope.by_store_code({row.store_id: row.receipts for row in connection.execute(receipts)})


def _by_type(
    of: FromClause, of_moved_at: Callable[[MovedAt], ColumnElement[Any] | str]
) -> ColumnElement[Any]:
    return case(*((text_of(of.c.type).in_(moved_at.kinds), of_moved_at(moved_at)) for moved_at in MOVED_AT))


def _own_instant(of: FromClause) -> ColumnElement[Any]:
    """Return the instant at which an invoice says itself that it moved its stock."""
    return _by_type(of, lambda moved_at: of.c[moved_at.instant.name])


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


@dataclass(frozen=True, slots=True)
class _Invoices:
    """The invoices of some stores that have moved stock, and when each of them counts.

    Where not ``all_readable``, an instant that cannot be read comes as NULL, and is none at or after a floor.
    """

    database: Database
    stores: CTE
    reading: Reading
    all_readable: bool

    def moved(self, floor: datetime | None) -> CTE:
        """Select all of them, or those that count at or after the floor and a few besides."""
        at_least = None if floor is None else bindparam("floor", floor, Instant())
        moved = self._moved_themselves(at_least)
        if not all(
            self.database.has_column(each, of=invoice) for each in ("is_cancellation", "linked_invoice_id")
        ):
            return moved.cte("moved_invoice").prefix_with("MATERIALIZED")
        both = union_all(moved.where(~invoice.c.is_cancellation), self._moved_with_another(at_least))
        return both.cte("moved_invoice").prefix_with("MATERIALIZED")

    def _moved_themselves(self, at_least: ColumnElement[Any] | None) -> Select[Any]:
        invoices = self._select(self._placed(invoice))
        if at_least is None:
            return invoices.where(_own_instant(invoice).is_not(None))
        # Each instant by itself, which has an index, and then the one that counts. None counts later than it says.
        return invoices.where(
            or_(*(moved_at.instant >= at_least for moved_at in MOVED_AT)), self._readable(invoice) >= at_least
        )

    def _moved_with_another(self, at_least: ColumnElement[Any] | None) -> Select[Any]:
        """Select those that cancel another: they count when the other does, where that is known."""
        cancelled = invoice.alias("cancelled")
        instant = func.coalesce(self._placed(cancelled), self._placed(invoice))
        invoices = (
            self._select(instant)
            .outerjoin(
                cancelled,
                and_(
                    cancelled.c.id == invoice.c.linked_invoice_id,
                    ~is_unreadable_instant(_own_instant(cancelled)),
                ),
            )
            .where(invoice.c.is_cancellation, _own_instant(invoice).is_not(None))
        )
        return invoices if at_least is None else invoices.where(instant >= at_least)

    def _select(self, instant: ColumnElement[Any]) -> Select[Any]:
        return select(
            invoice.c.id,
            self.stores.c.number,
            text_of(invoice.c.type).label("type"),
            instant.label("instant"),
        ).join_from(invoice, self.stores, self.stores.c.id == invoice.c.store_id)

    def _placed(self, of: FromClause) -> ColumnElement[Any]:
        created = self.database.value(of.c.created_datetime, of=invoice)
        return self.reading.placed(one_separator(self._readable(of)), one_separator(created))

    def _readable(self, of: FromClause) -> ColumnElement[Any]:
        own = _own_instant(of)
        return own if self.all_readable else case((is_unreadable_instant(own), None), else_=own)


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


def _movements(invoices: CTE, links: CTE) -> Select[Any]:
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


def _totals(invoices: CTE, links: CTE) -> Select[Any]:
    """Sum all that ever moved, exactly, and find the first movement in of more than 0 units.

    Whole packs of whole pack sizes, nearly all that there are, are multiplied as integers; the rest by way of
    their decimals, which costs more, and summed in two parts, for which 64 bits are enough.
    """
    packs, pack_size = invoice_line.c.number_of_packs, func.coalesce(invoice_line.c.pack_size, 0)
    # Not by abs(), which is 0 for text in SQLite.
    small = and_(packs < _PLAIN_PACKS, pack_size.between(-_PLAIN_PACK_SIZE, _PLAIN_PACK_SIZE))
    plain = and_(small, packs == func.round(packs), pack_size == func.round(pack_size))
    units = exact_micro_units(packs, pack_size)
    lines = _moved_lines(
        invoices,
        links,
        _pair(invoices, links),
        invoices.c.instant,
        case((invoice_line.c.type == _STOCK_IN, 1), else_=-1).label("sign"),
        case((plain, cast(packs * pack_size, BigInteger)), else_=None).label("whole"),
        case((plain, None), else_=units).label("parts"),
        case((small, None), (units.is_(None), invoice_line.c.id), else_=None).label("unreadable"),
    )
    is_in = and_(lines.c.sign == 1, or_(lines.c.whole > 0, lines.c.parts > 0))
    return (
        select(
            lines.c.pair,
            func.sum(lines.c.sign * lines.c.whole),
            func.sum(lines.c.sign * (lines.c.parts // MICRO)),
            func.sum(lines.c.sign * (lines.c.parts % MICRO)),
            func.min(lines.c.instant).filter(is_in),
            func.aggregate_strings(lines.c.unreadable, ID_SEPARATOR),
        )
        .group_by(lines.c.pair)
        .order_by(lines.c.pair)
    )

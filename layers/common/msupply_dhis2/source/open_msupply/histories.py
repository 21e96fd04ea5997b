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

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    FromClause,
    Select,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
)

from msupply_dhis2.domain.stock import MICRO
from msupply_dhis2.periods import Calendar
from msupply_dhis2.source.base import Scope
from msupply_dhis2.source.merge import (
    ID_SEPARATOR,
    Histories,
    RowFault,
    Table,
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
    PLAIN_PACK_SIZE,
    PLAIN_PACKS,
    Instant,
    JoinInOrder,
    Reading,
    exact_quantity,
    is_unreadable_instant,
    one_separator,
    read_instant,
    text_of,
)

# Not parameters, which are text and do not compare with the enumerated types of PostgreSQL; and not casts, which
# its planner can say nothing about.
_STOCK_IN: ColumnElement[str] = literal_column("'STOCK_IN'")
_STOCK_OUT: ColumnElement[str] = literal_column("'STOCK_OUT'")


def line_counts(stores: CTE) -> tuple[Select[Any], ...]:
    """Return what counts the lines of stores (see ``Source.lines``)."""
    return (
        select(stock_line.c.store_id, func.count().label("lines"))
        .join(stores, stores.c.id == stock_line.c.store_id)
        .group_by(stock_line.c.store_id),
        select(invoice.c.store_id, func.count().label("lines"))
        .select_from(
            JoinInOrder(
                JoinInOrder(invoice_line, invoice, invoice.c.id == invoice_line.c.invoice_id),
                stores,
                stores.c.id == invoice.c.store_id,
            )
        )
        .group_by(invoice.c.store_id),
    )


class OpenMsupplyHistories(Histories):
    """What is asked of an Open mSupply database; ``items`` are links, with the numbers of the items they point to."""

    stock_table = Table("stock_line", "total_number_of_packs or pack_size")
    movement_table = Table("invoice_line", "number_of_packs or pack_size")
    kinds = KINDS

    def __init__(self, database: Database, scope: Scope, began: datetime, calendar: Calendar) -> None:
        reading = Reading(
            next=bindparam("next_instant", began + timedelta(microseconds=1), Instant()),
            midnight=bindparam("midnight", calendar.start_of_day(calendar.day_of(began)), Instant()),
        )
        super().__init__(database.connection, scope, reading)
        self._database = database
        self.items = (
            select(item_link.c.id, self.items.c.number)
            .join(self.items, self.items.c.id == item_link.c.item_id)
            .cte("scope_link")
            .prefix_with("MATERIALIZED")
        )

    def read_instant(self, value: object) -> datetime:
        """Read an instant (see ``Histories``)."""
        return read_instant(value)

    def called(self, kind: str) -> str:
        """Return what a type of invoices is called in messages."""
        return KINDS[kind].replace("_", " ")

    def doubtful(self) -> Select[Any]:
        """Select what has moved without an instant, at an unreadable one, or later than now."""
        dated_later = one_separator(_own_instant(invoice)) >= self.reading.next
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
        return (
            select(
                invoice.c.store_id,
                invoice.c.invoice_number.label("number"),
                text_of(invoice.c.type).label("type"),
                unreadable.label("unreadable"),
                case((dated_later, 1), else_=0).label("dated_later"),
            )
            .join(self.stores, self.stores.c.id == invoice.c.store_id)
            .where(or_(lacks_it, unreadable, dated_later))
            .order_by(self.stores.c.number, invoice.c.invoice_number)
        )

    def unreadable_instants(self) -> Iterator[tuple[int, RowFault]]:
        """Yield the invoices whose instant cannot be read, by the pairs that they would have moved."""
        invoices = (
            select(
                invoice.c.id,
                self.stores.c.number,
                invoice.c.invoice_number,
                text_of(invoice.c.type).label("type"),
                _by_type(invoice, lambda moved_at: moved_at.instant.name).label("column"),
                text_of(_own_instant(invoice)).label("instant"),
            )
            .join(self.stores, self.stores.c.id == invoice.c.store_id)
            .where(_is_unreadable())
            .cte("unreadable_invoice")
            .prefix_with("MATERIALIZED")
        )
        names = ("id", "type", "invoice_number", "column", "instant")
        lines = self._moved_lines(invoices, *(invoices.c[name] for name in names))
        for pair, invoice_id, kind, number, column, instant in self.connection.execute(
            select(*lines.c).distinct().order_by(*lines.c)
        ):
            fault = f"{column} is no date and time ({instant!r}; {self.called(kind)} {number})"
            yield pair, RowFault("invoice", invoice_id, fault)

    def receipts_without_date(self) -> Select[Any]:
        """Count the receipts that came over as new and whose stock is on stock lines."""
        lines = JoinInOrder(invoice_line, self.items, self.items.c.id == invoice_line.c.item_link_id)
        of_invoices = JoinInOrder(lines, invoice, invoice.c.id == invoice_line.c.invoice_id)
        of_stores = JoinInOrder(of_invoices, self.stores, self.stores.c.id == invoice.c.store_id)
        return (
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

    def visible_pairs(self) -> Select[Any]:
        """Select what is on a master list of the store's name, whether or not the list is active."""
        own_name, listed_name = name_link.alias("own_name"), name_link.alias("listed_name")
        stores, links, joins = self.stores, self.items, master_list_name_join
        pair = self.pair(stores)
        return (
            select(pair)
            .select_from(stores)
            .join(store, store.c.id == stores.c.id)
            .join(own_name, own_name.c.id == store.c.name_link_id)
            .join(listed_name, listed_name.c.name_id == own_name.c.name_id)
            .join(joins, joins.c.name_link_id == listed_name.c.id)
            .join(master_list_line, master_list_line.c.master_list_id == joins.c.master_list_id)
            .join(links, links.c.id == master_list_line.c.item_link_id)
            .distinct()
            .order_by(pair)
        )

    def stock_lines(self) -> Select[Any]:
        """Select the stock lines as they are now."""
        pair = self.pair(self.stores)
        return (
            select(
                pair,
                stock_line.c.id,
                stock_line.c.total_number_of_packs,
                stock_line.c.pack_size,
                # As text: PostgreSQL has dates beyond those of Python, and a slip of the keyboard makes one.
                text_of(stock_line.c.expiry_date).label("expiry_date"),
            )
            .join(self.stores, self.stores.c.id == stock_line.c.store_id)
            .join(self.items, self.items.c.id == stock_line.c.item_link_id)
            .order_by(pair, stock_line.c.id)
        )

    def movements(self, floor: datetime) -> Select[Any]:
        """Select the movements at or after the floor, or a little earlier."""
        invoices = self._moved(floor)
        packs = invoice_line.c.number_of_packs
        lines = self._moved_lines(
            invoices,
            invoices.c.instant,
            invoices.c.type,
            case((invoice_line.c.type == _STOCK_IN, packs), else_=-packs).label("packs"),
            invoice_line.c.pack_size,
            invoice_line.c.stock_line_id,
        )
        return select(*lines.c).order_by(lines.c.pair)

    def totals(self) -> Select[Any]:
        """Sum all that ever moved, exactly, in two parts, for which 64 bits are enough."""
        invoices = self._moved(None)
        packs, pack_size = invoice_line.c.number_of_packs, func.coalesce(invoice_line.c.pack_size, 0)
        # Not by abs(), which is 0 for text in SQLite.
        small = and_(packs < PLAIN_PACKS, pack_size.between(-PLAIN_PACK_SIZE, PLAIN_PACK_SIZE))
        lines = self._moved_lines(
            invoices,
            invoices.c.instant,
            case((invoice_line.c.type == _STOCK_IN, 1), else_=-1).label("sign"),
            *exact_quantity(packs, pack_size, small, invoice_line.c.id),
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

    def _moved(self, floor: datetime | None) -> CTE:
        needed = ("is_cancellation", "linked_invoice_id")
        can_cancel = all(self._database.has_column(each, of=invoice) for each in needed)
        at_least = None if floor is None else bindparam("floor", floor, Instant())
        return self.moved("moved_invoice", at_least, invoice.c.is_cancellation if can_cancel else None)

    def moved_themselves(self, at_least: ColumnElement[Any] | None) -> Select[Any]:
        """Select the invoices that have moved stock at their own instant."""
        invoices = self._select(self._placed(invoice))
        if at_least is None:
            return invoices.where(_own_instant(invoice).is_not(None))
        # Each instant by itself, which has an index, and then the one that counts. None counts later than it says.
        return invoices.where(
            or_(*(moved_at.instant >= at_least for moved_at in MOVED_AT)),
            self.readable(_own_instant(invoice)) >= at_least,
        )

    def moved_with_another(self, at_least: ColumnElement[Any] | None) -> Select[Any]:
        """Select those that cancel another: they count when the other does, where that is known."""
        cancelled = invoice.alias("cancelled")
        instant = func.coalesce(self._placed(cancelled), self._placed(invoice))
        is_readable = ~is_unreadable_instant(_own_instant(cancelled))
        invoices = (
            self._select(instant)
            .outerjoin(cancelled, and_(cancelled.c.id == invoice.c.linked_invoice_id, is_readable))
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
        created = self._database.value(of.c.created_datetime, of=invoice)
        return self.reading.placed(one_separator(self.readable(_own_instant(of))), one_separator(created))

    def _moved_lines(self, invoices: CTE, *columns: ColumnElement[Any]) -> CTE:
        """Select the lines of invoices that move stock. UNALLOCATED_STOCK and SERVICE lines move none.

        Not to be ordered or grouped in the same breath: with that to do as well, SQLite forgoes its indexes of the
        other two and reads them through for every line.
        """
        links = self.items
        of_invoices = JoinInOrder(invoice_line, invoices, invoices.c.id == invoice_line.c.invoice_id)
        return (
            select(self.pair(invoices), *columns)
            .select_from(JoinInOrder(of_invoices, links, links.c.id == invoice_line.c.item_link_id))
            .where(invoice_line.c.type.in_((_STOCK_IN, _STOCK_OUT)), invoice_line.c.number_of_packs > 0)
            .cte("line")
            .prefix_with("MATERIALIZED", dialect="sqlite")
        )


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


def _by_type(
    of: FromClause, of_moved_at: Callable[[MovedAt], ColumnElement[Any] | str]
) -> ColumnElement[Any]:
    return case(*((text_of(of.c.type).in_(moved_at.kinds), of_moved_at(moved_at)) for moved_at in MOVED_AT))


def _own_instant(of: FromClause) -> ColumnElement[Any]:
    """Return the instant at which an invoice says itself that it moved its stock."""
    return _by_type(of, lambda moved_at: of.c[moved_at.instant.name])

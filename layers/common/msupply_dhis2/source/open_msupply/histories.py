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

from collections.abc import Iterator
from datetime import datetime, timedelta

import sqlalchemy as sa

from msupply_dhis2.domain.stock import MICRO
from msupply_dhis2.source.base import Scope, Source
from msupply_dhis2.source.merge import ID_SEPARATOR, Histories, RowFault, Table
from msupply_dhis2.source.open_msupply.tables import (
    KINDS,
    MOVED_AT,
    Database,
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
    Expression,
    Instant,
    JoinInOrder,
    Query,
    exact_quantity,
    is_unreadable_instant,
    materialized,
    one_separator,
    read_instant,
    text_of,
)

# Not parameters, which are text and do not compare with the enumerated types of PostgreSQL; and not casts, which
# its planner can say nothing about.
_STOCK_IN: sa.ColumnElement[str] = sa.literal_column("'STOCK_IN'")
_STOCK_OUT: sa.ColumnElement[str] = sa.literal_column("'STOCK_OUT'")


def _is_of(moved_at: MovedAt, of: sa.FromClause = invoice) -> sa.ColumnElement[bool]:
    return text_of(of.c.type).in_(moved_at.kinds)


def _own_instant(of: sa.FromClause) -> Expression:
    """Return the instant at which an invoice says itself that it moved its stock."""
    return sa.case(*[(_is_of(moved_at, of), of.c[moved_at.instant.name]) for moved_at in MOVED_AT])


# Made once, of parts that all queries share.
_CANCELLED = invoice.alias("cancelled")
_OWN_INSTANT, _INSTANT_OF_CANCELLED = _own_instant(invoice), _own_instant(_CANCELLED)
_IS_UNREADABLE = sa.or_(
    *[
        sa.and_(_is_of(each), each.instant.is_not(None), is_unreadable_instant(each.instant))
        for each in MOVED_AT
    ]
)
_LACKS_INSTANT = sa.or_(
    *[
        sa.and_(_is_of(each), each.instant.is_(None), text_of(invoice.c.status).in_(each.statuses))
        for each in MOVED_AT
    ]
)


def line_counts(stores: sa.CTE) -> tuple[Query, ...]:
    """Return what counts the lines of stores (see ``Source.lines``)."""
    lines = JoinInOrder(invoice_line, invoice, invoice.c.id == invoice_line.c.invoice_id)
    return (
        sa.select(stock_line.c.store_id, sa.func.count().label("lines"))
        .join(stores, stores.c.id == stock_line.c.store_id)
        .group_by(stock_line.c.store_id),
        sa.select(invoice.c.store_id, sa.func.count().label("lines"))
        .select_from(JoinInOrder(lines, stores, stores.c.id == invoice.c.store_id))
        .group_by(invoice.c.store_id),
    )


class OpenMsupplyHistories(Histories):
    """What is asked of an Open mSupply database; ``items`` are links, with the numbers of the items they point to."""

    stock_table = Table("stock_line", "total_number_of_packs or pack_size")
    movement_table = Table("invoice_line", "number_of_packs or pack_size")
    kinds = KINDS

    def __init__(self, source: Source, database: Database, scope: Scope, floor: datetime) -> None:
        began, calendar = source.began, source.calendar
        super().__init__(
            source,
            scope,
            floor,
            sa.bindparam("next_instant", began + timedelta(microseconds=1), Instant()),
            sa.bindparam("midnight", calendar.start_of_day(calendar.day_of(began)), Instant()),
        )
        self._database = database
        links = sa.select(item_link.c.id, self.items.c.number)
        self.items = materialized(
            links.join(self.items, self.items.c.id == item_link.c.item_id), "scope_link"
        )

    def _read_instant(self, value: object) -> datetime:
        return read_instant(value)

    def _called(self, kind: str) -> str:
        return KINDS[kind].replace("_", " ")

    def _doubtful(self) -> Query:
        dated_later = one_separator(_OWN_INSTANT) >= self.next_instant
        return (
            sa.select(
                invoice.c.store_id,
                invoice.c.invoice_number.label("number"),
                text_of(invoice.c.type).label("type"),
                _IS_UNREADABLE.label("unreadable"),
                sa.case((dated_later, 1), else_=0).label("dated_later"),
            )
            .join(self.stores, self.stores.c.id == invoice.c.store_id)
            .where(sa.or_(_LACKS_INSTANT, _IS_UNREADABLE, dated_later))
            .order_by(self.stores.c.number, invoice.c.invoice_number)
        )

    def _unreadable_instants(self) -> Iterator[tuple[int, RowFault]]:
        column_by_type = [(_is_of(each), each.instant.name) for each in MOVED_AT]
        query = (
            sa.select(
                invoice.c.id,
                self.stores.c.number,
                invoice.c.invoice_number,
                text_of(invoice.c.type).label("type"),
                sa.case(*column_by_type).label("column"),
                text_of(_OWN_INSTANT).label("instant"),
            )
            .join(self.stores, self.stores.c.id == invoice.c.store_id)
            .where(_IS_UNREADABLE)
        )
        invoices = materialized(query, "unreadable_invoice")
        names = ("id", "type", "invoice_number", "column", "instant")
        lines = self._moved_lines(invoices, *(invoices.c[name] for name in names))
        query = sa.select(*lines.c).distinct().order_by(*lines.c)
        for pair, invoice_id, kind, number, column, instant in self.connection.execute(query):
            fault = f"{column} is no date and time ({instant!r}; {self._called(kind)} {number})"
            yield pair, RowFault("invoice", invoice_id, fault)

    def _receipts_without_date(self) -> Query:
        lines = JoinInOrder(invoice_line, self.items, self.items.c.id == invoice_line.c.item_link_id)
        of_invoices = JoinInOrder(lines, invoice, invoice.c.id == invoice_line.c.invoice_id)
        of_stores = JoinInOrder(of_invoices, self.stores, self.stores.c.id == invoice.c.store_id)
        return (
            sa.select(invoice.c.store_id, sa.func.count(invoice.c.id.distinct()).label("receipts"))
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

    def _visible_pairs(self) -> Query:
        """Select what is on a master list of the store's name, whether or not the list is active."""
        own_name, listed_name = name_link.alias("own_name"), name_link.alias("listed_name")
        stores, links, joins = self.stores, self.items, master_list_name_join
        pair = self.pair(stores)
        return (
            sa.select(pair)
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

    def _stock_lines(self) -> Query:
        pair = self.pair(self.stores)
        return (
            sa.select(
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

    def _movements(self) -> Query:
        invoices = self._moved(sa.bindparam("floor", self.floor, Instant()))
        packs = invoice_line.c.number_of_packs
        lines = self._moved_lines(
            invoices,
            invoices.c.instant,
            invoices.c.type,
            sa.case((invoice_line.c.type == _STOCK_IN, packs), else_=-packs).label("packs"),
            invoice_line.c.pack_size,
            invoice_line.c.stock_line_id,
        )
        return sa.select(*lines.c).order_by(lines.c.pair)

    def _totals(self) -> Query:
        # In two parts, for which 64 bits are enough.
        invoices = self._moved(None)
        packs, pack_size = invoice_line.c.number_of_packs, sa.func.coalesce(invoice_line.c.pack_size, 0)
        # Not by abs(), which is 0 for text in SQLite.
        small = sa.and_(packs < PLAIN_PACKS, pack_size.between(-PLAIN_PACK_SIZE, PLAIN_PACK_SIZE))
        lines = self._moved_lines(
            invoices,
            invoices.c.instant,
            sa.case((invoice_line.c.type == _STOCK_IN, 1), else_=-1).label("sign"),
            *exact_quantity(packs, pack_size, small, invoice_line.c.id),
        )
        is_in = sa.and_(lines.c.sign == 1, sa.or_(lines.c.whole > 0, lines.c.parts > 0))
        return (
            sa.select(
                lines.c.pair,
                sa.func.sum(lines.c.sign * lines.c.whole),
                sa.func.sum(lines.c.sign * (lines.c.parts // MICRO)),
                sa.func.sum(lines.c.sign * (lines.c.parts % MICRO)),
                sa.func.min(lines.c.instant).filter(is_in),
                sa.func.aggregate_strings(lines.c.unreadable, ID_SEPARATOR),
            )
            .group_by(lines.c.pair)
            .order_by(lines.c.pair)
        )

    def _moved(self, at_least: Expression | None) -> sa.CTE:
        """Select the invoices that have moved stock, and when they count: all, or from a floor on and a few besides.

        One that cancels another counts when the other does, where that is known.
        """
        instant = self.placed(self.readable(_OWN_INSTANT), self._created(invoice))
        moved = self._select(instant)
        if at_least is None:
            moved = moved.where(_OWN_INSTANT.is_not(None))
        else:
            # Each instant by itself, which has an index, and then the one that counts. None counts later than it says.
            by_index = sa.or_(*[moved_at.instant >= at_least for moved_at in MOVED_AT])
            moved = moved.where(by_index, self.readable(_OWN_INSTANT) >= at_least)
        if not self._database.has_columns(invoice, "is_cancellation", "linked_invoice_id"):
            return materialized(moved, "moved_invoice")
        of_cancelled = self.placed(self.readable(_INSTANT_OF_CANCELLED), self._created(_CANCELLED))
        instant = sa.func.coalesce(of_cancelled, instant)
        is_it = sa.and_(
            _CANCELLED.c.id == invoice.c.linked_invoice_id, ~is_unreadable_instant(_INSTANT_OF_CANCELLED)
        )
        cancelling = (
            self._select(instant)
            .outerjoin(_CANCELLED, is_it)
            .where(invoice.c.is_cancellation, _OWN_INSTANT.is_not(None))
        )
        if at_least is not None:
            cancelling = cancelling.where(instant >= at_least)
        both = sa.union_all(moved.where(~invoice.c.is_cancellation), cancelling)
        return materialized(both, "moved_invoice")

    def _created(self, of: sa.FromClause) -> Expression:
        return self._database.value(of.c.created_datetime, of=invoice)

    def _select(self, instant: Expression) -> Query:
        return sa.select(
            invoice.c.id,
            self.stores.c.number,
            text_of(invoice.c.type).label("type"),
            instant.label("instant"),
        ).join_from(invoice, self.stores, self.stores.c.id == invoice.c.store_id)

    def _moved_lines(self, invoices: sa.CTE, *columns: Expression) -> sa.CTE:
        """Select the lines of invoices that move stock. UNALLOCATED_STOCK and SERVICE lines move none.

        Not to be ordered or grouped in the same breath: with that to do as well, SQLite forgoes its indexes of the
        other two and reads them through for every line.
        """
        links = self.items
        of_invoices = JoinInOrder(invoice_line, invoices, invoices.c.id == invoice_line.c.invoice_id)
        return (
            sa.select(self.pair(invoices), *columns)
            .select_from(JoinInOrder(of_invoices, links, links.c.id == invoice_line.c.item_link_id))
            .where(invoice_line.c.type.in_((_STOCK_IN, _STOCK_OUT)), invoice_line.c.number_of_packs > 0)
            .cte("line")
            .prefix_with("MATERIALIZED", dialect="sqlite")
        )

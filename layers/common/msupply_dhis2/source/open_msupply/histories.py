"""Where an Open mSupply database keeps what histories are made of."""

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa

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
from msupply_dhis2.source.queries import Invoices, Lines, StockLines, StockQueries
from msupply_dhis2.source.sql import Expression, Instant, Query, materialized, text_of

# Not parameters, which are text and do not compare with the enumerated types of PostgreSQL; and not casts, which
# its planner can say nothing about.
_STOCK_IN: sa.ColumnElement[str] = sa.literal_column("'STOCK_IN'")
_STOCK_OUT: sa.ColumnElement[str] = sa.literal_column("'STOCK_OUT'")


def _is_of(moved_at: MovedAt) -> sa.ColumnElement[bool]:
    return text_of(invoice.c.type).in_(moved_at.kinds)


def _invoices(of: sa.FromClause, database: Database) -> Invoices:
    kind = text_of(of.c.type)
    return Invoices(
        table=of,
        id=of.c.id,
        # The instant says so.
        may_have_moved=sa.true(),
        instant=sa.case(*[(kind.in_(each.kinds), of.c[each.instant.name]) for each in MOVED_AT]),
        created=database.value(of.c.created_datetime, of=invoice),
    )


class OpenMsupplyQueries(StockQueries):
    """The queries of an Open mSupply database; ``items`` are links, with the numbers of the items they point to."""

    kinds = KINDS
    names = {kind: what.replace("_", " ") for kind, what in KINDS.items()}  # noqa: RUF012 - never changed
    instant_is = "date and time"
    stock_line = StockLines(
        table=stock_line,
        quantity="total_number_of_packs or pack_size",
        id=stock_line.c.id,
        store_id=stock_line.c.store_id,
        item_id=stock_line.c.item_link_id,
        packs=stock_line.c.total_number_of_packs,
        pack_size=stock_line.c.pack_size,
        # As text: PostgreSQL has dates beyond those of Python, and a slip of the keyboard makes one.
        expiry_date=text_of(stock_line.c.expiry_date),
    )
    line = Lines(
        table=invoice_line,
        quantity="number_of_packs or pack_size",
        id=invoice_line.c.id,
        invoice_id=invoice_line.c.invoice_id,
        item_id=invoice_line.c.item_link_id,
        stock_line_id=invoice_line.c.stock_line_id,
        packs=invoice_line.c.number_of_packs,
        pack_size=invoice_line.c.pack_size,
        # UNALLOCATED_STOCK and SERVICE lines move none.
        moves=sa.and_(invoice_line.c.type.in_((_STOCK_IN, _STOCK_OUT)), invoice_line.c.number_of_packs > 0),
        is_in=invoice_line.c.type == _STOCK_IN,
    )
    store_id = invoice.c.store_id
    kind = invoice_type = text_of(invoice.c.type)
    number = invoice.c.invoice_number
    is_cancellation = invoice.c.is_cancellation
    cancels = invoice.c.linked_invoice_id
    lacks_instant = sa.or_(
        *[
            sa.and_(_is_of(each), each.instant.is_(None), text_of(invoice.c.status).in_(each.statuses))
            for each in MOVED_AT
        ]
    )
    stored_in = sa.case(*[(_is_of(each), each.instant.name) for each in MOVED_AT])
    is_receipt_without_date = sa.and_(
        text_of(invoice.c.type) == "INBOUND_SHIPMENT",
        text_of(invoice.c.status) == "NEW",
        invoice.c.received_datetime.is_(None),
    )

    def __init__(
        self,
        database: Database,
        stores: Mapping[str, int],
        items: Mapping[str, int],
        next_instant: datetime,
        midnight: datetime,
        floor: datetime,
    ) -> None:
        super().__init__(stores, items, next_instant, midnight)
        links = sa.select(item_link.c.id, self.items.c.number)
        self.items = materialized(
            links.join(self.items, self.items.c.id == item_link.c.item_id), "scope_link"
        )
        self.invoice = _invoices(invoice, database)
        self.stored = text_of(self.invoice.instant)
        self.floor: Expression = sa.literal(floor, Instant())
        # Each instant by itself, which has an index.
        self.since_floor = sa.or_(*[moved_at.instant >= self.floor for moved_at in MOVED_AT])
        self.cancelled = None
        if database.has_columns(invoice, "is_cancellation", "linked_invoice_id"):
            self.cancelled = _invoices(invoice.alias("cancelled"), database)

    def visible_pairs(self) -> Query:
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

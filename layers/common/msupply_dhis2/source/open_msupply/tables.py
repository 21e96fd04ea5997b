"""The tables of Open mSupply that are read, which of them a release has, and where they keep stock and what moved it."""

from functools import partial
from typing import NamedTuple

import sqlalchemy as sa

from msupply_dhis2.domain.stock import MovementKind
from msupply_dhis2.source.queries import Clock, Invoices, Lines, Numbers, StockLines, StockQueries
from msupply_dhis2.source.sql import (
    Column,
    Columns,
    Expression,
    Instant,
    Query,
    Table,
    materialized,
    required_table,
    table,
    text_of,
)

REQUIRED: list[Column] = []
"""Without these nothing can be read. Every release that has them will do, up to 3."""

_required = partial(required_table, REQUIRED)

item = _required("item", "id name code type legacy_record", "is_active universal_code custom_fields")
item_link = _required("item_link", "id item_id")
name = _required(
    "name", "id name", "code type is_customer deleted_datetime properties custom_fields custom_data"
)
name_link = _required("name_link", "id name_id")
store = _required("store", "id name_link_id code", "is_disabled")
stock_line = _required(
    "stock_line", "id store_id item_link_id pack_size total_number_of_packs expiry_date", "batch"
)
invoice = _required(
    "invoice",
    "id store_id invoice_number type status picked_datetime received_datetime verified_datetime",
    "name_link_id created_datetime is_cancellation linked_invoice_id",
)
invoice_line = _required(
    "invoice_line", "id invoice_id item_link_id stock_line_id type number_of_packs pack_size"
)
master_list_line = _required("master_list_line", "item_link_id master_list_id")
master_list_name_join = _required("master_list_name_join", "master_list_id name_link_id")

# These came later or may go: each is read where the database has it.
store_preference = table("store_preference", "id monthly_consumption_look_back_period")
preference = table("preference", "id key value store_id")
custom_field = table("custom_field", "id key name deleted_datetime")
custom_field_scope = table("custom_field_scope", "custom_field_id scope deleted_datetime")
custom_field_option = table("custom_field_option", "id custom_field_id name")
sync_buffer = table("sync_buffer", "record_id table_name action data cursor is_integrated")
SYNC_RECORD = sync_buffer.c["record_id", "table_name", "action", "data"]
"""What releases before 3 have of it, too; since then it is a log."""


class MovedAt(NamedTuple):
    """The instant at which invoices of some types move their stock, and the statuses that say that it has moved."""

    instant: str
    types: tuple[str, ...]
    statuses: tuple[str, ...]


MOVED_AT = (
    MovedAt(
        "picked_datetime",
        ("OUTBOUND_SHIPMENT", "PRESCRIPTION", "SUPPLIER_RETURN"),
        ("PICKED", "SHIPPED", "DELIVERED", "RECEIVED", "VERIFIED", "CANCELLED"),
    ),
    MovedAt("received_datetime", ("INBOUND_SHIPMENT", "CUSTOMER_RETURN"), ("RECEIVED", "VERIFIED")),
    MovedAt("verified_datetime", ("INVENTORY_ADDITION", "INVENTORY_REDUCTION", "REPACK"), ("VERIFIED",)),
)
"""Which instant counts by the type of the invoice (docs/msupply.md)."""

# Not parameters, which are text and do not compare with the enumerated types of PostgreSQL; and not casts, which
# its planner can say nothing about.
_STOCK_IN: sa.ColumnElement[str] = sa.literal_column("'STOCK_IN'")
_STOCK_OUT: sa.ColumnElement[str] = sa.literal_column("'STOCK_OUT'")


def _invoices(of: Table, columns: Columns) -> Invoices:
    it, kind = of.c, text_of(of.c.type)
    status = text_of(it.status)
    moved_at = [(kind.in_(each.types), it[each.instant], each) for each in MOVED_AT]
    instant = sa.case(*[(is_of, instant) for is_of, instant, _ in moved_at])
    is_new_receipt = sa.and_(kind == "INBOUND_SHIPMENT", status == "NEW")
    return Invoices(
        table=of,
        id=it.id,
        store_id=it.store_id,
        type=kind,
        kind=kind,
        number=it.invoice_number,
        # The instant says so.
        may_have_moved=sa.true(),
        instant=instant,
        stored=text_of(instant),
        stored_in=sa.case(*[(is_of, each.instant) for is_of, _, each in moved_at]),
        lacks_instant=sa.or_(
            *[sa.and_(is_of, own.is_(None), status.in_(each.statuses)) for is_of, own, each in moved_at]
        ),
        created=columns.value(it.created_datetime),
        is_cancellation=it.is_cancellation,
        cancels=it.linked_invoice_id,
        is_receipt_without_date=sa.and_(is_new_receipt, it.received_datetime.is_(None)),
    )


class OpenMsupplyQueries(StockQueries):
    """The queries of an Open mSupply database; ``items`` are links, with the numbers of the items they point to."""

    kinds = {kind.name: kind for kind in MovementKind}  # noqa: RUF012 - never changed
    names = {kind.name: kind.replace("_", " ") for kind in MovementKind}  # noqa: RUF012 - as above
    instant_is = "date and time"
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

    def __init__(self, columns: Columns, numbers: Numbers, clock: Clock) -> None:
        super().__init__(numbers, clock)
        links = sa.select(item_link.c.id, self.items.c.number)
        links = links.join(self.items, self.items.c.id == item_link.c.item_id)
        self.items = materialized(links, "scope_link")
        self.stock_line = StockLines(
            table=stock_line,
            quantity="total_number_of_packs or pack_size",
            id=stock_line.c.id,
            store_id=stock_line.c.store_id,
            item_id=stock_line.c.item_link_id,
            packs=stock_line.c.total_number_of_packs,
            pack_size=stock_line.c.pack_size,
            # As text: PostgreSQL has dates beyond those of Python, and a slip of the keyboard makes one.
            expiry_date=text_of(stock_line.c.expiry_date),
            batch=columns.text(stock_line.c.batch),
        )
        self.invoice = _invoices(invoice, columns)
        self.cancelled = None
        if columns.has(invoice.c.is_cancellation, invoice.c.linked_invoice_id):
            self.cancelled = _invoices(invoice.alias("cancelled"), columns)
        self.floor: Expression = sa.literal(clock.floor, Instant())
        # Each instant by itself, which has an index.
        self.since_floor = sa.or_(*[invoice.c[moved_at.instant] >= self.floor for moved_at in MOVED_AT])

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

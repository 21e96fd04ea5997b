"""The tables of Open mSupply that are read, which of them a release has, and where they keep stock and what moved it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from msupply_dhis2.domain.stock import MovementKind
from msupply_dhis2.errors import SourceError
from msupply_dhis2.settings.credentials import DatabaseAddress
from msupply_dhis2.source.connection import Columns
from msupply_dhis2.source.queries import Invoices, Lines, StockLines, StockQueries
from msupply_dhis2.source.sql import Expression, Instant, Query, materialized, text_of


def _by_table(**columns: str) -> Mapping[str, Sequence[str]]:
    return {table: names.split() for table, names in columns.items()}


REQUIRED = _by_table(
    item="id name code type legacy_record",
    item_link="id item_id",
    name="id name",
    name_link="id name_id",
    store="id name_link_id code",
    stock_line="id store_id item_link_id pack_size total_number_of_packs expiry_date",
    invoice="id store_id invoice_number type status picked_datetime received_datetime verified_datetime",
    invoice_line="id invoice_id item_link_id stock_line_id type number_of_packs pack_size",
    master_list_line="item_link_id master_list_id",
    master_list_name_join="master_list_id name_link_id",
)
"""Without these nothing can be read. Every release that has them will do, up to 3."""

OPTIONAL = _by_table(
    invoice="name_link_id created_datetime is_cancellation linked_invoice_id",
    item="is_active universal_code custom_fields",
    name="properties custom_fields custom_data",
    store="is_disabled",
    stock_line="batch",
    sync_buffer="record_id table_name action data",
    store_preference="id monthly_consumption_look_back_period",
    preference="id key value store_id",
    custom_field="id key name deleted_datetime",
    custom_field_scope="custom_field_id scope",
    custom_field_option="id custom_field_id name",
)
"""These came later or may go: each is read where the database has it, and counts as absent where not."""

_OF_LOG = _by_table(
    sync_buffer="cursor is_integrated",
)
"""What release 3 added where it made a log of the table."""


def _table(name: str) -> sa.TableClause:
    return sa.table(
        name,
        *(
            sa.column(each, Instant() if each.endswith("_datetime") else None)
            for each in (*REQUIRED.get(name, ()), *OPTIONAL.get(name, ()), *_OF_LOG.get(name, ()))
        ),
    )


item = _table("item")
item_link = _table("item_link")
name = _table("name")
name_link = _table("name_link")
store = _table("store")
stock_line = _table("stock_line")
invoice = _table("invoice")
invoice_line = _table("invoice_line")
master_list_line = _table("master_list_line")
master_list_name_join = _table("master_list_name_join")
sync_buffer = _table("sync_buffer")
store_preference = _table("store_preference")
preference = _table("preference")
custom_field = _table("custom_field")
custom_field_scope = _table("custom_field_scope")
custom_field_option = _table("custom_field_option")


class MovedAt(NamedTuple):
    """The instant at which invoices of some types move their stock, and the statuses that say that it has moved."""

    instant: Expression
    kinds: Mapping[str, MovementKind]
    statuses: tuple[str, ...]


MOVED_AT = (
    MovedAt(
        invoice.c.picked_datetime,
        {
            "OUTBOUND_SHIPMENT": MovementKind.OUTBOUND_SHIPMENT,
            "PRESCRIPTION": MovementKind.PRESCRIPTION,
            "SUPPLIER_RETURN": MovementKind.SUPPLIER_RETURN,
        },
        ("PICKED", "SHIPPED", "DELIVERED", "RECEIVED", "VERIFIED", "CANCELLED"),
    ),
    MovedAt(
        invoice.c.received_datetime,
        {
            "INBOUND_SHIPMENT": MovementKind.INBOUND_SHIPMENT,
            "CUSTOMER_RETURN": MovementKind.CUSTOMER_RETURN,
        },
        ("RECEIVED", "VERIFIED"),
    ),
    MovedAt(
        invoice.c.verified_datetime,
        {
            "INVENTORY_ADDITION": MovementKind.INVENTORY_ADDITION,
            "INVENTORY_REDUCTION": MovementKind.INVENTORY_REDUCTION,
            "REPACK": MovementKind.REPACK,
        },
        ("VERIFIED",),
    ),
)
"""Which instant counts by the type of the invoice (docs/msupply.md)."""

KINDS = {kind: what for moved_at in MOVED_AT for kind, what in moved_at.kinds.items()}


@dataclass(frozen=True, slots=True)
class Database:
    """The connection, and which columns there are to read."""

    connection: sa.Connection
    columns: Columns

    def check(self, address: DatabaseAddress) -> None:
        """Tell a release that will do from one that is too old."""
        missing = [
            f"{table}.{column}"
            for table, columns in REQUIRED.items()
            for column in columns
            if column not in self.columns.get(table, {})
        ]
        if missing:
            raise SourceError(
                f"mSupply's database ({address.described}) is of a release of Open mSupply that is too old: it lacks "
                f"{', '.join(missing)}. Update Open mSupply; releases 2.20 to 3.0 are known to have all that is needed."
            )

    def has_columns(self, table: sa.TableClause, *columns: str) -> bool:
        """Return whether a table is there and has these columns, or all that are read from an optional one."""
        return self.columns.get(table.name, {}).keys() >= {*(columns or OPTIONAL[table.name])}

    def text(self, column: Expression, *, of: sa.TableClause) -> Expression:
        """Select an optional column as text: NULL where the database lacks it."""
        return text_of(column) if column.name in self.columns.get(of.name, {}) else sa.null()

    def value(self, column: Expression, *, of: sa.TableClause) -> Expression:
        """Select an optional column as it is: NULL where the database lacks it."""
        return column if column.name in self.columns.get(of.name, {}) else sa.null()


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
        self.batch = database.text(stock_line.c.batch, of=stock_line)
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

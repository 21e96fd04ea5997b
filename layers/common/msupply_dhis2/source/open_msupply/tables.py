"""The tables of Open mSupply that are read, which of them a release has, and which instant moves an invoice's stock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa

from msupply_dhis2.domain.stock import MovementKind
from msupply_dhis2.errors import SourceError
from msupply_dhis2.settings.credentials import DatabaseAddress
from msupply_dhis2.source.connection import Columns
from msupply_dhis2.source.sql import Expression, Instant, text_of


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
    invoice="created_datetime is_cancellation linked_invoice_id",
    item="is_active universal_code custom_fields",
    name="properties custom_fields custom_data",
    store="is_disabled",
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

"""The tables of Open mSupply that are read, and which instant of an invoice moves its stock."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, TableClause, column, table

from msupply_dhis2.domain.stock import MovementKind
from msupply_dhis2.source.sql import Instant

REQUIRED: Mapping[str, tuple[str, ...]] = {
    "item": ("id", "name", "code", "type", "legacy_record"),
    "item_link": ("id", "item_id"),
    "name": ("id", "name"),
    "name_link": ("id", "name_id"),
    "store": ("id", "name_link_id", "code"),
    "stock_line": ("id", "store_id", "item_link_id", "pack_size", "total_number_of_packs", "expiry_date"),
    "invoice": (
        "id",
        "store_id",
        "invoice_number",
        "type",
        "status",
        "picked_datetime",
        "received_datetime",
        "verified_datetime",
    ),
    "invoice_line": (
        "id",
        "invoice_id",
        "item_link_id",
        "stock_line_id",
        "type",
        "number_of_packs",
        "pack_size",
    ),
    "master_list_line": ("item_link_id", "master_list_id"),
    "master_list_name_join": ("master_list_id", "name_link_id"),
}
"""Without these nothing can be read. Every release that has them will do, up to 3."""

OPTIONAL: Mapping[str, tuple[str, ...]] = {
    "invoice": ("created_datetime", "is_cancellation", "linked_invoice_id"),
    "item": ("is_active", "universal_code", "custom_fields"),
    "name": ("properties", "custom_fields", "custom_data"),
    "store": ("is_disabled",),
    "sync_buffer": ("record_id", "table_name", "action", "data"),
    "store_preference": ("id", "monthly_consumption_look_back_period"),
    "preference": ("id", "key", "value", "store_id"),
    "custom_field": ("id", "key", "name", "deleted_datetime"),
    "custom_field_scope": ("custom_field_id", "scope"),
    "custom_field_option": ("id", "custom_field_id", "name"),
}
"""These came later or may go: each is read where the database has it, and counts as absent where not."""

OF_LOG: Mapping[str, tuple[str, ...]] = {"sync_buffer": ("cursor", "is_integrated")}
"""What release 3 added where it made a log of the table."""


def _table(name: str) -> TableClause:
    return table(
        name,
        *(
            column(each, Instant() if each.endswith("_datetime") else None)
            for each in (*REQUIRED.get(name, ()), *OPTIONAL.get(name, ()), *OF_LOG.get(name, ()))
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


@dataclass(frozen=True, slots=True)
class MovedAt:
    """The instant at which invoices of some types move their stock.

    ``statuses`` are those that say that the stock has moved.
    """

    instant: ColumnElement[Any]
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

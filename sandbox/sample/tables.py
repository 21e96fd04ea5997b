"""The tables of Open mSupply's database that matter here, with the types that each engine really has.

Instants are text in SQLite and ``timestamp without time zone`` in PostgreSQL, always UTC. Kinds and states
are text in SQLite and enumerated types in PostgreSQL. SQLite databases have lost the indexes of
``invoice_line``, which an upgrade of Open mSupply rebuilds without them; PostgreSQL databases have them.
"""

import sqlalchemy as sa

METADATA = sa.MetaData()


def _enumerated(name: str, *values: str) -> sa.types.TypeEngine[str]:
    return sa.Enum(*values, name=name, metadata=METADATA).with_variant(sa.Text(), "sqlite")


NAME_TYPE = _enumerated("name_type", "FACILITY", "PATIENT", "BUILD", "INVAD", "REPACK", "STORE", "OTHERS")
STORE_MODE = _enumerated("store_mode", "STORE", "DISPENSARY")
SYNC_ACTION = _enumerated("sync_action", "UPSERT", "DELETE", "MERGE")
STORE_PREFERENCE_TYPE = _enumerated("store_preference_type", "STORE_PREFERENCES")
INVOICE_TYPE = _enumerated(
    "invoice_type",
    "OUTBOUND_SHIPMENT",
    "INBOUND_SHIPMENT",
    "INVENTORY_ADDITION",
    "INVENTORY_REDUCTION",
    "REPACK",
    "PRESCRIPTION",
    "CUSTOMER_RETURN",
    "SUPPLIER_RETURN",
)
INVOICE_STATUS = _enumerated(
    "invoice_status",
    "NEW",
    "ALLOCATED",
    "PICKED",
    "SHIPPED",
    "DELIVERED",
    "RECEIVED",
    "VERIFIED",
    "CANCELLED",
)
REQUISITION_TYPE = _enumerated("requisition_type", "REQUEST", "RESPONSE", "IMPREST", "STOCK_HISTORY")
REQUISITION_STATUS = _enumerated("requisition_status", "DRAFT", "NEW", "SENT", "FINALISED")
INVOICE_LINE_TYPE = _enumerated("invoice_line_type", "STOCK_IN", "STOCK_OUT", "UNALLOCATED_STOCK", "SERVICE")

INSTANT = sa.DateTime().with_variant(sa.Text(), "sqlite")
DATE = sa.Date().with_variant(sa.Text(), "sqlite")


def _id() -> sa.Column[str]:
    return sa.Column("id", sa.Text, primary_key=True)


def _reference(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable)


UNIT = sa.Table(
    "unit",
    METADATA,
    _id(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("index", sa.Integer, nullable=False),
    sa.Column("is_active", sa.Boolean, nullable=False),
)

ITEM = sa.Table(
    "item",
    METADATA,
    _id(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    _reference("unit_id", nullable=True),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("legacy_record", sa.Text, nullable=False),
    sa.Column("is_active", sa.Boolean, nullable=False),
    sa.Column("default_pack_size", sa.Double, nullable=False),
    sa.Column("is_vaccine", sa.Boolean, nullable=False),
    sa.Column("universal_code", sa.Text),
    sa.Index("index_item_unit_id_fkey", "unit_id"),
    sa.Index("index_item_is_active", "is_active"),
)

ITEM_LINK = sa.Table(
    "item_link",
    METADATA,
    _id(),
    _reference("item_id"),
    sa.Index("index_item_link_item_id_fkey", "item_id"),
)

NAME = sa.Table(
    "name",
    METADATA,
    _id(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("type", NAME_TYPE, nullable=False),
    sa.Column("is_customer", sa.Boolean, nullable=False),
    sa.Column("is_supplier", sa.Boolean, nullable=False),
    _reference("supplying_store_id", nullable=True),
    sa.Column("custom_data", sa.Text),
    sa.Column("properties", sa.Text),
    sa.Column("deleted_datetime", INSTANT),
    sa.Index("index_name_code", "code"),
)

NAME_LINK = sa.Table(
    "name_link",
    METADATA,
    _id(),
    _reference("name_id"),
    sa.Index("index_name_link_name_id_fkey", "name_id"),
)

STORE = sa.Table(
    "store",
    METADATA,
    _id(),
    _reference("name_link_id"),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("site_id", sa.Integer, nullable=False),
    sa.Column("store_mode", STORE_MODE, nullable=False),
    sa.Column("created_date", DATE),
    sa.Column("is_disabled", sa.Boolean, nullable=False),
)

SYNC_BUFFER = sa.Table(
    "sync_buffer",
    METADATA,
    sa.Column("record_id", sa.Text, primary_key=True),
    sa.Column("received_datetime", INSTANT, nullable=False),
    sa.Column("integration_datetime", INSTANT),
    sa.Column("integration_error", sa.Text),
    sa.Column("table_name", sa.Text, nullable=False),
    sa.Column("action", SYNC_ACTION, nullable=False),
    sa.Column("data", sa.Text, nullable=False),
    sa.Index("index_sync_buffer_action", "action"),
    sa.Index("index_sync_buffer_integration_datetime", "integration_datetime"),
)

MASTER_LIST = sa.Table(
    "master_list",
    METADATA,
    _id(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("is_active", sa.Boolean, nullable=False),
)

MASTER_LIST_LINE = sa.Table(
    "master_list_line",
    METADATA,
    _id(),
    _reference("item_link_id"),
    _reference("master_list_id"),
    sa.Index("index_master_list_line_item_link_id_fkey", "item_link_id"),
)

MASTER_LIST_NAME_JOIN = sa.Table(
    "master_list_name_join",
    METADATA,
    _id(),
    _reference("master_list_id"),
    _reference("name_link_id"),
    sa.Index("index_master_list_name_join_name_link_id_fkey", "name_link_id"),
)

STORE_PREFERENCE = sa.Table(
    "store_preference",
    METADATA,
    _id(),
    sa.Column("type", STORE_PREFERENCE_TYPE),
    sa.Column("pack_to_one", sa.Boolean, nullable=False),
    sa.Column("monthly_consumption_look_back_period", sa.Double),
    sa.Column("months_overstock", sa.Double),
    sa.Column("months_understock", sa.Double),
)

PREFERENCE = sa.Table(
    "preference",
    METADATA,
    _id(),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("value", sa.Text, nullable=False),
    _reference("store_id", nullable=True),
)

STOCK_LINE = sa.Table(
    "stock_line",
    METADATA,
    _id(),
    _reference("store_id"),
    _reference("item_link_id"),
    sa.Column("batch", sa.Text),
    sa.Column("expiry_date", DATE),
    sa.Column("pack_size", sa.Double, nullable=False),
    sa.Column("total_number_of_packs", sa.Double, nullable=False),
    sa.Column("available_number_of_packs", sa.Double, nullable=False),
    sa.Column("cost_price_per_pack", sa.Double, nullable=False),
    sa.Column("sell_price_per_pack", sa.Double, nullable=False),
    sa.Column("on_hold", sa.Boolean, nullable=False),
    sa.Column("note", sa.Text),
    sa.Index("index_stock_line_store_id_fkey", "store_id"),
    sa.Index("index_stock_line_item_link_id_fkey", "item_link_id"),
    sa.Index("index_stock_line_available_number_of_packs", "available_number_of_packs"),
    sa.Index("index_stock_line_total_number_of_packs", "total_number_of_packs"),
    sa.Index("index_stock_line_expiry_date", "expiry_date"),
)

INVOICE = sa.Table(
    "invoice",
    METADATA,
    _id(),
    _reference("store_id"),
    _reference("name_link_id"),
    sa.Column("invoice_number", sa.BigInteger, nullable=False),
    sa.Column("type", INVOICE_TYPE, nullable=False),
    sa.Column("status", INVOICE_STATUS, nullable=False),
    sa.Column("on_hold", sa.Boolean, nullable=False),
    sa.Column("comment", sa.Text),
    sa.Column("created_datetime", INSTANT, nullable=False),
    sa.Column("allocated_datetime", INSTANT),
    sa.Column("picked_datetime", INSTANT),
    sa.Column("shipped_datetime", INSTANT),
    sa.Column("delivered_datetime", INSTANT),
    sa.Column("received_datetime", INSTANT),
    sa.Column("verified_datetime", INSTANT),
    sa.Column("cancelled_datetime", INSTANT),
    sa.Column("is_cancellation", sa.Boolean, nullable=False),
    _reference("linked_invoice_id", nullable=True),
    sa.Index("index_invoice_store_id_fkey", "store_id"),
    sa.Index("index_invoice_name_link_id_fkey", "name_link_id"),
    sa.Index("index_invoice_invoice_number", "invoice_number"),
    sa.Index("index_invoice_type", "type"),
    sa.Index("index_invoice_status", "status"),
    sa.Index("index_invoice_created_datetime", "created_datetime"),
    sa.Index("index_invoice_picked_datetime", "picked_datetime"),
    sa.Index("index_invoice_received_datetime", "received_datetime"),
    sa.Index("index_invoice_verified_datetime", "verified_datetime"),
)

INVOICE_LINE = sa.Table(
    "invoice_line",
    METADATA,
    _id(),
    _reference("invoice_id"),
    _reference("item_link_id"),
    sa.Column("item_name", sa.Text, nullable=False),
    sa.Column("item_code", sa.Text, nullable=False),
    _reference("stock_line_id", nullable=True),
    sa.Column("batch", sa.Text),
    sa.Column("expiry_date", DATE),
    sa.Column("type", INVOICE_LINE_TYPE, nullable=False),
    sa.Column("number_of_packs", sa.Double, nullable=False),
    sa.Column("pack_size", sa.Double, nullable=False),
    sa.Column("cost_price_per_pack", sa.Double, nullable=False),
    sa.Column("sell_price_per_pack", sa.Double, nullable=False),
    sa.Column("note", sa.Text),
    sa.Index("index_invoice_line_invoice_id_fkey", "invoice_id").ddl_if(dialect="postgresql"),
    sa.Index("index_invoice_line_item_link_id_fkey", "item_link_id").ddl_if(dialect="postgresql"),
    sa.Index("index_invoice_line_stock_line_id_fkey", "stock_line_id").ddl_if(dialect="postgresql"),
)

NAME_STORE_JOIN = sa.Table(
    "name_store_join",
    METADATA,
    _id(),
    _reference("name_link_id"),
    _reference("store_id"),
    sa.Column("name_is_customer", sa.Boolean, nullable=False),
    sa.Column("name_is_supplier", sa.Boolean, nullable=False),
)

PERIOD = sa.Table(
    "period",
    METADATA,
    _id(),
    _reference("period_schedule_id"),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("start_date", DATE, nullable=False),
    sa.Column("end_date", DATE, nullable=False),
)

REQUISITION = sa.Table(
    "requisition",
    METADATA,
    _id(),
    sa.Column("requisition_number", sa.BigInteger, nullable=False),
    _reference("store_id"),
    _reference("name_link_id"),
    sa.Column("type", REQUISITION_TYPE, nullable=False),
    sa.Column("status", REQUISITION_STATUS, nullable=False),
    sa.Column("created_datetime", INSTANT, nullable=False),
    sa.Column("finalised_datetime", INSTANT),
    _reference("linked_requisition_id", nullable=True),
    sa.Column("is_emergency", sa.Boolean, nullable=False),
    _reference("program_id", nullable=True),
    _reference("period_id", nullable=True),
    sa.Column("comment", sa.Text),
    sa.Column("their_reference", sa.Text),
)

REQUISITION_LINE = sa.Table(
    "requisition_line",
    METADATA,
    _id(),
    _reference("requisition_id"),
    _reference("item_link_id"),
    sa.Column("item_name", sa.Text, nullable=False),
    sa.Column("snapshot_datetime", INSTANT),
    sa.Column("comment", sa.Text),
    _reference("option_id", nullable=True),
    *(
        sa.Column(name, sa.Double)
        for name in (
            *("requested_quantity", "suggested_quantity", "supply_quantity", "approved_quantity"),
            *("available_stock_on_hand", "average_monthly_consumption"),
        )
    ),
    *(
        sa.Column(name, sa.Double, nullable=False, server_default="0")
        for name in (
            *("initial_stock_on_hand_units", "incoming_units", "outgoing_units", "loss_in_units"),
            *("addition_in_units", "expiring_units", "days_out_of_stock"),
        )
    ),
    sa.Index("index_requisition_line_requisition_id_fkey", "requisition_id").ddl_if(dialect="postgresql"),
)

"""The tables of the older mSupply's PostgreSQL mirror that matter here, with the types that its export gives them."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

METADATA = sa.MetaData()


def _table(name: str, *columns: sa.Column[Any], indexes: tuple[str, ...] = ()) -> sa.Table:
    return sa.Table(
        name,
        METADATA,
        sa.Column("id", sa.Text, primary_key=True),
        *columns,
        *(sa.Index(f"index_{name}_{column}", column) for column in indexes),
    )


def _columns(kind: type[sa.types.TypeEngine[Any]], *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind) for name in names]


UNIT = _table("unit", *_columns(sa.Text, "units"))

ITEM = _table(
    "item",
    *_columns(sa.Text, "item_name", "code", "unit_id", "type_of", "universalcodes_code"),
    *_columns(sa.Text, "user_field_1", "user_field_2", "user_field_3", "user_field_6"),
    *_columns(sa.Boolean, "user_field_4", "user_field_7"),
    *_columns(sa.Double, "user_field_5"),
    *_columns(JSONB, "custom_data"),
)

NAME = _table(
    "name",
    *_columns(sa.Text, "name", "code", "type"),
    *_columns(sa.Boolean, "customer", "supplier"),
    *_columns(JSONB, "custom_data"),
)

STORE = _table(
    "store",
    *_columns(sa.Text, "name", "code", "name_id", "store_mode"),
    *_columns(sa.Boolean, "disabled"),
    *_columns(JSONB, "custom_data"),
)

LIST_MASTER = _table("list_master", *_columns(sa.Text, "description", "code"))

LIST_MASTER_LINE = _table("list_master_line", *_columns(sa.Text, "item_id", "item_master_id"))

LIST_MASTER_NAME_JOIN = _table("list_master_name_join", *_columns(sa.Text, "list_master_id", "name_id"))

ITEM_STORE_JOIN = _table(
    "item_store_join", *_columns(sa.Text, "item_id", "store_id"), *_columns(sa.Boolean, "inactive")
)

ITEM_LINE = _table(
    "item_line",
    *_columns(sa.Text, "store_id", "item_id", "batch"),
    *_columns(sa.Date, "expiry_date"),
    *_columns(sa.Double, "pack_size", "quantity", "available", "cost_price", "sell_price"),
    *_columns(sa.Boolean, "hold"),
    indexes=("store_id",),
)

TRANSACT = _table(
    "transact",
    *_columns(sa.Text, "store_id", "name_id"),
    *_columns(sa.BigInteger, "invoice_num"),
    *_columns(sa.Text, "type", "mode", "status"),
    *_columns(sa.Date, "entry_date", "confirm_date"),
    *_columns(sa.Integer, "entry_time", "confirm_time"),
    *_columns(sa.Boolean, "is_cancellation"),
    *_columns(sa.Text, "linked_transaction_id"),
    indexes=("store_id", "confirm_date"),
)

TRANS_LINE = _table(
    "trans_line",
    *_columns(sa.Text, "transaction_id", "item_id", "item_name", "item_line_id", "batch"),
    *_columns(sa.Date, "expiry_date"),
    *_columns(sa.Text, "type"),
    *_columns(sa.Double, "quantity", "pack_size", "cost_price", "sell_price"),
    indexes=("transaction_id", "item_id"),
)

PERIOD = _table(
    "period", *_columns(sa.Text, "periodscheduleid", "name"), *_columns(sa.Date, "startdate", "enddate")
)

REQUISITION = _table(
    "requisition",
    *_columns(sa.BigInteger, "serial_number"),
    *_columns(
        sa.Text, "name_id", "store_id", "type", "status", "linked_requisition_id", "programid", "periodid"
    ),
    *_columns(sa.Boolean, "is_emergency"),
    *_columns(sa.Date, "date_stock_take", "date_entered"),
    *_columns(sa.Text, "comment", "requester_reference"),
)

REQUISITION_LINE = _table(
    "requisition_line",
    *_columns(sa.Text, "requisition_id", "item_id", "comment", "optionid"),
    *_columns(
        sa.Double,
        *(
            "stock_on_hand",
            "daily_usage",
            "cust_prev_stock_balance",
            "cust_stock_received",
            "cust_stock_issued",
        ),
        *("cust_stock_order", "cust_loss_adjust", "stockadditions", "stocklosses", "stockexpiring"),
        *("days_out_or_new_demand", "dosforamcadjustment", "actualquan"),
    ),
    indexes=("requisition_id",),
)

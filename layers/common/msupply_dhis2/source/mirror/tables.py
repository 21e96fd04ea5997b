"""The tables of the older mSupply's mirror that are read, and what each may be missing for."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import TableClause, column, table

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.source.fields import USER_FIELDS

REQUIRED: Mapping[str, tuple[str, ...]] = {
    "item": ("id", "code", "item_name", "type_of"),
    "store": ("id", "code", "name", "custom_data"),
    # Tells inventory adjustments from receipts.
    "name": ("id", "code"),
    "item_line": ("id", "store_id", "item_id", "pack_size", "quantity"),
    "transact": ("id", "store_id", "name_id", "type", "status", "confirm_date", "confirm_time"),
    "trans_line": ("transaction_id", "item_id", "type", "quantity", "pack_size"),
}
"""Without these no value would be right."""


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that is had only with certain tables and columns."""

    columns: Mapping[str, tuple[str, ...]]
    otherwise: str
    """What is done without."""
    metrics: frozenset[Metric] = frozenset()
    """Those that cannot be computed without."""


VISIBILITY = Feature(
    {
        "store": ("name_id",),
        "list_master_name_join": ("list_master_id", "name_id"),
        "list_master_line": ("item_master_id", "item_id"),
    },
    "which items are on a store's master lists is not known, and only those that ever had stock or a movement in a "
    "store get values there",
)
HIDING = Feature(
    {"item_store_join": ("item_id", "store_id", "inactive")},
    "items that are hidden in a store count as visible there",
)
DISABLING = Feature({"store": ("disabled",)}, "disabled stores with an org unit are sent too")
DISPENSING = Feature(
    {"transact": ("mode",)}, "prescriptions count as outbound shipments, which changes no metric"
)
NUMBERING = Feature({"transact": ("invoice_num",)}, "transactions are named by their id")
EXPIRING = Feature(
    {"item_line": ("expiry_date",), "trans_line": ("item_line_id",)},
    "when stock expires is not known, and neither expired nor expiring stock is sent",
    frozenset({Metric.EXPIRED, Metric.EXPIRING}),
)
CANCELLING = Feature(
    {"transact": ("is_cancellation", "linked_transaction_id")},
    "a transaction that cancels another counts at its own time, which may be in the next month",
)
ENTERING = Feature(
    {"transact": ("entry_date", "entry_time")},
    "when a transaction was entered is not known, and one that is dated later than the run counts at the start of a day",
)
IDENTIFYING = Feature({"trans_line": ("id",)}, "lines of transactions are named by their transaction")

FEATURES = (VISIBILITY, HIDING, DISABLING, DISPENSING, NUMBERING, EXPIRING, CANCELLING, ENTERING, IDENTIFYING)

_ITEM_FIELDS = ("universalcodes_code", "custom_data", *sorted(USER_FIELDS))
"""Read where the settings ask for them."""


def _table(name: str) -> TableClause:
    columns = [*REQUIRED.get(name, ())]
    for feature in FEATURES:
        columns += feature.columns.get(name, ())
    if name == "item":
        columns += _ITEM_FIELDS
    return table(name, *(column(each) for each in columns))


item = _table("item")
store = _table("store")
name = _table("name")
item_line = _table("item_line")
transact = _table("transact")
trans_line = _table("trans_line")
list_master_line = _table("list_master_line")
list_master_name_join = _table("list_master_name_join")
item_store_join = _table("item_store_join")

TABLES = tuple(dict.fromkeys((*REQUIRED, *(name for feature in FEATURES for name in feature.columns))))
"""All that are read."""

TYPES = {
    "ci": "customer invoice",
    "si": "supplier invoice",
    "cc": "customer credit",
    "sc": "supplier credit",
    "sr": "repack",
    "bu": "build",
}
"""The types of transactions that move stock, as the older mSupply calls them."""

STATUSES = ("cn", "fn", "nw", "sg", "wp", "wf")
"""Confirmed and finalised have moved stock; new, suggested, and the two of orders from the web have not."""

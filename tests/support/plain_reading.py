"""A database of Open mSupply read in the plainest way: by SQL of one table each, and in full."""

import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from msupply_dhis2.domain.stock import MovementKind
from tests.support.slow_reference import Invoice, counts_at

MOVED_AT = {
    "OUTBOUND_SHIPMENT": "picked_datetime",
    "PRESCRIPTION": "picked_datetime",
    "SUPPLIER_RETURN": "picked_datetime",
    "INBOUND_SHIPMENT": "received_datetime",
    "CUSTOMER_RETURN": "received_datetime",
    "INVENTORY_ADDITION": "verified_datetime",
    "INVENTORY_REDUCTION": "verified_datetime",
    "REPACK": "verified_datetime",
}


@dataclass
class Plain:
    """A database read in the plainest way: every line and the whole ledger, by store and item."""

    lines: dict[tuple[str, str], list[tuple[str, int, date | None]]]
    ledger: dict[tuple[str, str], list[tuple[datetime, MovementKind, int, str | None]]]


def micro(packs: float, pack_size: float | None) -> int:
    units = Decimal(str(packs)) * Decimal(str(pack_size or 0)) * 1_000_000
    return int(units.quantize(Decimal(1), ROUND_HALF_UP))


def plain_invoice(row: sqlite3.Row, others: Mapping[str, sqlite3.Row]) -> Invoice:
    moved = row[MOVED_AT[row["type"]]] if row["type"] in MOVED_AT else None
    cancelled = others.get(row["linked_invoice_id"]) if row["is_cancellation"] else None
    return Invoice(
        moved and datetime.fromisoformat(moved),
        datetime.fromisoformat(row["created_datetime"]),
        None if cancelled is None else plain_invoice(cancelled, {}),
    )


def read_plainly(file: Path, zone: ZoneInfo) -> Plain:
    plain = Plain(defaultdict(list), defaultdict(list))
    read_at = datetime.now(UTC).replace(tzinfo=None)
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        item_of = dict(database.execute("SELECT id, item_id FROM item_link"))
        for identifier, store, link, packs, size, expiry in database.execute(
            "SELECT id, store_id, item_link_id, total_number_of_packs, pack_size, expiry_date FROM stock_line"
        ):
            expires = date.fromisoformat(expiry[:10]) if expiry else None
            plain.lines[store, item_of[link]].append((identifier, micro(packs, size), expires))
        database.row_factory = sqlite3.Row
        invoices = {row["id"]: row for row in database.execute("SELECT * FROM invoice")}
        database.row_factory = None
        for invoice, link, line, kind, packs, size in database.execute(
            "SELECT invoice_id, item_link_id, stock_line_id, type, number_of_packs, pack_size FROM invoice_line"
        ):
            row = invoices[invoice]
            instant = counts_at(plain_invoice(row, invoices), read_at, zone)
            sign = {"STOCK_IN": 1, "STOCK_OUT": -1}.get(kind)
            if instant and sign and packs > 0:
                plain.ledger[row["store_id"], item_of[link]].append(
                    (
                        instant,
                        MovementKind(row["type"].lower()),
                        sign * micro(packs, size),
                        line,
                    )
                )
    return plain

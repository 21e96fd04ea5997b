"""The same sample as the older mSupply's mirror holds it: rows of Open mSupply, translated as they are written.

What the mirror has no place for is left away or comes as near as it can: an inactive item is one without any
identifier, a merged item is gone and its rows are those of the item that was kept, a fraction of a second is cut
off, and an hour that the clock shows twice is the first of the two. There are no global preferences.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, override
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from sandbox.sample import mirror_tables, tables
from sandbox.sample.book import (
    CUSTOMER_RETURN,
    INBOUND_SHIPMENT,
    INVENTORY_ADDITION,
    INVENTORY_REDUCTION,
    OUTBOUND_SHIPMENT,
    PRESCRIPTION,
    REPACK,
    SUPPLIER_RETURN,
)
from sandbox.sample.clinics import Clinic
from sandbox.sample.writer import Row, Writer

_TYPES = {
    OUTBOUND_SHIPMENT: "ci",
    PRESCRIPTION: "ci",
    INBOUND_SHIPMENT: "si",
    CUSTOMER_RETURN: "cc",
    SUPPLIER_RETURN: "sc",
    INVENTORY_ADDITION: "si",
    INVENTORY_REDUCTION: "sc",
    REPACK: "sr",
}
_OWN_NAMES = {INVENTORY_ADDITION: "invad", INVENTORY_REDUCTION: "invad", REPACK: "repack"}
_LINE_TYPES = {
    "STOCK_IN": "stock_in",
    "STOCK_OUT": "stock_out",
    "UNALLOCATED_STOCK": "placeholder",
    "SERVICE": "service",
}
_DOCUMENTS = {"RESPONSE": "response", "IMPREST": "im", "STOCK_HISTORY": "sh", "REQUEST": "request"}
_TYPES_OF_ITEMS = {"STOCK": "general", "SERVICE": "service", "NON_STOCK": "non_stock"}
_NOT_YET_MOVED = {"NEW": "nw", "ALLOCATED": "sg"}
_USER_FIELDS = tuple(f"user_field_{number}" for number in (1, 2, 3, 6, 4, 7, 5))


class MirrorWriter(Writer):
    """Writes rows of Open mSupply's tables into those of the mirror.

    Parameters
    ----------
    clinics
        The stores whose rows will come.
    time_zone
        Where the older mSupply's server stands: it keeps local time.
    """

    def __init__(self, connection: sa.Connection, clinics: Sequence[Clinic], time_zone: ZoneInfo) -> None:
        super().__init__(connection)
        self._clinics = {clinic.id: clinic for clinic in clinics}
        self._time_zone = time_zone
        self._items: list[Row] = []
        self._kept: dict[str, str] = {}
        self._reversals: set[str] = set()
        self._kept_names: dict[str, str] = {}
        self._stock_takes: dict[str, str] = {}
        self._translators: Mapping[sa.Table, tuple[sa.Table, Callable[[Iterable[Row]], Iterable[Row]]]] = {
            tables.UNIT: (mirror_tables.UNIT, lambda rows: (row[:2] for row in rows)),
            tables.NAME: (mirror_tables.NAME, self._names),
            tables.STORE: (mirror_tables.STORE, self._stores),
            tables.MASTER_LIST: (mirror_tables.LIST_MASTER, lambda rows: (row[:3] for row in rows)),
            tables.MASTER_LIST_LINE: (mirror_tables.LIST_MASTER_LINE, lambda rows: rows),
            tables.MASTER_LIST_NAME_JOIN: (mirror_tables.LIST_MASTER_NAME_JOIN, lambda rows: rows),
            tables.STOCK_LINE: (mirror_tables.ITEM_LINE, self._item_lines),
            tables.INVOICE: (mirror_tables.TRANSACT, self._transactions),
            tables.INVOICE_LINE: (mirror_tables.TRANS_LINE, self._lines),
            tables.PERIOD: (mirror_tables.PERIOD, lambda rows: rows),
            tables.REQUISITION: (mirror_tables.REQUISITION, self._requisitions),
            tables.REQUISITION_LINE: (mirror_tables.REQUISITION_LINE, self._requisition_lines),
        }

    @override
    def write(self, table: sa.Table, rows: Iterable[Row]) -> None:
        if table is tables.ITEM:
            self._items = list(rows)
        elif table is tables.ITEM_LINK:
            self._kept = dict(rows)
            super().write(mirror_tables.ITEM, self._every_item())
        elif table is tables.NAME_LINK:
            self._kept_names = dict(rows)
        elif table is tables.SYNC_BUFFER:
            self._stock_takes = {
                row[0]: json.loads(row[-1])["date_stock_take"] for row in rows if "requisition" in row
            }
        elif table in self._translators:
            there, translated = self._translators[table]
            super().write(there, translated(rows))

    def hide(self, clinic: Clinic, list_id: str, item_ids: Sequence[str]) -> None:
        """Put a store on a list whose items it hides."""
        super().write(mirror_tables.LIST_MASTER_NAME_JOIN, [("hidden", list_id, clinic.name_id)])
        super().write(
            mirror_tables.ITEM_STORE_JOIN,
            [(f"hidden-{item_id}", item_id, clinic.id, True) for item_id in item_ids],
        )

    def _every_item(self) -> Iterator[Row]:
        kept = set(self._kept.values())
        for item_id, name, code, unit_id, kind, legacy_record, is_active, *_, universal_code in self._items:
            if item_id not in kept:
                continue
            record = _record(legacy_record)
            custom_data = record.get("custom_data")
            values = [
                universal_code
                if universal_code and universal_code.strip()
                else record.get("universalcodes_code"),
                *(record.get(field) for field in _USER_FIELDS),
                None if custom_data is None else json.dumps(custom_data),
            ]
            if not is_active:
                values = [None] * len(values)
            yield (item_id, name, code, unit_id, _TYPES_OF_ITEMS[kind], *values)

    def _names(self, rows: Iterable[Row]) -> Iterator[Row]:
        for own in ("invad", "repack", "build"):
            yield (own, own, own, own, False, False, None)
        for name_id, name, code, kind, is_customer, is_supplier, _, custom_data, _, deleted in rows:
            if deleted is not None:
                continue
            yield (name_id, name, code, kind.lower(), is_customer, is_supplier, custom_data)

    def _stores(self, rows: Iterable[Row]) -> Iterator[Row]:
        yield ("SM", "Supervisor - All stores", "SM", "", "supervisor", False, '{"Dhis2Code": "OU_ALL"}')
        for store_id, name_id, code, _, mode, _, is_disabled in rows:
            clinic = self._clinics[store_id]
            custom_data = json.dumps(clinic.custom_fields)
            yield (store_id, clinic.name, code, name_id, mode.lower(), is_disabled, custom_data)

    def _item_lines(self, rows: Iterable[Row]) -> Iterator[Row]:
        for line_id, store_id, item_id, batch, expiry_date, size, packs, free, cost, sell, hold, _ in rows:
            item = self._kept[item_id]
            yield (line_id, store_id, item, batch, expiry_date, size, packs, free, cost, sell, hold)

    def _transactions(self, rows: Iterable[Row]) -> Iterator[Row]:
        self._reversals.clear()
        for invoice in rows:
            invoice_id, store_id, name_id, number, kind, status, *_ = invoice
            created, _, picked, _, _, received, verified, _, is_cancellation, linked = invoice[8:]
            if is_cancellation:
                self._reversals.add(invoice_id)
            if kind in {OUTBOUND_SHIPMENT, PRESCRIPTION, SUPPLIER_RETURN}:
                moved, has_moved = picked, status not in _NOT_YET_MOVED
            elif kind in {INBOUND_SHIPMENT, CUSTOMER_RETURN}:
                moved, has_moved = received, status == "VERIFIED"
            else:
                moved, has_moved = verified, status == "VERIFIED"
            day, seconds = self._local(moved)
            entry_day, entry_seconds = self._local(created)
            yield (
                invoice_id,
                store_id,
                _OWN_NAMES.get(kind, name_id),
                number,
                _TYPES[kind],
                "dispensary" if kind == PRESCRIPTION else "store",
                ("fn" if status == "VERIFIED" else "cn") if has_moved else _NOT_YET_MOVED.get(status, "sg"),
                entry_day,
                day,
                entry_seconds,
                seconds,
                is_cancellation,
                linked,
            )

    def _lines(self, rows: Iterable[Row]) -> Iterator[Row]:
        for line in rows:
            line_id, invoice_id, item_id, name, _, batch_id, batch, expiry_date, kind, packs, *rest = line
            if invoice_id in self._reversals:
                # A cancellation is the same line once more, the other way round.
                kind, packs = {"STOCK_IN": "STOCK_OUT", "STOCK_OUT": "STOCK_IN"}.get(kind, kind), -packs
            size, cost, sell, _ = rest
            yield (
                line_id,
                invoice_id,
                self._kept[item_id],
                name,
                batch_id,
                batch,
                expiry_date,
                _LINE_TYPES[kind],
                packs,
                size,
                cost,
                sell,
            )

    def _requisitions(self, rows: Iterable[Row]) -> Iterator[Row]:
        for document_id, number, store_id, name_id, kind, status, created, _, *rest in rows:
            linked, is_emergency, program, period, comment, reference = rest
            yield (
                *(document_id, number, self._kept_names[name_id], store_id),
                *(_DOCUMENTS[kind], "fn" if status == "FINALISED" else "sg"),
                *(linked or "", program or "", period or "", is_emergency),
                *(self._stock_takes.get(document_id), self._local(created)[0], comment, reference),
            )

    def _requisition_lines(self, rows: Iterable[Row]) -> Iterator[Row]:
        for line_id, document_id, item_id, _, _, comment, reason, *quantities in rows:
            requested, _, _, _, stock, average, initial, received, issued, lost, added, *rest = quantities
            expiring, days_out = rest
            # Both are kept in two ways: losses by themselves or as an adjustment, days in either of two columns.
            adjusted, lost = (0, lost) if added else (-lost, 0)
            days = (0, days_out) if days_out % 2 else (days_out, 0)
            yield (
                *(line_id, document_id, self._kept[item_id], comment, reason),
                *(stock, average / 30, initial, received, issued, requested, adjusted, added, lost, expiring),
                *(*days, 0),
            )

    def _local(self, instant: str | None) -> tuple[str | None, int]:
        """Return the day and the seconds of the day that the server's clock showed."""
        if instant is None:
            return None, 0
        shown = datetime.fromisoformat(instant[:19]).replace(tzinfo=UTC).astimezone(self._time_zone)
        return shown.date().isoformat(), shown.hour * 3600 + shown.minute * 60 + shown.second


def _record(legacy_record: str) -> dict[str, Any]:
    """Read the record of an item; a broken one has nothing in it."""
    try:
        record: dict[str, Any] = json.loads(legacy_record)
    except ValueError:
        return {}
    return record

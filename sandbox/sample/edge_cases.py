"""Everything out of the ordinary that real databases hold, a medicine for each.

They stand beside the ordinary medicines, in one store, on a master list of their own that is not active.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sandbox.sample.book import (
    CUSTOMER_RETURN,
    INBOUND_SHIPMENT,
    INVENTORY_ADDITION,
    INVENTORY_REDUCTION,
    OUTBOUND_SHIPMENT,
    PRESCRIPTION,
    REPACK,
    SUPPLIER_RETURN,
    Book,
)
from sandbox.sample.history import cancelled_prescription
from sandbox.sample.medicines import Medicine, medicines

_ARRIVED_DAYS_AGO = 120


@dataclass(frozen=True, slots=True)
class UnusualItem:
    """An item and what is unusual about it.

    Attributes
    ----------
    links
        The ids that lead to the item: its own and those of items that were merged into it.
    legacy_record
        What stands in that column.
    universal_code
        What stands in that column.
    happenings
        What writes its rows into the book of the store; ``None`` where nothing ever happened to it.
    adds_up
        Whether its stock lines are what its movements sum up to.
    """

    medicine: Medicine
    links: tuple[str, ...]
    legacy_record: str
    universal_code: str | None
    happenings: Callable[[Book, Medicine], None] | None
    adds_up: bool


def unusual_items(after: int, seed: int) -> list[UnusualItem]:
    """Return the unusual items, with the medicines that follow the first ``after`` ones.

    Parameters
    ----------
    after
        How many medicines the sample has already.
    """
    spare = medicines(after + 25, seed)[after:]
    items: list[UnusualItem] = []

    def add(
        happenings: Callable[[Book, Medicine], None] | None = _ordinary,
        *,
        adds_up: bool = True,
        **changes: object,
    ) -> Medicine:
        medicine = replace(spare[len(items)], **changes)  # type: ignore[arg-type] # names of its fields
        code = medicine.universal_code
        items.append(UnusualItem(medicine, (medicine.id,), medicine.legacy_record, code, happenings, adds_up))
        return medicine

    def change(**changes: object) -> None:
        items[-1] = replace(items[-1], **changes)  # type: ignore[arg-type] # names of its fields

    # An item that was merged into another: its link leads to the one that was kept.
    merged = add(None, is_active=False, universal_code=None)
    change(links=())
    add(_with_merged(merged))
    change(links=(items[-1].medicine.id, merged.id))
    # Two brands under one universal code.
    brand = add()
    add(universal_code=brand.universal_code)
    # Items with a reference that are not sent.
    add(is_active=False)
    add(None, type="NON_STOCK")
    add(None, type="SERVICE")
    # The whole record of the older mSupply is broken, or was never there: no user fields.
    add()
    change(legacy_record=items[-1].legacy_record[:100])
    add()
    change(legacy_record="")
    # The universal code stands in the legacy record only, or is blank, or is padded.
    add()
    change(universal_code=None)
    add()
    change(universal_code="  ")
    add()
    change(universal_code=f" {items[-1].universal_code} ")
    # No reference at all.
    add(universal_code=None)
    # What happens to the stock.
    add(_cancelled)
    add(_no_pack_size)
    add(_no_stock_line)
    add(_no_instant, adds_up=False)
    add(_fractions)
    add(_negative)
    add(_allocated)
    add(_expiries)
    add(_does_not_add_up, adds_up=False)
    add(_same_instants)
    add(_every_kind)
    # Visible, and never handled.
    add(None)
    return items


def _ordinary(book: Book, medicine: Medicine) -> None:
    arrived = book.timeline.last - _ARRIVED_DAYS_AGO
    batch = book.batch(medicine, medicine.pack_sizes[0], arrived, 700)
    book.move(INBOUND_SHIPMENT, arrived, batch, 40 * batch.pack_size)
    for day in range(arrived + 5, book.timeline.last, 15):
        book.move(OUTBOUND_SHIPMENT, day, batch, -2 * batch.pack_size)
    book.keep(batch)


def _with_merged(merged: Medicine) -> Callable[[Book, Medicine], None]:
    def happenings(book: Book, medicine: Medicine) -> None:
        _ordinary(book, medicine)
        _ordinary(book, merged)

    return happenings


def _cancelled(book: Book, medicine: Medicine) -> None:
    arrived = book.timeline.last - _ARRIVED_DAYS_AGO
    batch = book.batch(medicine, 10.0, arrived, 500)
    book.move(INBOUND_SHIPMENT, arrived, batch, 200)
    book.move(PRESCRIPTION, arrived + 60, batch, -30)
    cancelled_prescription(book, arrived + 80, batch, -20)
    book.keep(batch)


def _no_pack_size(book: Book, medicine: Medicine) -> None:
    arrived = book.timeline.last - _ARRIVED_DAYS_AGO
    batch = book.batch(medicine, 5.0, arrived, 500)
    book.move(INBOUND_SHIPMENT, arrived, batch, 100)
    book.keep(batch)
    without = book.batch(medicine, 0.0, arrived, 500)
    book.move(INBOUND_SHIPMENT, arrived + 70, without, 12)
    book.keep(without)


def _no_stock_line(book: Book, medicine: Medicine) -> None:
    arrived = book.timeline.last - _ARRIVED_DAYS_AGO
    batch = book.batch(medicine, 20.0, arrived, 60)
    for kind, day, units in (
        (INBOUND_SHIPMENT, 0, 400),
        (OUTBOUND_SHIPMENT, 50, -60),
        (OUTBOUND_SHIPMENT, 90, -40),
    ):
        invoice_id = book.invoice(kind, arrived + day, book.time_of(kind))
        book.line(invoice_id, batch, units, names_batch=False)
        batch.units += units
    book.keep(batch)


def _no_instant(book: Book, medicine: Medicine) -> None:
    """Two invoices whose status says that the stock has moved, without the instant at which it did."""
    _ordinary(book, medicine)
    batch = book.batch(medicine, 10.0, 300, 500)
    created = book.timeline.at(book.timeline.last - 40, "10:00:00")
    shipped = (created, created, None, created, None, None, None)
    book.line(book.bare_invoice(OUTBOUND_SHIPMENT, "SHIPPED", shipped), batch, -50)
    verified = (created, None, None, created, created, None, created)
    book.line(book.bare_invoice(INBOUND_SHIPMENT, "VERIFIED", verified), batch, 150)
    batch.units = 100
    book.keep(batch)


def _fractions(book: Book, medicine: Medicine) -> None:
    """Receive a tenth and two tenths, issue three tenths: none is left, but not for floating point."""
    arrived = book.timeline.last - _ARRIVED_DAYS_AGO
    batch = book.batch(medicine, 1.0, arrived, 500)
    book.move(INBOUND_SHIPMENT, arrived, batch, 0.1)
    book.move(INBOUND_SHIPMENT, arrived + 1, batch, 0.2)
    book.move(OUTBOUND_SHIPMENT, arrived + 75, batch, -0.3)
    batch.units = 0
    book.keep(batch)
    thirds = book.batch(medicine, 3.0, arrived, 500)
    book.move(INBOUND_SHIPMENT, arrived + 2, thirds, 7)
    book.keep(thirds)


def _negative(book: Book, medicine: Medicine) -> None:
    arrived = book.timeline.last - _ARRIVED_DAYS_AGO
    batch = book.batch(medicine, 1.0, arrived, 500)
    book.move(INBOUND_SHIPMENT, arrived, batch, 20)
    book.move(OUTBOUND_SHIPMENT, arrived + 85, batch, -25)
    book.keep(batch)


def _allocated(book: Book, medicine: Medicine) -> None:
    """Allocated but not picked, new, or on its way: none of that has moved."""
    arrived = book.timeline.last - _ARRIVED_DAYS_AGO
    batch = book.batch(medicine, 10.0, arrived, 500)
    book.move(INBOUND_SHIPMENT, arrived, batch, 300)
    batch.reserved = 80
    batch.is_on_hold = True
    book.keep(batch)
    now = book.timeline.at(book.timeline.last, "09:30:00")
    allocated = book.bare_invoice(OUTBOUND_SHIPMENT, "ALLOCATED", (now, now, None, None, None, None, None))
    book.line(allocated, batch, -80)
    new = book.bare_invoice(OUTBOUND_SHIPMENT, "NEW", (now, None, None, None, None, None, None))
    book.bare_line(new, medicine, "UNALLOCATED_STOCK", 4.0, 1.0, None)
    book.bare_line(new, medicine, "SERVICE", 1.0, 1.0, None)
    on_its_way = book.bare_invoice(INBOUND_SHIPMENT, "SHIPPED", (now, None, now, now, None, None, None))
    book.line(on_its_way, batch, 500)


def _expiries(book: Book, medicine: Medicine) -> None:
    """Batches around the two limits, expired and expiring within 90 days, and one that never expires."""
    today = book.timeline.last
    arrived = today - _ARRIVED_DAYS_AGO
    for days in (-30, -1, 0, 1, 30, 89, 90, 91, 400, None):
        expires_after = None if days is None else today + days - arrived
        batch = book.batch(medicine, 10.0, arrived, expires_after)
        book.move(INBOUND_SHIPMENT, arrived, batch, 100)
        book.move(OUTBOUND_SHIPMENT, today - 50, batch, -40)
        book.keep(batch)


def _does_not_add_up(book: Book, medicine: Medicine) -> None:
    arrived = book.timeline.last - _ARRIVED_DAYS_AGO
    batch = book.batch(medicine, 10.0, arrived, 500)
    book.move(INBOUND_SHIPMENT, arrived, batch, 320)
    batch.units = 500
    book.keep(batch)


def _same_instants(book: Book, medicine: Medicine) -> None:
    """Out to the last unit and in again at one instant, at a midnight, and to the nanosecond."""
    arrived = book.timeline.last - _ARRIVED_DAYS_AGO
    boxes = book.batch(medicine, 100.0, arrived, 500)
    singles = book.batch(medicine, 1.0, arrived, 500)
    book.line(book.invoice(INBOUND_SHIPMENT, arrived, "00:00:00"), boxes, 200)
    repack = book.invoice(REPACK, arrived + 70, "19:00:00.123456400")
    book.line(repack, boxes, -200)
    book.line(repack, singles, 200)
    book.line(book.invoice(OUTBOUND_SHIPMENT, book.timeline.last - 31, "00:00:00"), singles, -200)
    book.line(book.invoice(INVENTORY_ADDITION, book.timeline.last - 20, "23:59:59.999999"), singles, 12)
    singles.units = 12
    book.keep(boxes)
    book.keep(singles)


def _every_kind(book: Book, medicine: Medicine) -> None:
    arrived = book.timeline.last - _ARRIVED_DAYS_AGO
    batch = book.batch(medicine, 10.0, arrived, 500)
    book.move(INBOUND_SHIPMENT, arrived, batch, 500)
    book.move(OUTBOUND_SHIPMENT, arrived + 80, batch, -120)
    book.move(CUSTOMER_RETURN, arrived + 82, batch, 30)
    book.move(SUPPLIER_RETURN, arrived + 84, batch, -70)
    book.move(INVENTORY_REDUCTION, arrived + 86, batch, -15)
    book.move(INVENTORY_ADDITION, arrived + 87, batch, 5)
    book.move(PRESCRIPTION, arrived + 88, batch, -8)
    book.keep(batch)


def preferences(first_store_id: str, seed: int) -> Sequence[tuple[str, str, str, str | None]]:
    """Return the rows of ``preference``: an unreadable one, a readable one, and one of a single store."""
    choose = random.Random(f"preferences {seed}")  # noqa: S311 - sample data, which a seed must repeat
    rows = (
        ("days_in_month", "thirty", None),
        ("adjust_for_number_of_days_out_of_stock", "true", None),
        ("days_in_month", "28", first_store_id),
    )
    return [(f"{choose.getrandbits(128):032x}", key, value, store) for key, value, store in rows]

"""The invoices and stock lines of one store, as Open mSupply would have written them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from sandbox.sample.clinics import Clinic
from sandbox.sample.medicines import Medicine
from sandbox.sample.writer import Row

HISTORY_DAYS = 430
"""How far back the movements go: enough for a look-back of a year before the previous month."""

INBOUND_SHIPMENT = "INBOUND_SHIPMENT"
OUTBOUND_SHIPMENT = "OUTBOUND_SHIPMENT"
PRESCRIPTION = "PRESCRIPTION"
CUSTOMER_RETURN = "CUSTOMER_RETURN"
SUPPLIER_RETURN = "SUPPLIER_RETURN"
INVENTORY_ADDITION = "INVENTORY_ADDITION"
INVENTORY_REDUCTION = "INVENTORY_REDUCTION"
REPACK = "REPACK"

# When in the day (hour, UTC) things of each kind are done: what comes in comes before what goes out.
_HOURS = {
    INBOUND_SHIPMENT: 8,
    OUTBOUND_SHIPMENT: 11,
    PRESCRIPTION: 13,
    CUSTOMER_RETURN: 15,
    SUPPLIER_RETURN: 16,
    INVENTORY_ADDITION: 17,
    INVENTORY_REDUCTION: 18,
    REPACK: 19,
}

# How long a shipment is on its way, and until an outbound one is confirmed.
_TRANSPORT_DAYS = 4
_CONFIRMED_AFTER_DAYS = 2


class Timeline:
    """The days of the history by number: 0 the first, ``last`` the day of ``as_of``."""

    def __init__(self, as_of: date) -> None:
        self.last = HISTORY_DAYS - 1
        self._first = as_of - timedelta(days=self.last)
        self._texts = [self.day(number).isoformat() for number in range(HISTORY_DAYS)]

    def day(self, number: int) -> date:
        """Return a day, which may lie outside the history."""
        return self._first + timedelta(days=number)

    def at(self, number: int, time: str) -> str:
        """Return an instant of a day as the database has it; of the first day for an earlier one."""
        return f"{self._texts[max(0, number)]} {time}"


@dataclass(slots=True)
class Batch:
    """A stock line while its history is being written: ``units`` are those left, packs where the size is 0."""

    id: str
    medicine: Medicine
    number: str
    pack_size: float
    expires: int
    expiry_date: str | None
    units: float = 0
    reserved: float = 0
    is_on_hold: bool = False


@dataclass(slots=True)
class Book:
    """The rows of one store, and the way to add to them.

    Attributes
    ----------
    partners
        Ids of the names that it deals with: the first is its supplier, the others its customers.
    """

    clinic: Clinic
    timeline: Timeline
    choose: random.Random
    partners: Sequence[str]
    stock_lines: list[Row] = field(default_factory=list)
    invoices: list[Row] = field(default_factory=list)
    invoice_lines: list[Row] = field(default_factory=list)
    movements: int = 0

    def new_id(self) -> str:
        """Return an id as Open mSupply makes them."""
        text = f"{self.choose.getrandbits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def time_of(self, kind: str) -> str:
        """Return a time of the day for an invoice of a kind; some have fractions of a second."""
        moment = int(self.choose.random() * 3_600_000)
        second = moment // 1000
        text = f"{_HOURS[kind]:02d}:{second // 60:02d}:{second % 60:02d}"
        return f"{text}.{moment % 1000:03d}{second % 1000:03d}" if moment % 5 == 0 else text

    def batch(self, medicine: Medicine, pack_size: float, day: int, expires_after: int | None) -> Batch:
        """Begin a new batch, with nothing in it yet, that came on ``day``."""
        expires = 10**9 if expires_after is None else day + expires_after
        return Batch(
            id=self.new_id(),
            medicine=medicine,
            number=f"{medicine.name[0]}{self.choose.randrange(10_000, 100_000)}",
            pack_size=pack_size,
            expires=expires,
            expiry_date=None if expires_after is None else self.timeline.day(expires).isoformat(),
        )

    def keep(self, batch: Batch) -> None:
        """Write the stock line of a batch as it is now."""
        pack_size = batch.pack_size or 1
        packs, reserved = batch.units / pack_size, batch.reserved / pack_size
        self.stock_lines.append(
            (
                batch.id,
                self.clinic.id,
                batch.medicine.id,
                batch.number,
                batch.expiry_date,
                batch.pack_size,
                packs,
                packs - reserved,
                batch.medicine.price,
                batch.medicine.price,
                batch.is_on_hold,
                None,
            )
        )

    def invoice(self, kind: str, day: int, time: str) -> str:
        """Write an invoice whose stock moved on a day, with the instants that its kind has; return its id."""
        moved = self.timeline.at(day, time)
        if kind in {INBOUND_SHIPMENT, CUSTOMER_RETURN}:
            sent = self.timeline.at(day - _TRANSPORT_DAYS, "09:00:00")
            instants: tuple[str | None, ...] = (sent, None, sent, sent, moved, moved, moved)
            status = "VERIFIED"
        elif kind == OUTBOUND_SHIPMENT and day + _CONFIRMED_AFTER_DAYS <= self.timeline.last:
            confirmed = self.timeline.at(day + _CONFIRMED_AFTER_DAYS, time)
            instants = (moved, moved, moved, moved, confirmed, confirmed, confirmed)
            status = "VERIFIED"
        elif kind in {OUTBOUND_SHIPMENT, SUPPLIER_RETURN}:
            instants = (moved, moved, moved, moved, None, None, None)
            status = "SHIPPED"
        elif kind == PRESCRIPTION:
            instants = (moved, None, moved, None, None, None, moved)
            status = "VERIFIED"
        else:
            instants = (moved, None, None, None, None, None, moved)
            status = "VERIFIED"
        return self.bare_invoice(kind, status, instants)

    def bare_invoice(
        self,
        kind: str,
        status: str,
        instants: tuple[str | None, ...],
        *,
        cancelled: str | None = None,
        mirror_of: str | None = None,
    ) -> str:
        """Write an invoice with the instants given; return its id.

        Parameters
        ----------
        instants
            Created, allocated, picked, shipped, delivered, received and verified.
        cancelled
            The instant at which a prescription was cancelled.
        mirror_of
            The id of the prescription that this invoice takes back.
        """
        invoice_id = self.new_id()
        is_from_supplier = kind in {INBOUND_SHIPMENT, SUPPLIER_RETURN}
        partner = self.partners[0] if is_from_supplier else self.choose.choice(self.partners)
        number = len(self.invoices) + 1
        self.invoices.append(
            (
                invoice_id,
                self.clinic.id,
                partner,
                number,
                kind,
                status,
                False,
                None,
                *instants,
                cancelled,
                mirror_of is not None,
                mirror_of,
            )
        )
        return invoice_id

    def line(self, invoice_id: str, batch: Batch, units: float, *, names_batch: bool = True) -> None:
        """Write an invoice line: units into the store (above 0) or out of it."""
        self.bare_line(
            invoice_id,
            batch.medicine,
            "STOCK_IN" if units > 0 else "STOCK_OUT",
            abs(units) / (batch.pack_size or 1),
            batch.pack_size,
            batch if names_batch else None,
        )

    def bare_line(
        self,
        invoice_id: str,
        medicine: Medicine,
        kind: str,
        packs: float,
        pack_size: float,
        batch: Batch | None,
    ) -> None:
        """Write an invoice line with the values given."""
        self.movements += kind in {"STOCK_IN", "STOCK_OUT"}
        self.invoice_lines.append(
            (
                self.new_id(),
                invoice_id,
                medicine.id,
                medicine.name,
                medicine.code,
                None if batch is None else batch.id,
                None if batch is None else batch.number,
                None if batch is None else batch.expiry_date,
                kind,
                packs,
                pack_size,
                medicine.price,
                medicine.price,
                None,
            )
        )

    def move(self, kind: str, day: int, batch: Batch, units: float) -> str:
        """Write an invoice of one line and count it in the batch; return the invoice's id."""
        invoice_id = self.invoice(kind, day, self.time_of(kind))
        self.line(invoice_id, batch, units)
        batch.units += units
        return invoice_id

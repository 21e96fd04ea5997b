"""What happens in an ordinary store: receipts, use, counts, returns and what expires."""

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from sandbox.sample.book import (
    CUSTOMER_RETURN,
    HISTORY_DAYS,
    INBOUND_SHIPMENT,
    INVENTORY_ADDITION,
    INVENTORY_REDUCTION,
    OUTBOUND_SHIPMENT,
    PRESCRIPTION,
    REPACK,
    SUPPLIER_RETURN,
    Batch,
    Book,
)
from sandbox.sample.medicines import Medicine

# Steps of a pair's history within a day, in the order in which they happen.
_RECEIVE, _ISSUE, _CANCEL, _RETURN_IN, _RETURN_OUT, _COUNT, _REPACK = range(7)

_CANCELLED = "CANCELLED"

_DAYS_BETWEEN_RECEIPTS = 28
_RECEIPTS_SHARE = 0.22
_LATE_OR_MISSING = 0.14
_COUNTED = 0.15

# Shares of batches.
_NEVER_EXPIRING = 0.05
_SHORT_DATED = 0.15
_ON_HOLD = 0.01

# How many lines an invoice has at most.
_LINES = {INBOUND_SHIPMENT: 60, OUTBOUND_SHIPMENT: 12, PRESCRIPTION: 3}
_LINES_OTHERWISE = 40


class _Event(NamedTuple):
    batch: Batch
    units: float


@dataclass(slots=True)
class _Shelf:
    """What a store has of a medicine, and how it is used there.

    Attributes
    ----------
    pack_sizes
        Those that the store receives. What leaves by shipments leaves in whole packs, so a pack must not be
        more than what is usually issued; prescriptions open packs.
    order_up_to
        Units that a receipt fills the shelf up to.
    season
        The factor of use of each day of the history.
    """

    medicine: Medicine
    pack_sizes: tuple[float, ...]
    daily_units: float
    order_up_to: float
    season: list[float]
    batches: list[Batch] = field(default_factory=list)
    last_issue: int = 0


def seasons(book: Book) -> dict[bool, list[float]]:
    """Return the factor of each day, for what rises in the rains and for the rest."""
    days = [book.timeline.day(number).timetuple().tm_yday for number in range(HISTORY_DAYS)]
    return {
        rains: [1 + strength * math.cos(2 * math.pi * (day - 40) / 365) for day in days]
        for rains, strength in ((True, 0.7), (False, 0.1))
    }


class StoreHistory:
    """Writes the history of one store into its book, one medicine after the other.

    Parameters
    ----------
    book
        The book of the store, empty.
    """

    def __init__(self, book: Book) -> None:
        self._book = book
        self._choose = book.choose
        self._issue = PRESCRIPTION if book.clinic.dispenses else OUTBOUND_SHIPMENT
        self._seasons = seasons(book)
        first_count = book.choose.randrange(60, 120)
        self._counts = list(range(first_count, HISTORY_DAYS, 182))
        self._events: dict[tuple[int, str], list[_Event]] = defaultdict(list)

    def add(self, medicine: Medicine, movements: int) -> None:
        """Live through the days of one medicine, in about ``movements`` movements (at least 1)."""
        receipts = max(1, min(HISTORY_DAYS // _DAYS_BETWEEN_RECEIPTS, round(movements * _RECEIPTS_SHARE)))
        interval = HISTORY_DAYS / receipts
        shelf = self._shelf(medicine, interval, HISTORY_DAYS / max(1, movements - receipts))
        for day, step in self._plan(movements, receipts, interval):
            if step == _RECEIVE:
                self._receive(shelf, day)
            elif step == _ISSUE:
                self._use_up(shelf, day)
            elif shelf.batches:
                self._happen(step, day, shelf.batches[int(self._choose.random() * len(shelf.batches))])
        for batch in shelf.batches:
            self._book.keep(batch)

    def _shelf(self, medicine: Medicine, days_between_receipts: float, days_between_issues: float) -> _Shelf:
        daily_units = medicine.daily_units * self._book.clinic.size * self._choose.lognormvariate(0, 0.5)
        pack_sizes = medicine.pack_sizes
        if self._issue == OUTBOUND_SHIPMENT:
            usual = daily_units * days_between_issues
            pack_sizes = tuple(size for size in pack_sizes if size <= usual) or (1.0,)
        return _Shelf(
            medicine,
            pack_sizes,
            daily_units,
            daily_units * days_between_receipts * (1.1 + 0.7 * self._choose.random()),
            self._seasons[medicine.rises_in_the_rains],
        )

    def _plan(self, movements: int, receipts: int, interval: float) -> list[tuple[int, int]]:
        """Lay out what is to happen on which day."""
        random = self._choose.random
        plan = [(int((number + random() * 0.3) * interval), _RECEIVE) for number in range(receipts)]
        start = plan[0][0]
        span = HISTORY_DAYS - start
        plan += [(start + int(random() * span), _ISSUE) for _ in range(movements - receipts)]
        plan += [(day, _COUNT) for day in self._counts if random() < _COUNTED]
        chance = random()
        rare = {0: _RETURN_IN, 1: _RETURN_OUT, 2: _REPACK, 3: _CANCEL}.get(int(chance * 100))
        if rare is not None:
            plan.append((start + int(random() * span), rare))
        plan.sort()
        return plan

    def _receive(self, shelf: _Shelf, day: int) -> None:
        """Fill the shelf up, unless the shipment fails to come; the very first one comes."""
        choose = self._choose
        if shelf.batches and choose.random() < _LATE_OR_MISSING:
            return
        if not shelf.batches:
            shelf.last_issue = day
        usable = sum(batch.units for batch in shelf.batches if batch.expires > day)
        size = shelf.pack_sizes[int(choose.random() ** 2 * len(shelf.pack_sizes))]
        packs = max(not shelf.batches, round((shelf.order_up_to - usable) / size))
        if packs <= 0:
            return
        chance = choose.random()
        if chance < _NEVER_EXPIRING:
            shelf_life: int | None = None
        elif chance < _SHORT_DATED:
            shelf_life = int(30 + 120 * choose.random())
        else:
            shelf_life = int(250 + 600 * choose.random())
        batch = self._book.batch(shelf.medicine, size, day, shelf_life)
        batch.units = packs * size
        batch.is_on_hold = chance > 1 - _ON_HOLD
        shelf.batches.append(batch)
        shelf.batches.sort(key=lambda batch: batch.expires)
        self._events[day, INBOUND_SHIPMENT].append(_Event(batch, batch.units))

    def _use_up(self, shelf: _Shelf, day: int) -> None:
        """Issue what there is, of the batch that expires first; of expired ones nothing."""
        use = shelf.daily_units * shelf.season[day] * (0.6 + 0.8 * self._choose.random())
        units: float = max(1, round(use * (day - shelf.last_issue + 1)))
        shelf.last_issue = day
        for batch in shelf.batches:
            if batch.units and batch.expires > day:
                if self._issue == OUTBOUND_SHIPMENT:
                    units = math.ceil(units / batch.pack_size) * batch.pack_size
                taken = min(units, batch.units)
                batch.units -= taken
                units -= taken
                self._events[day, self._issue].append(_Event(batch, -taken))
                if not units:
                    return

    def _happen(self, step: int, day: int, batch: Batch) -> None:
        """Let a rarer thing happen to a batch, in whole units and never below nothing."""
        choose = self._choose
        if step == _COUNT:
            if batch.expires <= day:
                difference = -batch.units
            else:
                difference = max(-batch.units, round((choose.random() - 0.55) * 0.1 * (batch.units + 50)))
            kind = INVENTORY_ADDITION if difference > 0 else INVENTORY_REDUCTION
            self._change(kind, day, batch, difference)
        elif step == _RETURN_IN:
            self._change(CUSTOMER_RETURN, day, batch, 1 + int(choose.random() * 20))
        elif step == _RETURN_OUT:
            self._change(SUPPLIER_RETURN, day, batch, -math.floor(batch.units / 4))
        elif step == _CANCEL and batch.units and self._issue == PRESCRIPTION:
            self._events[day, _CANCELLED].append(_Event(batch, -min(10, batch.units)))
        elif step == _REPACK and batch.units:
            self._change(REPACK, day, batch, -batch.units)
            self._repacked(day, batch)

    def _change(self, kind: str, day: int, batch: Batch, units: float) -> None:
        if units:
            batch.units += units
            self._events[day, kind].append(_Event(batch, units))

    def _repacked(self, day: int, batch: Batch) -> None:
        """Put what a repack took out into single units, as a stock line of its own."""
        singles = self._book.batch(batch.medicine, 1.0, day, None)
        singles.number, singles.expires, singles.expiry_date = batch.number, batch.expires, batch.expiry_date
        units = -self._events[day, REPACK][-1].units
        self._change(REPACK, day, singles, units)
        self._book.keep(singles)

    def write(self) -> None:
        """Write everything that happened as invoices, in the order of the days."""
        for (day, kind), events in sorted(self._events.items(), key=lambda entry: entry[0]):
            if kind == _CANCELLED:
                for event in events:
                    cancelled_prescription(self._book, day, event.batch, event.units)
                continue
            size = _LINES.get(kind, _LINES_OTHERWISE)
            for start in range(0, len(events), size):
                invoice_id = self._book.invoice(kind, day, self._book.time_of(kind))
                for event in events[start : start + size]:
                    self._book.line(invoice_id, event.batch, event.units)


def cancelled_prescription(book: Book, day: int, batch: Batch, units: float) -> None:
    """Write a prescription of ``-units`` and the hidden one that takes it back an hour later."""
    moved, cancelled = book.timeline.at(day, "14:05:00"), book.timeline.at(day, "15:05:00")
    instants = (moved, None, moved, None, None, None, moved)
    original = book.bare_invoice(PRESCRIPTION, "CANCELLED", instants, cancelled=cancelled)
    book.line(original, batch, units)
    instants = (cancelled, None, cancelled, None, None, None, cancelled)
    mirror = book.bare_invoice(PRESCRIPTION, "VERIFIED", instants, mirror_of=original)
    book.line(mirror, batch, -units)

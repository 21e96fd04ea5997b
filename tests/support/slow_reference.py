"""The twelve metrics once more: slow, day by day, forwards over the whole ledger.

It shares nothing with the implementation but the data classes, so that the two can be held against each
other. Wherever there was a choice it takes the plainest way: it walks through days one by one, and it looks
at every entry of the ledger for every question.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from functools import cache
from zoneinfo import ZoneInfo

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import Item, MovementKind, Store
from msupply_dhis2.periods import Basis

MILLION = 1_000_000
ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Entry:
    """A line of the ledger; ``line`` is the id of the stock line that it names."""

    store: Store
    item: Item
    instant: datetime
    kind: MovementKind
    units: int
    line: str | None


@dataclass(frozen=True)
class Line:
    """A stock line as it is now."""

    store: Store
    item: Item
    id: str
    units: int
    expiry_date: date | None


@dataclass(frozen=True)
class Question:
    """When and by what rules the metrics are asked for."""

    basis: Basis
    as_of: datetime
    zone: ZoneInfo
    period_format: str
    expiring_within_days: int
    include_returns: bool
    days_in_month: Fraction
    adjust: bool


# Time


@cache
def start_of(day: date, zone: ZoneInfo) -> datetime:
    """Walk towards the day in quarters of an hour until the clock shows it."""
    instant = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=15)
    while instant.astimezone(zone).date() < day:
        instant += timedelta(minutes=15)
    return instant.replace(tzinfo=None)


def day_of(instant: datetime, zone: ZoneInfo) -> date:
    day = instant.date() - 2 * ONE_DAY
    while not start_of(day, zone) <= instant < start_of(day + ONE_DAY, zone):
        day += ONE_DAY
    return day


def days_between(first: date, after: date, zone: ZoneInfo) -> list[tuple[datetime, datetime]]:
    """Begin and end of each day; a day without any instant is none."""
    days = []
    while first < after:
        begin, end = start_of(first, zone), start_of(first + ONE_DAY, zone)
        if begin < end:
            days.append((begin, end))
        first += ONE_DAY
    return days


def back_to(day: date, begins: Callable[[date], bool]) -> date:
    while not begins(day):
        day -= ONE_DAY
    return day


def begins_month(day: date) -> bool:
    return day.day == 1


PERIOD_BEGINS: dict[str, Callable[[date], bool]] = {
    "YYYYMM": begins_month,
    "YYYYMMDD": lambda _: True,
    "Weekly": lambda day: day.strftime("%a") == "Mon",
    "Quarterly": lambda day: (day.month, day.day) in {(1, 1), (4, 1), (7, 1), (10, 1)},
    "FinancialJuly": lambda day: (day.month, day.day) == (7, 1),
}


# When a movement counts


@dataclass(frozen=True)
class Invoice:
    """When an invoice says that it moved its stock, when it was created, and which one it cancels."""

    moved: datetime | None
    created: datetime | None = None
    cancels: "Invoice | None" = None


def counts_at(invoice: Invoice, read_at: datetime, zone: ZoneInfo) -> datetime | None:
    """Return when the movements of an invoice count, in a database that is read at an instant."""
    if invoice.moved is None:
        return None
    if invoice.cancels is not None and invoice.cancels.moved is not None:
        moved, created = invoice.cancels.moved, invoice.cancels.created
    else:
        moved, created = invoice.moved, invoice.created
    if moved <= read_at:
        return moved
    if created is not None and created <= read_at:
        return created
    return start_of(day_of(read_at, zone), zone)


# Stock


def total(entries: Iterable[Entry]) -> int:
    return sum(entry.units for entry in entries)


def stock_before_everything(lines: Sequence[Line], entries: Sequence[Entry]) -> int:
    return sum(line.units for line in lines) - total(entries)


def stock_at(instant: datetime, lines: Sequence[Line], entries: Sequence[Entry]) -> int:
    earlier = total(entry for entry in entries if entry.instant < instant)
    return stock_before_everything(lines, entries) + earlier


def is_out(begin: datetime, end: datetime, lines: Sequence[Line], entries: Sequence[Entry]) -> bool:
    """Out at the midnight that begins the day, after every instant of it, at the midnight that ends it."""
    levels = [stock_at(begin, lines, entries), stock_at(end, lines, entries)]
    for entry in entries:
        if begin <= entry.instant < end:
            until = total(other for other in entries if other.instant <= entry.instant)
            levels.append(stock_before_everything(lines, entries) + until)
    return all(level <= 0 for level in levels)


def days_out(
    first: date, end: datetime, zone: ZoneInfo, lines: Sequence[Line], entries: Sequence[Entry]
) -> int | None:
    """Count among the whole days from ``first`` that are over at ``end``."""
    days = [day for day in days_between(first, day_of(end, zone) + ONE_DAY, zone) if day[1] <= end]
    first_ins = [entry.instant for entry in entries if entry.units > 0]
    always_stocked = stock_before_everything(lines, entries) > 0
    if not days or (not always_stocked and (not first_ins or min(first_ins) >= end)):
        return None
    return sum(
        1
        for begin, after in days
        if (always_stocked or after > min(first_ins)) and is_out(begin, after, lines, entries)
    )


# The metrics


def average_consumption(
    question: Question,
    snapshot: datetime,
    snapshot_date: date,
    lines: Sequence[Line],
    entries: Sequence[Entry],
    stores: Iterable[Store],
) -> Fraction:
    average = Fraction(0)
    for store in stores:
        own_lines = [line for line in lines if line.store == store]
        own_entries = [entry for entry in entries if entry.store == store]
        months = store.look_back_months or Fraction(3)
        period = months * question.days_in_month
        first = snapshot_date
        for _ in range(int(period) - 1):
            first -= ONE_DAY
        if int(period) == 0:
            first += ONE_DAY
        consumed = -total(
            entry
            for entry in own_entries
            if entry.kind in {MovementKind.OUTBOUND_SHIPMENT, MovementKind.PRESCRIPTION}
            and start_of(first, question.zone) <= entry.instant < snapshot
        )
        own = Fraction(consumed) / months
        if question.adjust:
            whole_days = [
                day
                for day in days_between(first, snapshot_date + ONE_DAY, question.zone)
                if day[1] <= snapshot
            ]
            if not all(is_out(*day, own_lines, own_entries) for day in whole_days):
                out = days_out(first, snapshot, question.zone, own_lines, own_entries) or 0
                own = own * period / (period - out)
        average += own
    return average


def reference_values(
    question: Question, lines: Sequence[Line], entries: Sequence[Entry], stores: Iterable[Store]
) -> dict[Metric, int | Fraction]:
    zone = question.zone
    today = day_of(question.as_of, zone)
    begins = PERIOD_BEGINS[question.period_format]
    if question.basis is Basis.CURRENT_DAY:
        snapshot_date, snapshot = today, question.as_of
        flow_first = back_to(today, begins)
    else:
        snapshot_date = back_to(today, begins_month) - ONE_DAY
        snapshot = start_of(snapshot_date + ONE_DAY, zone)
        flow_first = back_to(snapshot_date, begins_month)
        flow_first = min(flow_first, back_to(snapshot_date, begins))
    flow_start = start_of(flow_first, zone)

    def flow(*kinds: MovementKind) -> int:
        return total(
            entry for entry in entries if entry.kind in kinds and flow_start <= entry.instant < snapshot
        )

    adjusting = [MovementKind.INVENTORY_ADDITION, MovementKind.INVENTORY_REDUCTION]
    if question.include_returns:
        adjusting += [MovementKind.CUSTOMER_RETURN, MovementKind.SUPPLIER_RETURN]

    def on_lines(expiry_dates: Sequence[date]) -> int:
        return sum(
            line.units
            - total(
                entry
                for entry in entries
                if (entry.store, entry.item, entry.line) == (line.store, line.item, line.id)
                and entry.instant >= snapshot
            )
            for line in lines
            if line.expiry_date in expiry_dates
        )

    days_to_come = [snapshot_date + n * ONE_DAY for n in range(1, question.expiring_within_days + 1)]
    past_days = [snapshot_date - n * ONE_DAY for n in range(1000)]

    on_hand = stock_at(snapshot, lines, entries)
    average = average_consumption(question, snapshot, snapshot_date, lines, entries, stores)
    values: dict[Metric, int | Fraction] = {
        Metric.STOCK_ON_HAND: on_hand,
        Metric.ADJUSTMENTS: flow(*adjusting),
        Metric.RECEIVED: flow(MovementKind.INBOUND_SHIPMENT),
        Metric.ISSUED: -flow(MovementKind.OUTBOUND_SHIPMENT, MovementKind.PRESCRIPTION),
        Metric.EXPIRING: on_lines(days_to_come),
        Metric.EXPIRED: on_lines(past_days),
        Metric.AVERAGE_MONTHLY_CONSUMPTION: average,
        Metric.OPENING_STOCK: stock_at(start_of(back_to(snapshot_date, begins_month), zone), lines, entries),
        Metric.CLOSING_STOCK: on_hand,
        Metric.STOCKED_OUT: MILLION if on_hand <= 0 else 0,
    }
    if average > 0:
        values[Metric.MONTHS_OF_STOCK] = Fraction(on_hand) / average * MILLION
    out = days_out(flow_first, snapshot, zone, lines, entries)
    if out is not None:
        values[Metric.DAYS_OUT_OF_STOCK] = out * MILLION
    return values

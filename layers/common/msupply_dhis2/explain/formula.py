"""How the value of each metric is worked out, with its numbers, from the parts that the calculation itself has."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import NamedTuple

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import MICRO, MovementKind
from msupply_dhis2.explain.explanation import Span, Term
from msupply_dhis2.metrics.calculate import Consumption, Group, Rules
from msupply_dhis2.metrics.ledger import stock_of_lines
from msupply_dhis2.metrics.quantity import Quantity, format_value
from msupply_dhis2.periods import Window, add_days
from msupply_dhis2.text import count, joined, shown_day

_FOR_EVER = datetime.max  # noqa: DTZ901 - instants are naive UTC

_FLOW_KINDS = {
    Metric.RECEIVED: (MovementKind.INBOUND_SHIPMENT,),
    Metric.ISSUED: (MovementKind.OUTBOUND_SHIPMENT, MovementKind.PRESCRIPTION),
    Metric.ADJUSTMENTS: (MovementKind.INVENTORY_ADDITION, MovementKind.INVENTORY_REDUCTION),
}
RETURNS = (MovementKind.CUSTOMER_RETURN, MovementKind.SUPPLIER_RETURN)


class Formula(NamedTuple):
    """How a value is worked out; where there is none, why."""

    formula: str
    terms: tuple[Term, ...] = ()
    days_without_stock: tuple[Span, ...] = ()


def formula(group: Group, metric: Metric, window: Window) -> Formula:
    """Return how a metric of a group is worked out."""
    match metric:
        case Metric.AVERAGE_MONTHLY_CONSUMPTION:
            return _average(group, window)
        case Metric.MONTHS_OF_STOCK:
            return _months(group, window)
        case Metric.DAYS_OUT_OF_STOCK:
            return _days_out(group, window)
        case Metric.EXPIRING | Metric.EXPIRED:
            return _expiry(group, metric, window)
        case Metric.RECEIVED | Metric.ISSUED | Metric.ADJUSTMENTS:
            return _flow(group, metric, window)
        case Metric.STOCK_ON_HAND | Metric.OPENING_STOCK | Metric.CLOSING_STOCK | Metric.STOCKED_OUT:
            return _stock(group, metric, window)


def units(quantity: Quantity) -> str:
    """Write an exact quantity for people, with six decimals at most."""
    return format_value(quantity, round_off=False)


def local(instant: datetime, window: Window) -> datetime:
    """Return an instant (naive UTC) aware, as the clock of the stack's time zone shows it."""
    return instant.replace(tzinfo=UTC).astimezone(window.calendar.time_zone)


def shown_instant(instant: datetime, window: Window) -> str:
    """Write an instant (naive UTC): ``31 January 2026, 23:59``."""
    there = local(instant, window)
    return f"{shown_day(there)}, {there:%H:%M}"


def _shown_days(window: Window, start: datetime, end: datetime) -> str:
    """Write the days of a time that begins and ends at midnight, or ends at the instant of the run."""
    first, last = window.calendar.day_of(start), window.calendar.day_of(end - timedelta(microseconds=1))
    return f"on {shown_day(first)}" if first == last else f"from {shown_day(first)} to {shown_day(last)}"


def _stock(group: Group, metric: Metric, window: Window) -> Formula:
    instant = window.month_start if metric is Metric.OPENING_STOCK else window.snapshot
    name = "stock on hand" if metric is Metric.STOCKED_OUT else metric.label
    now, then = group.ledger.stock_now, group.ledger.stock_at(instant)
    terms = [Term(what="on the stock lines now", units=units(now))]
    terms += [
        Term(what=f"{_called(kind)} since then, taken back", units=units(-moved))
        for kind, moved in group.ledger.moved(instant, _FOR_EVER).items()
        if moved
    ]
    since = now - then
    moved = f"{'-' if since > 0 else '+'} {units(abs(since))} that {'came in' if since > 0 else 'went out'}"
    since_then = f"{moved if since else 'and nothing that moved'}, net, since then"
    at = shown_instant(instant, window)
    said = f"{name} at {at} = {units(now)} on the stock lines now {since_then} = {units(then)}"
    if metric is Metric.STOCKED_OUT:
        said += f"; stocked out = {int(then <= 0)}, because this is {'' if then <= 0 else 'not '}0 or less"
    return Formula(said, tuple(terms))


def _called(kind: MovementKind) -> str:
    return f"{kind.value.replace('_', ' ')}s"


def _flow(group: Group, metric: Metric, window: Window) -> Formula:
    kinds = _FLOW_KINDS[metric]
    if metric is Metric.ADJUSTMENTS and group.rules.include_returns:
        kinds += RETURNS
    sign = -1 if metric is Metric.ISSUED else 1
    terms = tuple(Term(what=_called(kind), units=units(sign * group.moved[kind])) for kind in kinds)
    parts = joined([f"{term.units} in {term.what}" for term in terms])
    days = _shown_days(window, window.flow_start, window.snapshot)
    total = group.value(metric) or 0
    return Formula(f"{metric.label} {days} = {parts} = {units(total)}", terms)


def _average(group: Group, window: Window) -> Formula:
    stores = group.consumption_by_store
    total = units(group.average_monthly_consumption)
    quotients = [_of_store(each, window, group.rules) for each in stores]
    if len(stores) == 1:
        return Formula(f"average monthly consumption = {quotients[0]} = {total}")
    terms = tuple(
        Term(what=f"{each.store.name}: {quotient}", units=units(each.average))
        for each, quotient in zip(stores, quotients, strict=True)
    )
    return Formula(f"average monthly consumption = the sum of the stores = {total}", terms)


def _of_store(of: Consumption, window: Window, rules: Rules) -> str:
    """Write the quotient that a store's average monthly consumption is."""
    days = count((window.snapshot_date - window.calendar.day_of(of.start)).days + 1, "day")
    issued = f"{units(of.consumed)} issued in {days} {_shown_days(window, of.start, window.snapshot)}"
    look_back = of.store.look_back
    if not of.days_out:
        return f"{issued} / {_months_of(look_back)}"
    all_days = units(look_back * rules.consumption.days_in_month * MICRO)
    return (
        f"{issued} / {_months_of(of.months)} ({_months_of(look_back)} x ({all_days} - {of.days_out}) / {all_days}, because of "
        f"{count(of.days_out, 'day')} out of stock)"
    )


def _months_of(number: Fraction) -> str:
    written = units(number * MICRO)
    return f"{written} {'month' if written == '1' else 'months'}"


def _months(group: Group, window: Window) -> Formula:
    average, months = group.average_monthly_consumption, group.months_of_stock
    of_average = _average(group, window).formula
    if months is None:
        return Formula(f"no months of stock: the average monthly consumption is 0 or less; {of_average}")
    quotient = f"{units(group.stock_on_hand)} on hand / {units(average)} a month"
    return Formula(f"months of stock = {quotient} = {units(months)}; {of_average}")


def _days_out(group: Group, window: Window) -> Formula:
    day_of, midnights = window.calendar.day_of, window.calendar.midnights(window.flow_start, window.snapshot)
    days = _shown_days(window, window.flow_start, window.snapshot)
    if len(midnights) <= 1:
        return Formula(f"no days out of stock: no whole day of the period has passed ({days})")
    spans = group.ledger.spans_without_stock(midnights, window.snapshot)
    if spans is None:
        return Formula("no days out of stock: nothing was ever in stock before the end of the period")
    shown = tuple(
        Span(first=day_of(midnights[begin]), last=day_of(midnights[end]) - timedelta(1), days=end - begin)
        for begin, end in reversed(spans)
    )
    total = sum(span.days for span in shown)
    listed = f": {joined(_days_of(span, of=total) for span in shown)}" if shown else ""
    return Formula(f"days out of stock {days} = {total}{listed}", days_without_stock=shown)


def _days_of(span: Span, *, of: int) -> str:
    if span.days == 1:
        return shown_day(span.first)
    number = "" if span.days == of else f" ({span.days})"
    return f"{shown_day(span.first)} to {shown_day(span.last)}{number}"


def _expiry(group: Group, metric: Metric, window: Window) -> Formula:
    first, last = window.snapshot_date, add_days(window.snapshot_date, group.rules.expiring_within_days)
    has_expired, begins = metric is Metric.EXPIRED, shown_day(first)
    when = f"on {begins} or before" if has_expired else f"after {begins} and up to {shown_day(last)}"
    terms = tuple(
        Term(what=f"stock line {line.id}, expiry date {line.expiry_date}", units=units(held))
        for _, line, held in stock_of_lines(group.pairs, window.snapshot, Counter())
        if held and (day := line.expiry_date) and day <= last and (day <= first) is has_expired
    )
    total, at = units(group.value(metric) or 0), shown_instant(window.snapshot, window)
    return Formula(f"{metric.label} = {total} on stock lines that expire {when}, as they were at {at}", terms)

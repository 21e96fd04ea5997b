"""Where mSupply's own screen shows another number for a value: the rules of docs/msupply-screen.md."""

from collections.abc import Iterator
from datetime import datetime, time
from fractions import Fraction
from itertools import pairwise

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import MICRO, MovementKind
from msupply_dhis2.explain.explanation import OnScreen
from msupply_dhis2.explain.formula import RETURNS, shown_instant, units
from msupply_dhis2.metrics.calculate import Group
from msupply_dhis2.metrics.quantity import Quantity
from msupply_dhis2.periods import Window, add_days

_ISSUES = (MovementKind.OUTBOUND_SHIPMENT, MovementKind.PRESCRIPTION)

BELOW_ZERO = "mSupply leaves stock lines below 0 out of stock on hand. Here all stock lines are added up."
AS_ADJUSTMENTS = (
    "mSupply counts customer and supplier returns as adjustments. Here they are left out, unless the settings say "
    "include_returns: true."
)
CANCELLED = "Here a cancelled prescription counts nothing: the row that cancels it is taken off. mSupply adds up the sizes of both rows."
IN_UTC = "mSupply takes the date of an issue in UTC. Here it is that of the stack's time zone."
MONTHS_WITH_CONSUMPTION = (
    "Where the preference monthlyConsumptionEnforceLookBackPeriod of the older mSupply is false, it divides by the months that "
    "had consumption. Here it is always the months of the look-back."
)
DAYS_OUT = (
    "Here a day counts only if there was no stock at all, from midnight to midnight, and today does not count. mSupply counts "
    "a day that begins and ends with 0, and today too, and adds up its ledger forwards, from 0."
)

type _Difference = tuple[str, Quantity, Quantity]
"""A rule, the number here, and that on the screen."""


def beside_screen(group: Group, metric: Metric, window: Window) -> Iterator[OnScreen]:
    """Yield the rules that make a difference for this value, each by itself, with both numbers."""
    for rule, here, on_screen in _differences(group, metric, window):
        if units(here) != units(on_screen):
            yield OnScreen(rule=rule, here=units(here), on_screen=units(on_screen))


def _differences(group: Group, metric: Metric, window: Window) -> Iterator[_Difference]:
    match metric:
        case Metric.STOCK_ON_HAND | Metric.CLOSING_STOCK | Metric.STOCKED_OUT:
            at, now = shown_instant(window.snapshot, window), group.ledger.stock_now
            yield f"The screen shows the stock of now. This value is about {at}.", group.stock_on_hand, now
            lines = [line.units for pair in group.pairs for line in pair.stock_lines]
            yield f"{BELOW_ZERO} These are the numbers of now.", now, sum(line for line in lines if line > 0)
        case Metric.ADJUSTMENTS if not group.rules.include_returns:
            here = group.adjustments
            yield AS_ADJUSTMENTS, here, here + sum(group.moved[kind] for kind in RETURNS)
        case Metric.AVERAGE_MONTHLY_CONSUMPTION:
            yield from _of_consumption(group, window)
        case Metric.DAYS_OUT_OF_STOCK if (days := group.days_out_of_stock) is not None:
            yield DAYS_OUT, days, _days_on_screen(group, window) * MICRO


def _of_consumption(group: Group, window: Window) -> Iterator[_Difference]:
    here = group.average_monthly_consumption
    cancelled: Quantity = 0
    in_utc: Quantity = 0
    enforced: Quantity = 0
    for of in group.consumption_by_store:
        issues = [each for each in of.ledger.movements if each.kind in _ISSUES]
        within = [each for each in issues if of.start <= each.instant < window.snapshot]
        # An issue goes out; the row that cancels it comes back.
        back = sum(each.units for each in within if each.units > 0)
        cancelled += Fraction(2 * back) / of.months
        # The midnights of UTC.
        first = datetime.combine(window.calendar.day_of(of.start), time())
        last = datetime.combine(add_days(window.snapshot_date, 1), time())
        consumed = -sum(each.units for each in issues if first <= each.instant < last)
        in_utc += Fraction(consumed) / of.months
        days = [window.calendar.day_of(each.instant) for each in within if each.units < 0]
        months = {(day.year, day.month) for day in days}
        enforced += Fraction(of.consumed, len(months)) if months else 0
    yield CANCELLED, here, here + cancelled
    yield IN_UTC, here, in_utc
    yield MONTHS_WITH_CONSUMPTION, here, enforced


def _days_on_screen(group: Group, window: Window) -> int:
    """Count the days of the period that begin and end without stock, by the ledger added up forwards."""
    ledger = group.ledger
    moved = sum(each.units for each in ledger.movements)
    unexplained = ledger.stock_now - moved - sum(pair.units_before_floor for pair in group.pairs)
    midnights = [*window.calendar.midnights(window.flow_start, window.snapshot)]
    if midnights[-1] < window.snapshot:
        midnights.append(window.snapshot)
    stock = [ledger.stock_at(midnight) - unexplained for midnight in midnights]
    return sum(before <= 0 and after <= 0 for before, after in pairwise(stock))

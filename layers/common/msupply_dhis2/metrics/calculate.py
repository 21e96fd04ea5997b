"""The twelve metrics of one group: one org unit and one item reference.

Quantities add up over the pairs of the group; ratios and days are worked out from the sums, never averaged.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from operator import attrgetter

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import (
    MICRO,
    ConsumptionPreferences,
    GroupHistory,
    MovementKind,
    PairHistory,
    Store,
)
from msupply_dhis2.metrics.ledger import Ledger, StockWarning, stock_that_expires
from msupply_dhis2.metrics.quantity import Quantity
from msupply_dhis2.periods import Window, add_days

DEFAULT_LOOK_BACK_MONTHS = Fraction(3)
"""How far average monthly consumption looks back where the store has no preference of its own."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The choices behind the metrics.

    So many days after the snapshot date a stock line may expire and still count as expiring. Adjustments include customer
    and supplier returns, or not. Of average monthly consumption mSupply has its own preferences.
    """

    expiring_within_days: int = 90
    include_returns: bool = False
    consumption: ConsumptionPreferences = field(default_factory=ConsumptionPreferences)


def look_back_start(window: Window, store: Store, rules: Rules) -> datetime:
    """Return the midnight at which a store's look-back begins: whole days, the last the snapshot date."""
    months = store.look_back_months or DEFAULT_LOOK_BACK_MONTHS
    days_in_month = rules.consumption.days_in_month
    # In whole numbers, which for every group saves the making of a fraction.
    days = months.numerator * days_in_month.numerator // (months.denominator * days_in_month.denominator)
    return window.calendar.start_of_day(add_days(window.snapshot_date, 1 - days))


def floor(windows: Iterable[Window], stores: Iterable[Store], rules: Rules) -> datetime:
    """Return the earliest midnight, naive UTC, that any metric needs movements from.

    What moved before it matters only as a sum and as the first movement in.
    """
    # Many stores, few different look-backs.
    stores_by_look_back = {store.look_back_months: store for store in stores}
    return min(
        start
        for window in windows
        for start in (
            window.month_start,
            window.flow_start,
            *(look_back_start(window, store, rules) for store in stores_by_look_back.values()),
        )
    )


@dataclass(slots=True)
class GroupValues:
    """The values of one group, exact, in millionths, in the order in which they were asked for; some metrics have none."""

    values: dict[Metric, Quantity] = field(default_factory=dict)
    warnings: Counter[StockWarning] = field(default_factory=Counter)


def calculate(
    history: GroupHistory, window: Window, rules: Rules, metrics: Collection[Metric]
) -> GroupValues:
    """Work out metrics of a group, whose history has the movements from ``floor`` on, or from earlier."""
    result = GroupValues()
    if not history.pairs:
        return result
    group = _Group(history.pairs, window, rules, result.warnings)
    values = result.values
    for metric in metrics:
        value = _VALUE[metric](group)
        if value is not None:
            values[metric] = value
            if metric in _STOCK_METRICS and value < 0:
                result.warnings[StockWarning.NEGATIVE_STOCK] += 1
    return result


class _Group:
    """What the metrics of one group are made of: what costs little at once, the rest when it is needed."""

    __slots__ = (
        "_average",
        "_expired_and_expiring",
        "_ledger",
        "_moved",
        "_pairs",
        "_rules",
        "_warnings",
        "_window",
        "closing_stock",
        "opening_stock",
        "stock_on_hand",
    )

    def __init__(
        self, pairs: list[PairHistory], window: Window, rules: Rules, warnings: Counter[StockWarning]
    ) -> None:
        self._pairs = pairs
        self._window = window
        self._rules = rules
        self._warnings = warnings
        self._ledger = ledger = Ledger(pairs)
        self.opening_stock = ledger.stock_at(window.month_start)
        self.closing_stock = ledger.stock_at(window.month_end)
        self.stock_on_hand = (
            self.closing_stock if window.snapshot == window.month_end else ledger.stock_at(window.snapshot)
        )
        self._moved = ledger.moved(window.flow_start, window.flow_end)
        self._average: Quantity | None = None
        self._expired_and_expiring: Sequence[int] | None = None

    def stocked_out(self) -> int:
        return MICRO if self.stock_on_hand <= 0 else 0

    def received(self) -> int:
        return self._moved[MovementKind.INBOUND_SHIPMENT]

    def issued(self) -> int:
        return -(self._moved[MovementKind.OUTBOUND_SHIPMENT] + self._moved[MovementKind.PRESCRIPTION])

    def adjustments(self) -> int:
        adjustments = (
            self._moved[MovementKind.INVENTORY_ADDITION] + self._moved[MovementKind.INVENTORY_REDUCTION]
        )
        if self._rules.include_returns:
            adjustments += (
                self._moved[MovementKind.CUSTOMER_RETURN] + self._moved[MovementKind.SUPPLIER_RETURN]
            )
        return adjustments

    def days_out_of_stock(self) -> int | None:
        window = self._window
        days = self._ledger.days_out_of_stock(
            window.calendar.midnights(window.flow_start, window.flow_end), window.flow_end
        )
        return None if days is None else days * MICRO

    def average_monthly_consumption(self) -> Quantity:
        if self._average is None:
            self._average = self._consumption()
        return self._average

    def _consumption(self) -> Quantity:
        pairs = self._pairs
        if len(pairs) == 1:
            return self._store_consumption(pairs[0].store, self._ledger)
        pairs_by_store: defaultdict[str, list[PairHistory]] = defaultdict(list)
        for pair in pairs:
            pairs_by_store[pair.store.id].append(pair)
        if len(pairs_by_store) == 1:
            return self._store_consumption(pairs[0].store, self._ledger)
        return sum(self._store_consumption(of[0].store, Ledger(of)) for of in pairs_by_store.values())

    def _store_consumption(self, store: Store, ledger: Ledger) -> Quantity:
        """Average monthly consumption of one store, by its own look-back and its own days out of stock."""
        if not ledger.movements:
            return 0
        start, snapshot = look_back_start(self._window, store, self._rules), self._window.snapshot
        consumed = ledger.issued(start, snapshot)
        if consumed == 0:
            return 0
        months = store.look_back_months or DEFAULT_LOOK_BACK_MONTHS
        preferences = self._rules.consumption
        if preferences.adjust_for_days_out_of_stock:
            midnights = self._window.calendar.midnights(start, snapshot)
            days_out = ledger.days_out_of_stock(midnights, snapshot)
            if days_out and ledger.is_in_stock(midnights):
                # What was not there could not be consumed: only the part of the months in stock counts.
                days = months * preferences.days_in_month
                months *= (days - days_out) / days
        return Fraction(consumed * months.denominator, months.numerator)

    def months_of_stock(self) -> Fraction | None:
        consumed, months = self.average_monthly_consumption().as_integer_ratio()
        if consumed <= 0:
            return None
        return Fraction(self.stock_on_hand * MICRO * months, consumed)

    def expiring(self) -> int:
        return self._expiry()[1]

    def expired(self) -> int:
        return self._expiry()[0]

    def _expiry(self) -> Sequence[int]:
        if self._expired_and_expiring is None:
            first = self._window.snapshot_date
            last_days = (first, add_days(first, self._rules.expiring_within_days))
            self._expired_and_expiring = stock_that_expires(
                self._pairs, self._window.snapshot, last_days, self._warnings
            )
        return self._expired_and_expiring


_VALUE: dict[Metric, Callable[[_Group], Quantity | None]] = {
    Metric.STOCK_ON_HAND: attrgetter("stock_on_hand"),
    Metric.MONTHS_OF_STOCK: _Group.months_of_stock,
    Metric.ADJUSTMENTS: _Group.adjustments,
    Metric.RECEIVED: _Group.received,
    Metric.ISSUED: _Group.issued,
    Metric.EXPIRING: _Group.expiring,
    Metric.EXPIRED: _Group.expired,
    Metric.AVERAGE_MONTHLY_CONSUMPTION: _Group.average_monthly_consumption,
    Metric.DAYS_OUT_OF_STOCK: _Group.days_out_of_stock,
    Metric.OPENING_STOCK: attrgetter("opening_stock"),
    Metric.CLOSING_STOCK: attrgetter("closing_stock"),
    Metric.STOCKED_OUT: _Group.stocked_out,
}

_STOCK_METRICS = frozenset(
    {Metric.STOCK_ON_HAND, Metric.EXPIRING, Metric.EXPIRED, Metric.OPENING_STOCK, Metric.CLOSING_STOCK}
)

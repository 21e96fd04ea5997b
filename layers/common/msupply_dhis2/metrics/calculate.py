"""The twelve metrics of one group: one org unit and one item reference.

Quantities add up over the pairs of the group; ratios and days are worked out from the sums, never averaged.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from functools import cached_property
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import (
    MICRO,
    ConsumptionPreferences,
    GroupHistory,
    MovementKind,
    PairHistory,
    Store,
)
from msupply_dhis2.metrics.ledger import Ledger, StockWarning, stock_of_lines
from msupply_dhis2.metrics.quantity import Quantity
from msupply_dhis2.periods import Window, add_days


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
    months = store.look_back
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
    starts = []
    for window in windows:
        starts += [window.month_start, window.flow_start]
        starts += [look_back_start(window, store, rules) for store in stores_by_look_back.values()]
    return min(starts)


_NOTHING: Mapping[Any, Any] = MappingProxyType({})


@dataclass(slots=True)
class GroupValues:
    """The values of one group, exact, in millionths, in the order in which they were asked for; some metrics have none."""

    values: dict[Metric, Quantity] = field(default_factory=dict)
    warnings: Counter[StockWarning] = field(default_factory=Counter)
    documents: Mapping[Metric, str] = _NOTHING
    """Which reports of a customer each is from."""
    not_sent: Mapping[tuple[str, str], int] = _NOTHING
    """Of reports: how many lines are not, by reason and document."""


def calculate(
    history: GroupHistory, window: Window, rules: Rules, metrics: Collection[Metric]
) -> GroupValues:
    """Work out metrics of a group, whose history has the movements from ``floor`` on, or from earlier."""
    result = GroupValues()
    if not history.pairs:
        return result
    group = Group(history.pairs, window, rules, result.warnings)
    for metric in metrics:
        value = _METRICS[metric](group)
        if value is not None:
            result.values[metric] = value
            if metric in _STOCK_METRICS and value < 0:
                result.warnings[StockWarning.NEGATIVE_STOCK] += 1
    return result


@dataclass
class Group:
    """What the metrics of one group are made of."""

    pairs: list[PairHistory]
    window: Window
    rules: Rules
    warnings: Counter[StockWarning]

    @cached_property
    def ledger(self) -> Ledger:
        """Its stock and what moved it."""
        return Ledger(self.pairs)

    def value(self, metric: Metric) -> Quantity | None:
        """Return a metric; some have no value."""
        return _METRICS[metric](self)

    @cached_property
    def stock_on_hand(self) -> int:
        """Stock at the snapshot, where the month ends, or up to where it has passed."""
        return self.ledger.stock_at(self.window.snapshot)

    @cached_property
    def moved(self) -> Mapping[MovementKind, int]:
        """What moved in the period, by kind."""
        return self.ledger.moved(self.window.flow_start, self.window.snapshot)

    @property
    def adjustments(self) -> int:
        """Inventory adjustments, and returns where they count as such."""
        kinds = [MovementKind.INVENTORY_ADDITION, MovementKind.INVENTORY_REDUCTION]
        if self.rules.include_returns:
            kinds += [MovementKind.CUSTOMER_RETURN, MovementKind.SUPPLIER_RETURN]
        return sum(self.moved[kind] for kind in kinds)

    @property
    def days_out_of_stock(self) -> int | None:
        """Whole days of the period without any stock."""
        window = self.window
        midnights = window.calendar.midnights(window.flow_start, window.snapshot)
        days = self.ledger.days_out_of_stock(midnights, window.snapshot)
        return None if days is None else days * MICRO

    @cached_property
    def average_monthly_consumption(self) -> Quantity:
        """The sum of the stores."""
        # Without a sum of one, which would make another fraction.
        first, *others = [each.average for each in self.consumption_by_store]
        return sum(others, first)

    @cached_property
    def consumption_by_store(self) -> list["Consumption"]:
        """What each store consumed."""
        if len({pair.store.id for pair in self.pairs}) == 1:
            return [self._consumption(self.pairs[0].store, self.ledger)]
        by_store: defaultdict[str, list[PairHistory]] = defaultdict(list)
        for pair in self.pairs:
            by_store[pair.store.id].append(pair)
        return [self._consumption(of[0].store, Ledger(of)) for of in by_store.values()]

    def _consumption(self, store: Store, ledger: Ledger) -> "Consumption":
        """Return what one store consumed, by its own look-back and its own days out of stock."""
        start, snapshot = look_back_start(self.window, store, self.rules), self.window.snapshot
        consumed = _issued(ledger.moved(start, snapshot)) if ledger.movements else 0
        months, days_out = store.look_back, 0
        preferences = self.rules.consumption
        if consumed and preferences.adjust_for_days_out_of_stock:
            midnights = self.window.calendar.midnights(start, snapshot)
            out = ledger.days_out_of_stock(midnights, snapshot)
            if out and ledger.is_in_stock(midnights):
                # What was not there could not be consumed: only the part of the months in stock counts.
                days = months * preferences.days_in_month
                months, days_out = months * ((days - out) / days), out
        return Consumption(store, ledger, start, consumed, months, days_out)

    @property
    def months_of_stock(self) -> Fraction | None:
        """How many months the stock lasts; ``None`` where nothing is consumed."""
        consumed, months = self.average_monthly_consumption.as_integer_ratio()
        return Fraction(self.stock_on_hand * MICRO * months, consumed) if consumed > 0 else None

    @cached_property
    def expired_and_expiring(self) -> Sequence[int]:
        """Stock on lines that have expired, and on those that will have within the days of the rules."""
        first = self.window.snapshot_date
        last_days = (first, add_days(first, self.rules.expiring_within_days))
        # The last is for what expires later.
        units = [0, 0, 0]
        for _, line, held in stock_of_lines(self.pairs, self.window.snapshot, self.warnings):
            if held and line[2] is not None:
                units[bisect_left(last_days, line[2])] += held
        return units


_METRICS: Mapping[Metric, Callable[[Group], Quantity | None]] = {
    Metric.STOCK_ON_HAND: attrgetter("stock_on_hand"),
    Metric.MONTHS_OF_STOCK: attrgetter("months_of_stock"),
    Metric.ADJUSTMENTS: attrgetter("adjustments"),
    Metric.RECEIVED: lambda group: group.moved[MovementKind.INBOUND_SHIPMENT],
    Metric.ISSUED: lambda group: _issued(group.moved),
    Metric.EXPIRING: lambda group: group.expired_and_expiring[1],
    Metric.EXPIRED: lambda group: group.expired_and_expiring[0],
    Metric.AVERAGE_MONTHLY_CONSUMPTION: attrgetter("average_monthly_consumption"),
    Metric.DAYS_OUT_OF_STOCK: attrgetter("days_out_of_stock"),
    Metric.OPENING_STOCK: lambda group: group.ledger.stock_at(group.window.month_start),
    Metric.CLOSING_STOCK: attrgetter("stock_on_hand"),
    Metric.STOCKED_OUT: lambda group: MICRO if group.stock_on_hand <= 0 else 0,
}
_STOCK_METRICS = frozenset(
    {Metric.STOCK_ON_HAND, Metric.EXPIRING, Metric.EXPIRED, Metric.OPENING_STOCK, Metric.CLOSING_STOCK}
)


class Consumption(NamedTuple):
    """What a store issued from the midnight ``start`` to the snapshot, in millionths, and the months that it is divided by.

    ``months`` are those of the look-back, without the part of them that ``days_out`` days out of stock are.
    """

    store: Store
    ledger: Ledger
    start: datetime
    consumed: int
    months: Fraction
    days_out: int

    @property
    def average(self) -> Quantity:
        """The average monthly consumption, exact."""
        return self.consumed and Fraction(self.consumed * self.months.denominator, self.months.numerator)


def _issued(moved: Mapping[MovementKind, int]) -> int:
    """Return what was issued, net: the mirror row of a cancelled prescription takes it back."""
    return -(moved[MovementKind.OUTBOUND_SHIPMENT] + moved[MovementKind.PRESCRIPTION])

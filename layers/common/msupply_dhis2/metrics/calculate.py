"""The twelve metrics of one group: one org unit and one item reference.

Quantities add up over the pairs of the group; ratios and days are worked out from the sums, never averaged.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from functools import cached_property
from types import MappingProxyType

from msupply_dhis2.metrics.ledger import Ledger, issued, stock_by_expiry_date
from msupply_dhis2.metrics.metric import Metric
from msupply_dhis2.metrics.quantity import Quantity
from msupply_dhis2.metrics.rules import Rules, look_back_months, look_back_start
from msupply_dhis2.metrics.warning import StockWarning
from msupply_dhis2.periods import Window, add_days
from msupply_dhis2.stock import MICRO, GroupHistory, MovementKind, PairHistory, Store


@dataclass(slots=True)
class GroupValues:
    """The values of one group: exact, in millionths. A metric without a value is absent.

    Attributes
    ----------
    values
        In the order in which the metrics were asked for.
    warnings
        How often something was noticed that makes a value doubtful.
    """

    values: dict[Metric, Quantity] = field(default_factory=dict)
    warnings: Counter[StockWarning] = field(default_factory=Counter)


def calculate(
    history: GroupHistory, window: Window, rules: Rules, metrics: Collection[Metric]
) -> GroupValues:
    """Work out metrics of a group; only those asked for are computed.

    Parameters
    ----------
    history
        With the movements from :func:`~msupply_dhis2.metrics.rules.floor` on, or from earlier.
    """
    result = GroupValues()
    if not history.pairs:
        return result
    group = _Group(history.pairs, window, rules, result.warnings)
    for metric in metrics:
        value = _VALUE[metric](group)
        if value is None:
            continue
        result.values[metric] = value
        if metric in _STOCK_METRICS and value < 0:
            result.warnings[StockWarning.NEGATIVE_STOCK] += 1
    return result


class _Group:
    """What the metrics of one group are made of, each part worked out once and only when it is needed."""

    def __init__(
        self, pairs: list[PairHistory], window: Window, rules: Rules, warnings: Counter[StockWarning]
    ) -> None:
        self._pairs = pairs
        self._window = window
        self._rules = rules
        self._ledger = Ledger(pairs)
        self._warnings = warnings

    @cached_property
    def stock_on_hand(self) -> int:
        return self._ledger.stock_at(self._window.snapshot)

    @cached_property
    def opening_stock(self) -> int:
        return self._ledger.stock_at(self._window.month_start)

    @cached_property
    def closing_stock(self) -> int:
        return self._ledger.stock_at(self._window.month_end)

    @cached_property
    def stocked_out(self) -> int:
        return MICRO if self.stock_on_hand <= 0 else 0

    @cached_property
    def _moved(self) -> dict[MovementKind, int]:
        return self._ledger.moved(self._window.flow_start, self._window.flow_end)

    @property
    def received(self) -> int:
        return self._moved[MovementKind.INBOUND_SHIPMENT]

    @property
    def issued(self) -> int:
        return issued(self._moved)

    @property
    def adjustments(self) -> int:
        adjustments = (
            self._moved[MovementKind.INVENTORY_ADDITION] + self._moved[MovementKind.INVENTORY_REDUCTION]
        )
        if self._rules.include_returns:
            adjustments += (
                self._moved[MovementKind.CUSTOMER_RETURN] + self._moved[MovementKind.SUPPLIER_RETURN]
            )
        return adjustments

    @property
    def days_out_of_stock(self) -> int | None:
        window = self._window
        days = self._ledger.days_out_of_stock(
            window.calendar.midnights(window.flow_start, window.flow_end), window.flow_end
        )
        return None if days is None else days * MICRO

    @cached_property
    def average_monthly_consumption(self) -> Fraction:
        pairs_by_store: defaultdict[str, list[PairHistory]] = defaultdict(list)
        for pair in self._pairs:
            pairs_by_store[pair.store.id].append(pair)
        if len(pairs_by_store) == 1:
            return self._store_consumption(self._pairs[0].store, self._ledger)
        return sum(
            (self._store_consumption(pairs[0].store, Ledger(pairs)) for pairs in pairs_by_store.values()),
            start=Fraction(0),
        )

    def _store_consumption(self, store: Store, ledger: Ledger) -> Fraction:
        """Average monthly consumption of one store, by its own look-back and its own days out of stock."""
        start, snapshot = look_back_start(self._window, store, self._rules), self._window.snapshot
        consumed = issued(ledger.moved(start, snapshot))
        if consumed == 0:
            return Fraction(0)
        months = look_back_months(store)
        preferences = self._rules.consumption
        if preferences.adjust_for_days_out_of_stock:
            days = months * preferences.days_in_month
            midnights = self._window.calendar.midnights(start, snapshot)
            days_in_stock = days - (ledger.days_out_of_stock(midnights, snapshot) or 0)
            if days_in_stock > 0:
                # What was not there could not be consumed: only the part of the months in stock counts.
                months *= days_in_stock / days
        return consumed / months

    @property
    def months_of_stock(self) -> Fraction | None:
        if self.average_monthly_consumption <= 0:
            return None
        return self.stock_on_hand * MICRO / self.average_monthly_consumption

    @cached_property
    def _stock_by_expiry_date(self) -> dict[date | None, int]:
        return stock_by_expiry_date(self._pairs, self._window.snapshot, self._warnings)

    @property
    def expiring(self) -> int:
        first = self._window.snapshot_date
        last = add_days(first, self._rules.expiring_within_days)
        return sum(
            units
            for expiry_date, units in self._stock_by_expiry_date.items()
            if expiry_date is not None and first < expiry_date <= last
        )

    @property
    def expired(self) -> int:
        return sum(
            units
            for expiry_date, units in self._stock_by_expiry_date.items()
            if expiry_date is not None and expiry_date <= self._window.snapshot_date
        )


_VALUE = MappingProxyType[Metric, Callable[[_Group], Quantity | None]](
    {
        Metric.STOCK_ON_HAND: lambda group: group.stock_on_hand,
        Metric.MONTHS_OF_STOCK: lambda group: group.months_of_stock,
        Metric.ADJUSTMENTS: lambda group: group.adjustments,
        Metric.RECEIVED: lambda group: group.received,
        Metric.ISSUED: lambda group: group.issued,
        Metric.EXPIRING: lambda group: group.expiring,
        Metric.EXPIRED: lambda group: group.expired,
        Metric.AVERAGE_MONTHLY_CONSUMPTION: lambda group: group.average_monthly_consumption,
        Metric.DAYS_OUT_OF_STOCK: lambda group: group.days_out_of_stock,
        Metric.OPENING_STOCK: lambda group: group.opening_stock,
        Metric.CLOSING_STOCK: lambda group: group.closing_stock,
        Metric.STOCKED_OUT: lambda group: group.stocked_out,
    }
)

_STOCK_METRICS = frozenset(
    {Metric.STOCK_ON_HAND, Metric.EXPIRING, Metric.EXPIRED, Metric.OPENING_STOCK, Metric.CLOSING_STOCK}
)

"""What can be chosen about how the metrics are worked out, and what follows from it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction

from msupply_dhis2.domain.stock import ConsumptionPreferences, Store
from msupply_dhis2.periods import Window, add_days

DEFAULT_LOOK_BACK_MONTHS = Fraction(3)
"""How far average monthly consumption looks back where the store has no preference of its own."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The choices behind the metrics.

    Attributes
    ----------
    expiring_within_days
        How many days after the snapshot date a batch may expire and still count as expiring.
    include_returns
        Whether adjustments include customer and supplier returns.
    consumption
        mSupply's own preferences for average monthly consumption.
    """

    expiring_within_days: int = 90
    include_returns: bool = False
    consumption: ConsumptionPreferences = field(default_factory=ConsumptionPreferences)


def look_back_months(store: Store) -> Fraction:
    """Return over how many months a store's average monthly consumption is taken."""
    return store.look_back_months or DEFAULT_LOOK_BACK_MONTHS


def look_back_start(window: Window, store: Store, rules: Rules) -> datetime:
    """Return the midnight at which a store's look-back begins: whole days, the last the snapshot date."""
    months, days_in_month = look_back_months(store), rules.consumption.days_in_month
    # In whole numbers, which for every group saves the making of a fraction.
    days = months.numerator * days_in_month.numerator // (months.denominator * days_in_month.denominator)
    return window.calendar.start_of_day(add_days(window.snapshot_date, 1 - days))


def floor(windows: Iterable[Window], stores: Iterable[Store], rules: Rules) -> datetime:
    """Return the earliest instant, a midnight, that any metric needs movements from.

    Parameters
    ----------
    windows
        Those of the run, at least one.
    stores
        Those of the run, each with its own look-back.

    Returns
    -------
    datetime
        Naive UTC. What moved before it matters only as a sum and as the first movement in.
    """
    # Many stores, few different look-backs.
    stores_by_look_back = {look_back_months(store): store for store in stores}
    return min(
        start
        for window in windows
        for start in (
            window.month_start,
            window.flow_start,
            *(look_back_start(window, store, rules) for store in stores_by_look_back.values()),
        )
    )

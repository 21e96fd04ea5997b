"""What each of the twelve metrics is in DHIS2: its title, its short word in codes, and how it adds up."""

from typing import NamedTuple

from msupply_dhis2.domain.metric import Metric


class MetricInDhis2(NamedTuple):
    """``aggregation``: a level of the month's end is not summed over time, what flowed is; tried on 2.40 to 2.43."""

    word: str
    title: str
    aggregation: str
    value_type: str
    rounded_type: str


_LEVEL, _FLOW = "LAST_IN_PERIOD", "SUM"
_ANY = ("NUMBER", "INTEGER")
_DAYS = ("INTEGER_ZERO_OR_POSITIVE", "INTEGER_ZERO_OR_POSITIVE")

METRICS: dict[Metric, MetricInDhis2] = {
    Metric.STOCK_ON_HAND: MetricInDhis2("SOH", "Stock on hand", _LEVEL, *_ANY),
    # Above the facility the indicator is right: this is the mean of the facilities' own.
    Metric.MONTHS_OF_STOCK: MetricInDhis2("MOS", "Months of stock", "LAST_IN_PERIOD_AVERAGE_ORG_UNIT", *_ANY),
    Metric.ADJUSTMENTS: MetricInDhis2("ADJ", "Adjustments", _FLOW, *_ANY),
    Metric.RECEIVED: MetricInDhis2("RECEIVED", "Received", _FLOW, *_ANY),
    Metric.ISSUED: MetricInDhis2("ISSUED", "Issued", _FLOW, *_ANY),
    Metric.EXPIRING: MetricInDhis2("EXPIRING", "Expiring within 90 days", _LEVEL, *_ANY),
    Metric.EXPIRED: MetricInDhis2("EXPIRED", "Expired", _LEVEL, *_ANY),
    Metric.AVERAGE_MONTHLY_CONSUMPTION: MetricInDhis2("AMC", "Average monthly consumption", _LEVEL, *_ANY),
    Metric.DAYS_OUT_OF_STOCK: MetricInDhis2("DOS", "Days out of stock", _FLOW, *_DAYS),
    # Right for a month; for a quarter there is an indicator.
    Metric.OPENING_STOCK: MetricInDhis2("OPENING", "Opening stock", _LEVEL, *_ANY),
    Metric.CLOSING_STOCK: MetricInDhis2("CLOSING", "Closing stock", _LEVEL, *_ANY),
    # A quarter is the share of facilities and months; averages have their zeros without the system setting.
    Metric.STOCKED_OUT: MetricInDhis2("OUT", "Stocked out", "AVERAGE", *_DAYS),
}


def title_of(metric: Metric, expiring_within_days: int) -> str:
    """Return a metric's title; that of expiring names the days of the settings."""
    if metric is Metric.EXPIRING:
        return f"Expiring within {expiring_within_days} days"
    return METRICS[metric].title

"""The codes and names of the twelve metrics."""

from enum import StrEnum


class Metric(StrEnum):
    """One of the twelve metrics, by its code in the settings."""

    STOCK_ON_HAND = "stock_on_hand"
    MONTHS_OF_STOCK = "months_of_stock"
    ADJUSTMENTS = "adjustments"
    RECEIVED = "received"
    ISSUED = "issued"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    AVERAGE_MONTHLY_CONSUMPTION = "average_monthly_consumption"
    DAYS_OUT_OF_STOCK = "days_out_of_stock"
    OPENING_STOCK = "opening_stock"
    CLOSING_STOCK = "closing_stock"
    STOCKED_OUT = "stocked_out"

    @property
    def label(self) -> str:
        """The metric's name as a person says it: ``stock on hand``."""
        return self.value.replace("_", " ")


FLOWS = frozenset({Metric.ADJUSTMENTS, Metric.RECEIVED, Metric.ISSUED, Metric.DAYS_OUT_OF_STOCK})
"""What happened in a period: a quarter has that of its three months."""

METRIC_WORDS = {
    "current stock on hand": Metric.STOCK_ON_HAND,
    "SOH": Metric.STOCK_ON_HAND,
    "current months of stock on hand": Metric.MONTHS_OF_STOCK,
    "the amount of stock in adjustments": Metric.ADJUSTMENTS,
    "the amount of stock received": Metric.RECEIVED,
    "the amount of stock issued": Metric.ISSUED,
    "the amount of stock expiring within 90 days": Metric.EXPIRING,
    "the amount of stock expired": Metric.EXPIRED,
    "AMC": Metric.AVERAGE_MONTHLY_CONSUMPTION,
    "stock at the beginning of the month": Metric.OPENING_STOCK,
    "stock at the end of the month": Metric.CLOSING_STOCK,
    "whether the item is currently stocked out": Metric.STOCKED_OUT,
}
"""The words of mSupply's DHIS2 tab, and of its page about it."""

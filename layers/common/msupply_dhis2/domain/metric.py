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

"""The twelve metrics."""

from msupply_dhis2.text import Choice


class Metric(Choice):
    """A metric by its code in the settings, and by the words of mSupply's DHIS2 tab and of its page about it."""

    STOCK_ON_HAND = "stock_on_hand", "current stock on hand", "SOH"
    MONTHS_OF_STOCK = "months_of_stock", "current months of stock on hand"
    ADJUSTMENTS = "adjustments", "the amount of stock in adjustments"
    RECEIVED = "received", "the amount of stock received"
    ISSUED = "issued", "the amount of stock issued"
    EXPIRING = "expiring", "the amount of stock expiring within 90 days"
    EXPIRED = "expired", "the amount of stock expired"
    AVERAGE_MONTHLY_CONSUMPTION = "average_monthly_consumption", "AMC"
    DAYS_OUT_OF_STOCK = "days_out_of_stock"
    OPENING_STOCK = "opening_stock", "stock at the beginning of the month"
    CLOSING_STOCK = "closing_stock", "stock at the end of the month"
    STOCKED_OUT = "stocked_out", "whether the item is currently stocked out"

    @property
    def label(self) -> str:
        """The metric's name as a person says it: ``stock on hand``."""
        return self.value.replace("_", " ")


FLOWS = frozenset({Metric.ADJUSTMENTS, Metric.RECEIVED, Metric.ISSUED, Metric.DAYS_OUT_OF_STOCK})
"""What happened in a period: a quarter has that of its three months."""

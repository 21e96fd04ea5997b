"""What the metrics noticed on the way and a run reports as counts."""

from enum import StrEnum


class StockWarning(StrEnum):
    """Something that makes a value doubtful, though it is sent as it is."""

    NEGATIVE_STOCK = "negative_stock"
    MOVEMENT_WITHOUT_STOCK_LINE = "movement_without_stock_line"
    MOVEMENT_OF_MISSING_STOCK_LINE = "movement_of_missing_stock_line"

    @property
    def meaning(self) -> str:
        """What was counted, in words that the count follows."""
        return _MEANINGS[self]


_MEANINGS = {
    StockWarning.NEGATIVE_STOCK: "Stock values below zero, sent as they are",
    StockWarning.MOVEMENT_WITHOUT_STOCK_LINE: "Movements after the snapshot that name no stock line, so that "
    "expiring and expired stock is an estimate",
    StockWarning.MOVEMENT_OF_MISSING_STOCK_LINE: "Movements after the snapshot that name a stock line which "
    "the store no longer has, so that expiring and expired stock is an estimate",
}

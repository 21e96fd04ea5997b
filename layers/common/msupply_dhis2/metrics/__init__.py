"""Stock ledger and the twelve metrics: pure functions, no input or output."""

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.metrics.calculate import GroupValues, Rules, calculate, floor
from msupply_dhis2.metrics.ledger import StockWarning
from msupply_dhis2.metrics.quantity import Quantity, format_value, to_units

__all__ = [
    "GroupValues",
    "Metric",
    "Quantity",
    "Rules",
    "StockWarning",
    "calculate",
    "floor",
    "format_value",
    "to_units",
]

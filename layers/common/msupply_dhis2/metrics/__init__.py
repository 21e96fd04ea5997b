"""Stock ledger and the twelve metrics: pure functions, no input or output."""

from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.metrics.calculate import GroupValues, calculate
from msupply_dhis2.metrics.data_warning import StockWarning
from msupply_dhis2.metrics.quantity import Quantity, format_value, to_units
from msupply_dhis2.metrics.rules import Rules, floor

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

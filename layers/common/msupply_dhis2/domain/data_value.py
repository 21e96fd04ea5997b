"""One value on its way to DHIS2, and what DHIS2 knows it by."""

from dataclasses import dataclass

from msupply_dhis2.domain.choices import Scheme
from msupply_dhis2.domain.metric import Metric

JOINED_BY = "; "
"""Between the names of several stores, or items, that are one number in DHIS2."""

type Identifier = tuple[str, str | None, str | None]
"""Data element, category option combo and attribute option combo: what an org unit has one value of a period for."""


@dataclass(frozen=True, slots=True)
class DataValue:
    """One value on its way to DHIS2, with the store, item and metric that it is about.

    ``store`` and ``item`` are names for messages, several joined with ``; ``; the first five fields and the
    scheme are what DHIS2 knows the value by.
    """

    data_element: str
    period: str
    org_unit: str
    category_option_combo: str | None
    attribute_option_combo: str | None
    option_combo_scheme: Scheme
    value: str
    store: str
    item: str
    metric: Metric

    @property
    def identifier(self) -> Identifier:
        """What the value is known by within its org unit and period."""
        return self.data_element, self.category_option_combo, self.attribute_option_combo

    @property
    def key(self) -> tuple[str, str, str, str | None, str | None]:
        """What DHIS2 stores one value for: sent twice, the second would replace the first."""
        return (
            self.data_element,
            self.period,
            self.org_unit,
            self.category_option_combo,
            self.attribute_option_combo,
        )

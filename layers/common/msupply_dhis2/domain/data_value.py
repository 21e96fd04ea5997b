"""One value on its way to DHIS2, and what DHIS2 knows it by."""

from dataclasses import dataclass
from typing import NamedTuple

from msupply_dhis2.domain.choices import Scheme
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import Kind

JOINED_BY = "; "
"""Between the names of several stores, or items, that are one number in DHIS2."""

type Identifier = tuple[str, str | None, str | None]
"""The part of a key that stays the same in each org unit and period: data element, category and attribute option combo."""


class DataValueKey(NamedTuple):
    """What DHIS2 stores one value for: sent twice, the second replaces the first.

    Before DHIS2's metadata are read its parts are codes or UIDs, as the settings say; afterwards, and where DHIS2 answers,
    they are UIDs, the default option combos among them.
    """

    data_element: str
    period: str
    org_unit: str
    category_option_combo: str | None = None
    attribute_option_combo: str | None = None

    @property
    def identifier(self) -> Identifier:
        """What the value is known by within its org unit and period."""
        return self.data_element, self.category_option_combo, self.attribute_option_combo


@dataclass(frozen=True, slots=True)
class DataValue:
    """One value on its way to DHIS2, with the store, item and metric that it is about.

    ``store`` and ``item`` are names for messages, several joined with ``; ``; the first five fields are its key. ``kind``
    says whether it is a store or a customer that is no store, which has reported it in ``document``.
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
    kind: Kind = Kind.STORE
    document: str = ""

    def by_name(self) -> dict[str, str | None]:
        """Return what people, and their programs, are told of it."""
        return {
            "store": self.store,
            "item": self.item,
            "metric": self.metric.value,
            "data_element": self.data_element,
            "org_unit": self.org_unit,
            "period": self.period,
            "category_option_combo": self.category_option_combo,
            "attribute_option_combo": self.attribute_option_combo,
            "value": self.value,
            "kind": self.kind.value,
            "document": self.document or None,
        }

    @property
    def key(self) -> DataValueKey:
        """What DHIS2 knows the value by."""
        combos = self.category_option_combo, self.attribute_option_combo
        return DataValueKey(self.data_element, self.period, self.org_unit, *combos)

    @property
    def identifier(self) -> Identifier:
        """What the value is known by within its org unit and period."""
        return self.data_element, self.category_option_combo, self.attribute_option_combo

    @property
    def names(self) -> str:
        """What the value is about, in words: item, store, metric."""
        return f"{self.item}, {self.store}, {self.metric.label}"

"""One value on its way to DHIS2, and what DHIS2 knows it by."""

from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from msupply_dhis2.domain.choices import Scheme
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.stock import Kind

JOINED_BY = "; "
"""Between the names of several stores, or items, that are one number in DHIS2."""

type Identifier = tuple[str, str | None, str | None]
"""The part of a key that stays the same in each org unit and period: data element, category and attribute option combo."""


def is_same(held: str, sent: str) -> bool:
    """Whether what DHIS2 holds is the number that is sent: 5.0 is 5."""
    try:
        return held == sent or Decimal(held) == Decimal(sent)
    except InvalidOperation:
        return False


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


class Column(NamedTuple):
    """What the values of one metric of one item have in common: by what DHIS2 knows it, for which period, and its names.

    ``item`` is a name for messages, several joined with ``; ``. The values of a column share the object.
    """

    identifier: Identifier
    period: str
    option_combo_scheme: Scheme
    metric: Metric
    item: str


class Origin(NamedTuple):
    """Where values come from: an org unit's store, or a customer that is no store, which has reported it in ``document``.

    ``store`` is the name of either for messages, several joined with ``; ``.
    """

    org_unit: str
    store: str
    kind: Kind = Kind.STORE
    document: str = ""


class DataValue(NamedTuple):
    """One value on its way to DHIS2, with the store, item and metric that it is about.

    A run has millions of them, so each holds no more than what only it has.
    """

    column: Column
    origin: Origin
    value: str

    @property
    def data_element(self) -> str:
        """The data element that it belongs to."""
        return self.column.identifier[0]

    @property
    def identifier(self) -> Identifier:
        """What the value is known by within its org unit and period."""
        return self.column.identifier

    @property
    def period(self) -> str:
        """The period that it is about."""
        return self.column.period

    @property
    def metric(self) -> Metric:
        """What it measures."""
        return self.column.metric

    @property
    def item(self) -> str:
        """The names of its items, for messages."""
        return self.column.item

    @property
    def org_unit(self) -> str:
        """The org unit that it belongs to."""
        return self.origin.org_unit

    @property
    def store(self) -> str:
        """The names of its stores, or customers, for messages."""
        return self.origin.store

    @property
    def key(self) -> DataValueKey:
        """What DHIS2 knows the value by."""
        data_element, category, attribute = self.column.identifier
        return DataValueKey(data_element, self.column.period, self.origin.org_unit, category, attribute)

    @property
    def names(self) -> str:
        """What the value is about, in words: item, store, metric."""
        return f"{self.item}, {self.store}, {self.metric.label}"

    def by_name(self) -> dict[str, str | None]:
        """Return what people, and their programs, are told of it."""
        return {
            "store": self.store,
            "item": self.item,
            "metric": self.metric.value,
            **self.key._asdict(),
            "value": self.value,
            "kind": self.origin.kind.value,
            "document": self.origin.document or None,
        }

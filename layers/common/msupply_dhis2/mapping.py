"""From a group and a metric to a DHIS2 data value, for the three setups of mSupply's DHIS2 tab.

========================================  =========================  =================================
setup                                     data element               option combo
========================================  =========================  =================================
using category option combo               prefix + item reference    the row's category option ID
different data elements per item          prefix + the row's field   none
single data element                       prefix + item reference    none
========================================  =========================  =================================
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from msupply_dhis2.metrics.calculate import GroupValues
from msupply_dhis2.metrics.metric import Metric
from msupply_dhis2.metrics.quantity import format_value
from msupply_dhis2.periods import Basis, Window
from msupply_dhis2.settings import DataElementRow, OptionComboField, Scheme, Settings, Setup
from msupply_dhis2.stock import GroupHistory, Item, ItemGroup, OrgUnit, Store

_UID = re.compile(r"[A-Za-z][A-Za-z0-9]{10}")
JOINED_BY = "; "


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
    def key(self) -> tuple[str, str, str, str | None, str | None]:
        """What DHIS2 stores one value for: sent twice, the second would replace the first."""
        return (
            self.data_element,
            self.period,
            self.org_unit,
            self.category_option_combo,
            self.attribute_option_combo,
        )


@dataclass(frozen=True, slots=True)
class Unmapped:
    """A store or an item that cannot be sent, and what to do about it."""

    subject: str
    reason: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two items that claim one data element in an org unit without being the same item."""

    data_element: str
    items: tuple[str, ...]

    def sentence(self, org_units: int) -> str:
        """Say which items collide, in how many org units, and what to do."""
        return (
            f"{' and '.join(self.items)} claim the same data element '{self.data_element}' "
            f"(in {org_units} org unit{'' if org_units == 1 else 's'}): neither was sent. "
            "Give each item a data element of its own in mSupply, or correct the prefixes in "
            "'Data elements to push'."
        )


def group_stores(
    stores: Iterable[Store], settings: Settings
) -> tuple[tuple[OrgUnit, ...], tuple[Unmapped, ...]]:
    """Gather the stores by org unit, in the order of the org units' codes.

    Stores whose field cannot be an identifier of the org unit scheme come back as unmapped.
    """
    by_org_unit: dict[str, list[Store]] = defaultdict(list)
    unmapped = []
    for store in stores:
        if settings.org_unit_scheme is Scheme.UID and not _UID.fullmatch(store.org_unit):
            reason = (
                f"'{store.org_unit}' in its field {settings.store_field_reference} is no DHIS2 UID (a letter "
                "and 10 letters or digits). Correct it in mSupply, or set Org unit scheme to 'code'."
            )
            unmapped.append(Unmapped(store.name, reason))
        else:
            by_org_unit[store.org_unit].append(store)
    org_units = tuple(
        OrgUnit(code, tuple(sorted(by_org_unit[code], key=lambda store: (store.name, store.id))))
        for code in sorted(by_org_unit)
    )
    return org_units, tuple(unmapped)


def group_items(
    items: Iterable[Item], rows: Sequence[DataElementRow], settings: Settings
) -> tuple[tuple[ItemGroup, ...], tuple[Unmapped, ...]]:
    """Gather the items by item reference; with different data elements per item each is a group of its own.

    Items without a reference are not about to be sent and are left out silently, except with different data
    elements per item, where an item that has some of the rows' fields but not all is named once.
    """
    if settings.setup is Setup.DATA_ELEMENT_PER_ITEM:
        return _items_by_themselves(items, rows, settings)
    field = settings.item_field_reference
    by_reference: dict[str, list[Item]] = defaultdict(list)
    unmapped = []
    for item in items:
        reference = item.fields.get(field or "")
        if reference is None:
            continue
        if settings.data_element_id_scheme is Scheme.UID and not _UID.fullmatch(reference):
            unmapped.append(Unmapped(item.name, _no_uid(reference, str(field))))
        else:
            by_reference[reference].append(item)
    groups = tuple(
        ItemGroup(reference, tuple(sorted(by_reference[reference], key=lambda item: (item.name, item.id))))
        for reference in sorted(by_reference)
    )
    return groups, tuple(unmapped)


def _items_by_themselves(
    items: Iterable[Item], rows: Sequence[DataElementRow], settings: Settings
) -> tuple[tuple[ItemGroup, ...], tuple[Unmapped, ...]]:
    groups = []
    unmapped = []
    fields = {str(row.custom_field_name): row.metric for row in rows}
    for item in sorted(items, key=lambda item: (item.name, item.id)):
        present = {name: item.fields[name] for name in fields if name in item.fields}
        missing = [f"{name} ({metric.label})" for name, metric in fields.items() if name not in present]
        if missing and present:
            unmapped.append(
                Unmapped(
                    item.name, f"No value in {', '.join(missing)}: fill it in mSupply to send that metric."
                )
            )
        if settings.data_element_id_scheme is Scheme.UID:
            for name, value in present.items():
                if not _UID.fullmatch(value):
                    unmapped.append(Unmapped(item.name, _no_uid(value, name)))
        if present:
            groups.append(ItemGroup(None, (item,)))
    return tuple(groups), tuple(unmapped)


def _no_uid(value: str, field: str) -> str:
    return (
        f"'{value}' in {field} is no DHIS2 UID (a letter and 10 letters or digits). "
        "Correct it in mSupply, or set Data element ID scheme to 'code'."
    )


@dataclass(frozen=True, slots=True)
class Mapper:
    """Turns a group's metrics into data values, by the settings."""

    settings: Settings
    rows: tuple[tuple[DataElementRow, Basis], ...]
    windows: Mapping[Basis, Window]

    def data_values(self, history: GroupHistory, values: Mapping[Basis, GroupValues]) -> Iterator[DataValue]:
        """Give the data values of one group, a row of the settings after the other.

        Parameters
        ----------
        history
            What the values are about.
        values
            The group's metrics, for each basis that a row asks for.
        """
        store = JOINED_BY.join(dict.fromkeys(pair.store.name for pair in history.pairs))
        item = JOINED_BY.join(dict.fromkeys(pair.item.name for pair in history.pairs))
        for row, basis in self.rows:
            quantity = values[basis].values.get(row.metric)
            data_element = self._data_element(row, history.item_group)
            if quantity is None or data_element is None:
                continue
            category, attribute = self._option_combos(row)
            yield DataValue(
                data_element=data_element,
                period=self.windows[basis].period,
                org_unit=history.org_unit.code,
                category_option_combo=category,
                attribute_option_combo=attribute,
                option_combo_scheme=row.category_option_combo_id_scheme,
                value=format_value(quantity, round_off=self.settings.round_off),
                store=store,
                item=item,
                metric=row.metric,
            )

    def _data_element(self, row: DataElementRow, group: ItemGroup) -> str | None:
        if self.settings.setup is not Setup.DATA_ELEMENT_PER_ITEM:
            return f"{row.prefix}{group.reference}"
        identifier = group.items[0].fields.get(str(row.custom_field_name))
        if identifier is None:
            return None
        if self.settings.data_element_id_scheme is Scheme.UID and not _UID.fullmatch(identifier):
            return None
        return f"{row.prefix}{identifier}"

    def _option_combos(self, row: DataElementRow) -> tuple[str | None, str | None]:
        if self.settings.setup is not Setup.CATEGORY_OPTION_COMBO:
            return None, None
        if self.settings.option_combo_field is OptionComboField.CATEGORY:
            return row.category_option_id, None
        # "auto" means what the tab describes until the server's metadata are read: an attribute option combo.
        return None, row.category_option_id


def without_conflicts(values: Iterable[DataValue]) -> tuple[list[DataValue], list[Conflict]]:
    """Take out the values that share a key, all of them: which one is right cannot be known.

    Parameters
    ----------
    values
        All values of one org unit.
    """
    by_key: dict[tuple[str, str, str, str | None, str | None], list[DataValue]] = defaultdict(list)
    for value in values:
        by_key[value.key].append(value)
    kept = []
    conflicts: dict[Conflict, None] = {}
    for same_key in by_key.values():
        if len(same_key) == 1:
            kept.append(same_key[0])
        else:
            items = tuple(sorted({_described(value) for value in same_key}))
            conflicts[Conflict(same_key[0].data_element, items)] = None
    return kept, list(conflicts)


def _described(value: DataValue) -> str:
    return f"{value.item} ({value.metric.label})"

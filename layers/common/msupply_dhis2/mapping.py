"""From a group and a metric to a DHIS2 data value, for the three setups of mSupply's DHIS2 tab.

========================================  =========================  =================================
setup                                     data element               option combo
========================================  =========================  =================================
Using category option combo               prefix + item reference    the row's category option ID
different data elements per item          prefix + the row's field   none
single data element                       prefix + item reference    none
========================================  =========================  =================================
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import product
from typing import NamedTuple, Self

from msupply_dhis2.domain.data_value import JOINED_BY, Column, DataValue, Identifier, Origin
from msupply_dhis2.domain.metric import Metric
from msupply_dhis2.domain.report import GroupReports
from msupply_dhis2.domain.stock import GroupHistory, Item, ItemGroup, Kind, OrgUnit, Skipped, Store
from msupply_dhis2.metrics.calculate import GroupValues
from msupply_dhis2.metrics.quantity import format_value
from msupply_dhis2.periods import Basis, Calendar, Window, window
from msupply_dhis2.settings import DataElementRow, OptionComboField, Scheme, Settings, Setup
from msupply_dhis2.text import count, joined


class Claimant(NamedTuple):
    """An item group that would send a metric by an identifier, and a name for both."""

    group: ItemGroup
    name: str


@dataclass(frozen=True, slots=True)
class Collision:
    """What would be sent by one identifier in an org unit, of which at most one could be right."""

    identifier: Identifier
    claimants: tuple[str, ...]

    def sentence(self, org_units: int) -> str:
        """Return what collides, in how many org units, and what to do."""
        return (
            f"{joined(self.claimants)} claim the same data element '{self.identifier[0]}' "
            f"(in {count(org_units, 'org unit')}): neither was sent. Give each item a data element of its own in mSupply, "
            "or correct the prefixes in 'Data elements to push'."
        )


def group_stores(
    stores: Iterable[Store], settings: Settings, field: str | None = None
) -> tuple[tuple[OrgUnit, ...], tuple[Skipped, ...]]:
    """Gather stores, or customers, by org unit, in the order of the org units' codes; some have what is no identifier.

    ``field`` is where they keep it, if not in the store field.
    """
    place = f"its field {field or settings.store_field_reference}"
    by_code, skipped = _by_identifier(
        [(store, store.org_unit) for store in stores], settings.org_unit_scheme, place, "Org unit scheme"
    )
    return tuple(OrgUnit(code, tuple(of_it)) for code, of_it in by_code), skipped


def group_items(
    items: Iterable[Item], rows: Sequence[DataElementRow], settings: Settings
) -> tuple[tuple[ItemGroup, ...], tuple[Skipped, ...]]:
    """Gather the items by item reference; with different data elements per item each is a group of its own.

    Items without a reference are left out without a word; with different data elements per item, one that has some of the
    rows' fields but not all is named.
    """
    if settings.setup is Setup.DATA_ELEMENT_PER_ITEM:
        return _items_by_themselves(items, rows, settings)
    field = str(settings.item_field_reference)
    references = [(item, item.fields[field]) for item in items if field in item.fields]
    by_reference, skipped = _by_identifier(
        references, settings.data_element_id_scheme, field, _DATA_ELEMENT_SCHEME
    )
    return tuple(ItemGroup(reference, tuple(of_it)) for reference, of_it in by_reference), skipped


_DATA_ELEMENT_SCHEME = "Data element ID scheme"


def _by_identifier[Thing: (Store, Item)](
    things: Iterable[tuple[Thing, str]], scheme: Scheme, field: str, scheme_title: str
) -> tuple[list[tuple[str, list[Thing]]], tuple[Skipped, ...]]:
    by_identifier: dict[str, list[Thing]] = defaultdict(list)
    skipped = []
    for thing, identifier in sorted(things, key=lambda pair: (pair[0].name, pair[0].id)):
        if scheme.takes(identifier):
            by_identifier[identifier].append(thing)
        else:
            skipped.append(_skipped(thing, _no_uid(identifier, field, scheme_title)))
    return sorted(by_identifier.items()), tuple(skipped)


def _items_by_themselves(
    items: Iterable[Item], rows: Sequence[DataElementRow], settings: Settings
) -> tuple[tuple[ItemGroup, ...], tuple[Skipped, ...]]:
    groups, skipped = [], []
    metrics: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        metrics[str(row.custom_field_name)].append(row.metric.label)
    for item in sorted(items, key=lambda item: (item.name, item.id)):
        present = [name for name in metrics if name in item.fields]
        wrong = [name for name in present if not settings.data_element_id_scheme.takes(item.fields[name])]
        missing = [f"{name} ({', '.join(labels)})" for name, labels in metrics.items() if name not in present]
        if missing and present:
            said = f"No value in {', '.join(missing)}. Fill it in in mSupply to send the metrics in brackets."
            skipped.append(_skipped(item, said))
        skipped += [_skipped(item, _no_uid(item.fields[name], name, _DATA_ELEMENT_SCHEME)) for name in wrong]
        if len(wrong) < len(present):
            groups.append(ItemGroup(None, (item,)))
    return tuple(groups), tuple(skipped)


def _skipped(thing: Store | Item, reason: str) -> Skipped:
    return Skipped(thing.kind if isinstance(thing, Store) else Kind.ITEM, thing.code, thing.name, reason)


def _no_uid(value: str, field: str, scheme: str) -> str:
    return (
        f"'{value}' in {field} is not a DHIS2 UID (a letter and 10 letters or digits). Correct it in mSupply, or set "
        f"{scheme} to 'code'."
    )


type Rows = Sequence[tuple[DataElementRow, Basis]]
"""Rows of the settings, each with the basis that holds for it."""

type _BasisColumn = tuple[Basis, Metric, Column]


@dataclass(frozen=True, slots=True)
class Mapper:
    """Turns a group's metrics into data values, by the settings."""

    settings: Settings
    rows: Rows
    windows: Mapping[Basis, Window]
    _columns: dict[tuple[int, str], list[_BasisColumn]] = field(default_factory=dict, init=False, repr=False)
    """By the item group, an object of the run's plan, and the names of its items."""

    @classmethod
    def at(cls, as_of: datetime, calendar: Calendar, settings: Settings, rows: Rows) -> Self:
        """Return what maps these rows at an instant."""
        bases = dict.fromkeys(basis for _, basis in rows)
        windows = {basis: window(basis, as_of, calendar, settings.period) for basis in bases}
        return cls(settings, rows, windows)

    def data_values(
        self, history: GroupHistory | GroupReports, values: Mapping[Basis, GroupValues]
    ) -> list[DataValue]:
        """Return the data values of one group from its metrics on each basis, a row of the settings after the other."""
        org_unit, round_off = history.org_unit, self.settings.round_off
        store = _named([pair.store for pair in history.pairs])
        item = _named([pair.item for pair in history.pairs])
        origin = Origin(org_unit.code, store, org_unit.kind)
        made = []
        for basis, metric, column in self._columns_of(history.item_group, item):
            of_basis = values[basis]
            quantity = of_basis.values.get(metric)
            if quantity is not None:
                document = of_basis.documents and of_basis.documents.get(metric)
                of_value = origin._replace(document=document) if document else origin
                made.append(DataValue(column, of_value, format_value(quantity, round_off=round_off)))
        return made

    def _columns_of(self, group: ItemGroup, item: str) -> list[_BasisColumn]:
        """Return the columns of a group whose items have these names, each with its basis; the same objects each time."""
        columns = self._columns.get((id(group), item))
        if columns is None:
            columns = self._columns[id(group), item] = []
            for row, basis in self.rows:
                if (identifier := identifier_of(self.settings, row, group)) is not None:
                    period, scheme = self.windows[basis].period, row.category_option_combo_id_scheme
                    columns.append((basis, row.metric, Column(identifier, period, scheme, row.metric, item)))
        return columns

    def identifiers(self, group: ItemGroup) -> set[Identifier]:
        """Return what the values of a group would be known by, if it had all of them."""
        identifiers = (identifier_of(self.settings, row, group) for row, _ in self.rows)
        return set(filter(None, identifiers))


def _named(subjects: Sequence[Store] | Sequence[Item]) -> str:
    """Name what a value is about, each once."""
    # Nearly always, and for every group of a run.
    if len(subjects) == 1:
        return subjects[0].name
    return JOINED_BY.join(dict.fromkeys([subject.name for subject in subjects]))


def collisions(groups: Iterable[ItemGroup], settings: Settings) -> dict[Identifier, tuple[Claimant, ...]]:
    """Find the identifiers that more than one item group, or more than one metric of an item, would send in any run."""
    claimants: dict[Identifier, list[Claimant]] = defaultdict(list)
    for group, row in product(groups, settings.active_rows):
        if (identifier := identifier_of(settings, row, group)) is not None:
            claimants[identifier].append(Claimant(group, f"{_named(group.items)} ({row.metric.label})"))
    return {identifier: tuple(several) for identifier, several in claimants.items() if len(several) > 1}


def without_collisions(
    values: list[DataValue],
    groups: Iterable[ItemGroup],
    colliding: Mapping[Identifier, tuple[Claimant, ...]],
) -> tuple[list[DataValue], list[Collision]]:
    """Take out the values of one org unit that another of its item groups claims too: nobody knows which is right."""
    present = set(map(id, groups))
    found = [
        Collision(identifier, tuple(sorted(here)))
        for identifier, claimants in colliding.items()
        if len(here := [each.name for each in claimants if id(each.group) in present]) > 1
    ]
    if not found:
        return values, []
    refused = {collision.identifier for collision in found}
    return [value for value in values if value.identifier not in refused], found


def identifier_of(settings: Settings, row: DataElementRow, group: ItemGroup) -> Identifier | None:
    """Return what a metric of a group is sent by; ``None`` where the item has no identifier for it."""
    data_element = group.reference
    if settings.setup is Setup.DATA_ELEMENT_PER_ITEM:
        data_element = group.items[0].fields.get(str(row.custom_field_name))
        if data_element is not None and not settings.data_element_id_scheme.takes(data_element):
            return None
    if data_element is None:
        return None
    category = attribute = None
    if settings.setup is Setup.CATEGORY_OPTION_COMBO:
        if settings.option_combo_field is OptionComboField.CATEGORY:
            category = row.category_option_id
        else:
            # "auto" means what the tab describes until the server's metadata are read.
            attribute = row.category_option_id
    return f"{row.prefix}{data_element}", category, attribute

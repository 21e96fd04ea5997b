"""What is mapped in mSupply's database, for the connection test and for an export."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC
from itertools import accumulate

from msupply_dhis2.compute.job import OpenDatabase
from msupply_dhis2.compute.plan import Mapped, read_mapped
from msupply_dhis2.compute.result import ComputeResult, Status
from msupply_dhis2.domain.mapped import CustomerReports, MappedItem, MappedNames, MappedStore
from msupply_dhis2.domain.report import DatePeriod
from msupply_dhis2.domain.stock import ItemGroup, Kind, OrgUnit
from msupply_dhis2.mapping import Mapper, identifier_of
from msupply_dhis2.periods import add_days
from msupply_dhis2.settings import Settings
from msupply_dhis2.source.base import Source
from msupply_dhis2.source.connection import Verification
from msupply_dhis2.source.customers import customers_of
from msupply_dhis2.text import count, joined

BYTES_OF_A_LIST = 2_500_000
"""Bytes of JSON that the list of stores, or of items, may have: 10,000 stores with long names have 2 MB."""

SENTENCES = 500
"""How many of the stores and items that are left out are named."""

_SILENT_PERIODS = 3


def check_database(
    open_database: OpenDatabase, settings: Settings | None, verification: Verification
) -> ComputeResult:
    """Open mSupply's database, see which stores and items are mapped, and tell how its server is verified.

    Where the settings cannot be read (``None``), only that the database answers is seen.
    """
    with open_database() as source:
        if settings is None or not settings.item_fields:
            to_do = "Complete the settings to see which stores and items are mapped."
            said = ("mSupply's database answers.", verification, to_do)
            return ComputeResult(status=Status.DATABASE_REACHED, message=" ".join(filter(None, said)))
        mapped = read_mapped(source, settings, settings.active_rows)
        reports = None if settings.customer_field is None else _reports_of(source, settings, mapped)
    names = names_of(mapped.org_units, mapped.item_groups, settings, (*mapped.skipped, *mapped.blank))
    facts = {
        "notes": (*mapped.notes(settings, named=False), *mapped.catalogue.warnings),
        "skipped_stores": mapped.skipped_stores,
        "customers": reports,
    }
    return ComputeResult(
        status=Status.DATABASE_REACHED,
        message=f"mSupply's database answers. It has identifiers for {_counted(mapped)}. {verification}".rstrip(),
        mapped=names.model_copy(update=facts),
    )


def _counted(mapped: Mapped) -> str:
    kinds = Counter(store.kind for org_unit in mapped.org_units for store in org_unit.stores)
    items = sum(len(group.items) for group in mapped.item_groups)
    counted = [count(number, kind) for kind, number in sorted(kinds.items(), reverse=True)]
    return joined([*counted, count(items, "item")])


def _reports_of(source: Source, settings: Settings, mapped: Mapped) -> CustomerReports:
    """Return how many customers report in the periods of a run now, and which have not for three."""
    rows = [(row, row.basis) for row in settings.active_rows]
    windows = Mapper.at(source.began.replace(tzinfo=UTC), source.calendar, settings, rows).windows.values()
    since, last = DatePeriod.of(windows)
    for _ in range(_SILENT_PERIODS - 1):
        before = add_days(since, -1)
        is_short = settings.period.shorter_than_month
        since = before.replace(day=1) if is_short else settings.period.first_day(before)
    of_customers = [org_unit for org_unit in mapped.org_units if org_unit.kind is Kind.CUSTOMER]
    customers = [store for org_unit in of_customers for store in org_unit.stores]
    heard = set(customers_of(source).days(customers, DatePeriod(since, last)))
    reporting = {}
    for window in windows:
        first, end = DatePeriod.of([window])
        reporting[window.period] = len({customer for customer, day in heard if first <= day <= end})
    silent = {each.id for each in customers} - {customer for customer, _ in heard}
    blank = mapped.catalogue.blank(Kind.CUSTOMER)
    details = [f"{each.name} ({each.code}) has not reported." for each in customers if each.id in silent]
    details += [f"{each.named}: {each.reason}." for each in blank]
    return CustomerReports(
        mapped=len(customers),
        blank=len(blank),
        reporting=reporting,
        silent=len(silent),
        since=since,
        details=tuple(details[:SENTENCES]),
    )


def export_mapping(
    open_database: OpenDatabase, settings: Settings, write: Callable[[Mapping[str, object]], None]
) -> ComputeResult:
    """Write a line for each store and item that is sent, and for each that is mapped and cannot be sent."""
    settings.require_complete()
    rows = settings.active_rows
    with open_database() as source:
        mapped = read_mapped(source, settings, rows)
    for org_unit in mapped.org_units:
        for store in _stores_of([org_unit]):
            write({"kind": org_unit.kind, **store._asdict()})
    items = _items_of(mapped.item_groups, settings)
    for item in items:
        by_metric = {row.metric.value: each for row, each in zip(rows, item.data_elements, strict=True)}
        write({"kind": "item", "name": item.name, "code": item.code, "data_elements": by_metric})
    for sentence in (*mapped.skipped, *mapped.blank):
        write({"kind": "skipped", "why": sentence})
    return ComputeResult(
        status=Status.EXPORTED,
        message=f"Export: {_counted(mapped)} are mapped. Nothing was sent.",
        stores=len(_stores_of(mapped.org_units)),
        items=len(items),
        skipped=mapped.skipped,
    )


def _stores_of(org_units: Iterable[OrgUnit]) -> list[MappedStore]:
    stores = [(store, org_unit.code) for org_unit in org_units for store in org_unit.stores]
    return [MappedStore(store.name, store.code, code) for store, code in stores]


def _items_of(item_groups: Iterable[ItemGroup], settings: Settings) -> list[MappedItem]:
    items = []
    for group in item_groups:
        identifiers = [identifier_of(settings, row, group) for row in settings.active_rows]
        data_elements = tuple(identifier and identifier[0] for identifier in identifiers)
        items += [MappedItem(item.name, item.code, data_elements) for item in group.items]
    return items


def names_of(
    org_units: Iterable[OrgUnit], item_groups: Iterable[ItemGroup], settings: Settings, skipped: Sequence[str]
) -> MappedNames:
    """Return stores, items and what is skipped, as far as the lists fit into an answer."""
    stores, items = _stores_of(org_units), _items_of(item_groups, settings)
    listed_stores, listed_items = stores[: _count_listed(stores)], items[: _count_listed(items)]
    return MappedNames(
        stores=tuple(listed_stores),
        items=tuple(listed_items),
        more_stores=len(stores) - len(listed_stores),
        more_items=len(items) - len(listed_items),
        skipped=tuple(skipped[:SENTENCES]),
        more_skipped=len(skipped[SENTENCES:]),
    )


def _count_listed(entries: Sequence[MappedStore] | Sequence[MappedItem]) -> int:
    """Count how many of the entries fit into a list, each character taken for as long as JSON may write it."""
    sizes = accumulate(len(json.dumps(entry)) + 1 for entry in entries)
    return sum(size <= BYTES_OF_A_LIST for size in sizes)

"""What is mapped in mSupply's database, for the connection test and for an export."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC

from msupply_dhis2.compute.job import OpenDatabase
from msupply_dhis2.compute.plan import Mapped, read_mapped
from msupply_dhis2.compute.result import ComputeResult, Status
from msupply_dhis2.domain.mapped import CustomerReports, MappedItem, MappedNames, MappedStore
from msupply_dhis2.domain.report import DatePeriod
from msupply_dhis2.domain.stock import ItemGroup, Kind, OrgUnit
from msupply_dhis2.mapping import Mapper, identifier_of
from msupply_dhis2.periods import add_days
from msupply_dhis2.settings import Settings
from msupply_dhis2.source import Source, Verification
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
            return ComputeResult(
                status=Status.DATABASE_REACHED,
                message=f"mSupply's database answers. {verification}{' ' if verification else ''}Complete the settings to see which stores and items are mapped.",
            )
        mapped = read_mapped(source, settings, settings.active_rows)
        reports = None if settings.customer_field is None else _reports_of(source, settings, mapped)
    stores, items = stores_of(mapped.org_units), items_of(mapped.item_groups, settings)
    notes = (*mapped.notes(settings, named=False), *mapped.catalogue.warnings)
    return ComputeResult(
        status=Status.DATABASE_REACHED,
        message=f"mSupply's database answers. It has identifiers for {_counted(mapped, len(items))}. {verification}".rstrip(),
        stores=len(stores),
        items=len(items),
        mapped=names_of(
            stores, items, (*mapped.skipped, *mapped.blank), mapped.skipped_stores, notes
        ).model_copy(update={"customers": reports}),
    )


def _counted(mapped: Mapped, items: int) -> str:
    kinds = Counter(store.kind for org_unit in mapped.org_units for store in org_unit.stores)
    return joined(
        [*(count(number, kind) for kind, number in sorted(kinds.items(), reverse=True)), count(items, "item")]
    )


def _reports_of(source: Source, settings: Settings, mapped: Mapped) -> CustomerReports:
    """Return how many customers report in the periods of a run now, and which have not for three."""
    rows = [(row, row.basis) for row in settings.active_rows]
    windows = Mapper.at(source.began.replace(tzinfo=UTC), source.calendar, settings, rows).windows
    since, last = DatePeriod.of(windows.values())
    for _ in range(_SILENT_PERIODS - 1):
        before = add_days(since, -1)
        is_short = settings.period.shorter_than_month
        since = before.replace(day=1) if is_short else settings.period.first_day(before)
    of_customers = [org_unit for org_unit in mapped.org_units if org_unit.kind is Kind.CUSTOMER]
    customers = [store for org_unit in of_customers for store in org_unit.stores]
    heard = set(customers_of(source).days(customers, DatePeriod(since, last)))
    reporting = {}
    for window in windows.values():
        first, end = DatePeriod.of([window])
        reporting[window.period] = len({customer for customer, day in heard if first <= day <= end})
    all_heard = {customer for customer, _ in heard}
    silent = [
        f"{each.name} ({each.code}) has not reported." for each in customers if each.id not in all_heard
    ]
    blank = mapped.catalogue.blank(Kind.CUSTOMER)
    details = (*silent, *(f"{each.named}: {each.reason}." for each in blank))
    return CustomerReports(
        mapped=len(customers),
        blank=len(blank),
        reporting=reporting,
        silent=len(silent),
        since=since,
        details=details[:SENTENCES],
    )


def export_mapping(
    open_database: OpenDatabase, settings: Settings, write: Callable[[Mapping[str, object]], None]
) -> ComputeResult:
    """Write a line for each store and item that is sent, and for each that is mapped and cannot be sent."""
    settings.require_complete()
    rows = settings.active_rows
    with open_database() as source:
        mapped = read_mapped(source, settings, rows)
    stores, items = stores_of(mapped.org_units), items_of(mapped.item_groups, settings)
    kinds = [store.kind for org_unit in mapped.org_units for store in org_unit.stores]
    for kind, store in zip(kinds, stores, strict=True):
        write({"kind": kind, **store._asdict()})
    for item in items:
        by_metric = {
            row.metric.value: data_element for row, data_element in zip(rows, item.data_elements, strict=True)
        }
        write({"kind": "item", "name": item.name, "code": item.code, "data_elements": by_metric})
    for sentence in (*mapped.skipped, *mapped.blank):
        write({"kind": "skipped", "why": sentence})
    return ComputeResult(
        status=Status.EXPORTED,
        message=f"Export: {_counted(mapped, len(items))} are mapped. Nothing was sent.",
        stores=len(stores),
        items=len(items),
        skipped=mapped.skipped,
    )


def stores_of(org_units: Iterable[OrgUnit]) -> list[MappedStore]:
    """Return the stores that are sent."""
    return [
        MappedStore(store.name, store.code, org_unit.code)
        for org_unit in org_units
        for store in org_unit.stores
    ]


def items_of(item_groups: Iterable[ItemGroup], settings: Settings) -> list[MappedItem]:
    """Return the items that are sent, each with its data element for each active row, ``None`` where it has none."""
    items = []
    for group in item_groups:
        identifiers = [identifier_of(settings, row, group) for row in settings.active_rows]
        data_elements = tuple(identifier and identifier[0] for identifier in identifiers)
        items += [MappedItem(item.name, item.code, data_elements) for item in group.items]
    return items


def names_of(
    stores: Sequence[MappedStore],
    items: Sequence[MappedItem],
    skipped: Sequence[str],
    skipped_stores: int,
    notes: Sequence[str] = (),
) -> MappedNames:
    """Return stores, items and what is skipped, as far as the lists fit into an answer."""
    listed_stores, listed_items = _count_listed(stores), _count_listed(items)
    return MappedNames(
        stores=tuple(stores[:listed_stores]),
        items=tuple(items[:listed_items]),
        more_stores=len(stores) - listed_stores,
        more_items=len(items) - listed_items,
        skipped=tuple(skipped[:SENTENCES]),
        notes=tuple(notes),
        more_skipped=max(0, len(skipped) - SENTENCES),
        skipped_stores=skipped_stores,
    )


def _count_listed(entries: Sequence[MappedStore] | Sequence[MappedItem]) -> int:
    """Count how many of the entries fit into a list, each character taken for as long as JSON may write it."""
    size = 0
    for number, entry in enumerate(entries):
        size += len(json.dumps(entry)) + 1
        if size > BYTES_OF_A_LIST:
            return number
    return len(entries)
